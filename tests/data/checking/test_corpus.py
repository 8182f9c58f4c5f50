"""One small data set of each fault, and what the check says of it."""

import io
import os
import struct
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from lamina.data import AnnotatedDataset, FolderDataset, Splits
from lamina.data.checking import check
from lamina.data.columns import Beside, Fixed, Ragged, Texts, ends_of
from lamina.data.paths import Paths
from lamina.data.preprocess import pixels

SIDE = 72  # above what counts as small


def picture(seed=0, size=(SIDE, SIDE), mode="RGB"):
    """A picture with a look of its own: a few waves and noise."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image, form="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def good(folder, parts=("",), classes=("cat", "dog"), count=3):
    """Pictures without a fault, of two classes."""
    seed = 0
    for part in parts:
        for name in classes:
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                seed += 1
                picture(seed).save(folder / part / name / f"{index}.jpg", quality=90)
    return folder


def with_file(name, content):
    """Good pictures and one file more."""

    def make(folder):
        good(folder)
        (folder / "cat" / name).write_bytes(content() if callable(content) else content)
        return folder

    return make


def bomb():
    """A PNG of some bytes that says it has 900 million pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def damaged():
    """A PNG in whose compressed pixels a byte has changed."""
    content = bytearray(encoded(picture(99), "PNG"))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def deep():
    values = np.asarray(picture(99, mode="L")).astype(np.uint16) * 200
    return encoded(Image.fromarray(values), "PNG")


def darker(image):
    return encoded(image.point(lambda value: value * 0.95))


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(99, (90, 72)), exif=exif)


def profiled():
    """Colours as a person calls them otherwise: the profile is sRGB's, under another name."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(picture(99), icc_profile=srgb.replace(b"s\0R\0G\0B", b"o\0t\0h\0e").replace(b"sRGB", b"othe"))


def animated():
    frames = [picture(90 + index) for index in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def annotated(folder, columns, *, task="detection", classes=("cat", "dog"), count=2):
    """A made data set of `count` pictures of 72 x 72 pixels with these columns."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        picture(index).save(folder / f"{index}.png")
    paths = [folder / f"{index}.png" for index in range(count)]
    return AnnotatedDataset(paths, columns, classes, task=task, root=folder)


def boxes(*rows, labels=None):
    """Boxes of the first of two pictures, which the second has one good one of."""

    def make(folder):
        values = np.array([*rows, (5, 5, 40, 40)], dtype=np.float32)
        named = np.array([*(labels or [0] * len(rows)), 1])
        ends = ends_of([len(rows), 1])
        return annotated(
            folder, {"boxes_xyxy": Ragged(values, ends), "labels": Ragged(named, ends_of([len(named) - 1, 1]))}
        )

    return make


def masks(value=0, size=(SIDE, SIDE)):
    """A class map beside each picture, of which the first holds a value, or has a size, of its own."""

    def make(folder):
        folder.mkdir(exist_ok=True)
        for index in range(2):
            values = np.tile(np.array([0, 1, 255], np.uint8), (SIDE, SIDE // 3))
            values[0, 0] = value if index == 0 else 0
            Image.fromarray(values).resize(size if index == 0 else (SIDE, SIDE), 0).save(folder / f"{index}.mask.png")
        paths = Paths([folder / f"{index}.mask.png" for index in range(2)])
        column = Beside(paths, lambda path, _: pixels(Image.open(path))[0])
        return annotated(folder, {"class_map": column}, task="segmentation")

    return make


def captions(*texts):
    def make(folder):
        return annotated(folder, {"captions": Texts([texts, ("a dog",)])}, task="captioning", classes=())

    return make


def points(x, y):
    def make(folder):
        values = np.array([[[10, 10, 2], [x, y, 2]], [[0, 0, 0], [9, 9, 1]]], dtype=np.float32)
        return annotated(folder, {"keypoints": Ragged(values, ends_of([1, 1]))}, task="keypoints")

    return make


def said_sizes(height, width):
    def make(folder):
        told = {"height": Fixed(np.array([height, SIDE])), "width": Fixed(np.array([width, SIDE]))}
        return annotated(folder, {**told, "captions": Texts([["a cat"], ["a dog"]])}, task="captioning", classes=())

    return make


def archived(kind, name, *, link=False):
    """An archive of good pictures with an entry that leads elsewhere."""

    def make(folder):
        good(folder / "in")
        path = folder / f"pets.{kind}"
        files = [(str(each.relative_to(folder / "in")), each.read_bytes()) for each in sorted(folder.rglob("*.jpg"))]
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                for inner, content in [*files, (name, b"x")]:
                    archive.writestr(inner, content)
        else:
            with tarfile.open(path, "w") as archive:
                for inner, content in files:
                    entry = tarfile.TarInfo(inner)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = (tarfile.SYMTYPE, "/etc/passwd") if link else (tarfile.REGTYPE, "")
                archive.addfile(entry)
        return path

    return make


def linked_out(folder):
    good(folder / "pets")
    picture(99).save(folder / "elsewhere.jpg")
    os.symlink(folder / "elsewhere.jpg", folder / "pets/cat/9.jpg")
    return folder / "pets"


def linked_to_nothing(folder):
    good(folder)
    os.symlink(folder / "gone.jpg", folder / "cat/9.jpg")
    return folder


def bad_name(folder):
    good(folder)
    with open(os.fsencode(folder / "cat") + b"/caf\xe9.jpg", "wb") as stream:
        stream.write(encoded(picture(99)))
    return folder


def copied(source, target, parts=("",), change=None):
    """Good pictures, of which one is there twice; `change` makes other bytes of it."""

    def make(folder):
        good(folder, parts)
        content = (folder / source).read_bytes()
        made = content if change is None else change(Image.open(io.BytesIO(content)))
        (folder / target).write_bytes(made)
        return folder

    return make


def listed_twice(folder):
    good(folder)
    paths = sorted(folder.rglob("*.jpg"))
    return FolderDataset([*paths, paths[0]], [0, 0, 0, 1, 1, 1, 0], ("cat", "dog"), root=folder)


def same_file_in_both(folder):
    good(folder)
    paths = sorted(folder.rglob("*.jpg"))
    train = FolderDataset(paths, [0, 0, 0, 1, 1, 1], ("cat", "dog"), root=folder)
    return Splits(train, train.subset([0, 3]))


def unequal(folder):
    good(folder, count=1)
    for index in range(1, 12):
        picture(100 + index).save(folder / f"cat/{index}.jpg")
    return folder


def other_classes(folder):
    good(folder)
    train = FolderDataset(sorted(folder.rglob("*.jpg")), [0, 0, 0, 1, 1, 1], ("cat", "dog"), root=folder)
    picture(99).save(folder / "x.jpg")
    return Splits(train, FolderDataset([folder / "x.jpg"], [0], ("Cat", "dog"), root=folder))


def empty_class(folder):
    good(folder)
    return FolderDataset(sorted(folder.rglob("*.jpg")), [0, 0, 0, 1, 1, 1], ("cat", "dog", "cow"), root=folder)


def only_in_the_test(folder):
    good(folder, ("a", "b"))
    classes = ("cat", "dog")
    train = FolderDataset(sorted((folder / "a").rglob("*.jpg")), [0] * 6, classes, root=folder)
    return Splits(train, FolderDataset(sorted((folder / "b").rglob("*.jpg")), [0, 0, 0, 1, 1, 1], classes, root=folder))


def beside_strangers(folder):
    good(folder)
    (folder / "cat/film.mov").write_bytes(b"x")
    return folder


def twins(folder):
    return good(folder, classes=("Cat", "cat"))


def broken_archive(folder):
    folder.mkdir(exist_ok=True)
    (folder / "pets.zip").write_bytes(b"PK\x03\x04 and no more")
    return folder / "pets.zip"


def broken_coco(folder):
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").mkdir()
    picture(1).save(folder / "val2017/1.jpg")
    (folder / "annotations/instances_val2017.json").write_text('{"images": [{"id": 1,\n "file_name": ')
    return folder


E_, C_, D_ = "error", "conversion", "doubt"
CORPUS = {
    "a file without bytes": (with_file("9.jpg", b""), E_, "empty file"),
    "a cut JPEG": (with_file("9.jpg", lambda: encoded(picture(99))[:-300]), E_, "truncated"),
    "a cut progressive JPEG": (with_file("9.jpg", lambda: encoded(picture(99), progressive=True)[:-300]), E_, "truncated"),
    "a cut PNG": (with_file("9.png", lambda: encoded(picture(99), "PNG")[:-500]), E_, "truncated"),
    "a changed byte": (with_file("9.png", damaged), E_, "damaged"),
    "the first bytes of a JPEG": (with_file("9.jpg", b"\xff\xd8\xff\xe0"), E_, "damaged"),
    "a web page": (with_file("9.jpg", b"<!DOCTYPE html><html>404</html>"), E_, "not a picture"),
    "a PDF": (with_file("9.png", b"%PDF-1.7 ..."), E_, "not a picture"),
    "zeros": (with_file("9.jpg", bytes(5000)), E_, "not a picture"),
    "a decompression bomb": (with_file("9.png", bomb), E_, "decompression bomb"),
    "a link to nothing": (linked_to_nothing, E_, "missing"),
    "a box without area": (boxes((10, 10, 10, 30), (5, 5, 20, 20)), E_, "box without area"),
    "a box that is turned round": (boxes((30, 10, 20, 30)), E_, "box without area"),
    "a box outside": (boxes((80, 10, 90, 30)), E_, "box outside"),
    "a box that is no number": (boxes((float("nan"), 1, 5, 5)), E_, "box overflow"),
    "a box of billions": (boxes((1, 1, 2.0**40, 5)), E_, "box overflow"),
    "a box without a class": (boxes((5, 5, 9, 9), labels=[-1]), E_, "no class"),
    "fewer labels than boxes": (boxes((5, 5, 9, 9), (1, 1, 7, 7), labels=[0]), E_, "no class"),
    "a label beyond the classes": (boxes((5, 5, 9, 9), labels=[7]), E_, "unknown class"),
    "a mask's value beyond the classes": (masks(value=9), E_, "mask values"),
    "a mask of another size": (masks(size=(36, 36)), E_, "mask size"),
    "a caption of blanks": (captions("a cat", "  "), E_, "caption empty"),
    "no caption": (captions(), E_, "caption empty"),
    "a caption that is no UTF-8": (captions("caf\udce9"), E_, "caption is no UTF-8"),
    "a picture of another size than is said": (said_sizes(70, 70), E_, "size differs"),
    "a size that overflows": (said_sizes(2**40, 72), E_, "size overflow"),
    "'..' in a zip": (archived("zip", "../out.jpg"), E_, "unsafe entry"),
    "an absolute path in a zip": (archived("zip", "/etc/x.jpg"), E_, "unsafe entry"),
    "'..' in a tar": (archived("tar", "../out.jpg"), E_, "unsafe entry"),
    "a link in a tar": (archived("tar", "cat/9.jpg", link=True), E_, "unsafe entry"),
    "a broken archive": (broken_archive, E_, "not opened"),
    "annotations that break off": (broken_coco, E_, "not opened"),
    "a class twice, as folders": (twins, E_, "not opened"),
    "CMYK": (with_file("9.jpg", lambda: encoded(picture(99).convert("CMYK"))), C_, "CMYK"),
    "16 bits": (with_file("9.png", deep), C_, "16 bits"),
    "RGBA": (with_file("9.png", lambda: encoded(picture(99, mode="RGBA"), "PNG")), C_, "alpha"),
    "a palette": (with_file("9.png", lambda: encoded(picture(99).quantize(16), "PNG")), C_, "palette"),
    "a palette with alpha": (with_file("9.png", lambda: encoded(picture(99).quantize(16), "PNG", transparency=0)), C_, "palette"),
    "EXIF rotation": (with_file("9.jpg", turned), C_, "EXIF rotation"),
    "a PNG named .jpg": (with_file("9.jpg", lambda: encoded(picture(99), "PNG")), C_, "wrong ending"),
    "colours of another profile": (with_file("9.jpg", profiled), C_, "colour profile"),
    "an animation": (with_file("9.gif", animated), C_, "animated"),
    "one bit": (with_file("9.png", lambda: encoded(picture(99).convert("1"), "PNG")), C_, "bilevel"),
    "a box partly outside": (boxes((60, 60, 90, 70)), D_, "box partly outside"),
    "a point outside": (points(90, 5), D_, "point outside"),
    "a class without a sample": (empty_class, D_, "empty class"),
    "a class in the test alone": (only_in_the_test, D_, "classes differ"),
    "other classes in the test": (other_classes, D_, "classes differ"),
    "classes that differ in case": (other_classes, D_, "class twice"),
    "unequal classes": (unequal, D_, "imbalance"),
    "a copy": (copied("cat/0.jpg", "cat/9.jpg"), D_, "duplicate"),
    "the same pixels": (copied("cat/0.jpg", "cat/9.png", change=lambda image: encoded(image, "PNG")), D_, "duplicate"),
    "a smaller copy": (copied("cat/0.jpg", "cat/9.jpg", change=lambda image: encoded(image.resize((66, 66)))), D_, "near duplicate"),
    "a copy in the test": (copied("train/cat/0.jpg", "test/cat/9.jpg", ("train", "test")), D_, "leak"),
    "a file in both parts": (same_file_in_both, D_, "leak"),
    "a darker copy in the test": (copied("train/cat/0.jpg", "test/cat/9.jpg", ("train", "test"), darker), D_, "near leak"),
    "one picture, two labels": (copied("cat/0.jpg", "dog/9.jpg"), D_, "two labels"),
    "a file that is listed twice": (listed_twice, D_, "listed twice"),
    "a link out of the folder": (linked_out, D_, "link out of the folder"),
    "a name that is no UTF-8": (bad_name, D_, "name is no UTF-8"),
    "a tiny picture": (with_file("9.png", lambda: encoded(picture(99, (4, 5)), "PNG")), D_, "tiny"),
    "a strip": (with_file("9.png", lambda: encoded(picture(99, (400, 20)), "PNG")), D_, "extreme shape"),
    "a blank picture": (with_file("9.png", lambda: encoded(Image.new("RGB", (72, 72), "red"), "PNG")), D_, "blank"),
    "a film among the pictures": (beside_strangers, D_, "reader's warning"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CORPUS)
def test_a_fault_is_found_and_told_on_its_level(fault, tmp_path):
    make, level, kind = CORPUS[fault]
    if fault == "a name that is no UTF-8" and sys.platform != "linux":
        pytest.skip("the file system refuses such names")
    report = check(make(tmp_path / "data"))
    found = [(each.level, each.kind) for each in report.faults]
    assert (level, kind) in found, report
    assert report.exit_code == (level == "error")
    assert not [each for each in report.errors if each.kind != kind]
    assert next(each for each in report.faults if each.kind == kind).what
    assert str(report)
    assert report.to_json().encode()


@pytest.mark.parametrize("shape", ["folder", "zip", "parts", "loose", "boxes", "masks", "captions", "points"])
def test_nothing_is_said_of_what_is_good(shape, tmp_path):
    made = {
        "folder": lambda folder: good(folder),
        "zip": lambda folder: archived("zip", "notes.txt")(folder),
        "parts": lambda folder: good(folder, ("train", "val", "test")),
        "loose": lambda folder: good(folder, classes=("cat",)) / "cat",
        "boxes": boxes((0, 0, 72, 72), (3.5, 4, 72.9, 20)),
        "masks": masks(),
        "captions": captions("a cat", "eine Käte"),
        "points": points(72, 72),
    }[shape](tmp_path / "data")
    report = check(made)
    assert report.faults == (), report
    assert report.pictures > 0
    assert report.exit_code == 0
