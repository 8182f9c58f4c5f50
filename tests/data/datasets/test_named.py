"""Named data sets in their true layout, from a local server: small stand-ins, fetched once, checked, read where they lie."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
import torch

from lamina import data
from lamina.core.errors import DataError, DownloadError, UnknownNameError
from lamina.data import datasets, formats
from lamina.structures.annotation import IGNORED


def test_every_entry_is_whole_and_every_fetched_file_has_a_published_hash():
    for name, named in datasets._TABLE.items():
        assert min(len(named.licence), len(named.cite), named.pictures) > 0, name
        assert (named.load is None) != (named.read == ""), name
        if named.by_hand:
            assert all(file.url == "" for file in named.files), name
            assert "http" in named.by_hand, name
            continue
        for file in named.files:
            algorithm, _, digits = file.digest.partition(":")
            assert (algorithm, len(digits)) in (("md5", 32), ("sha256", 64)), file
            assert int(digits, 16) > 0
            assert file.url.startswith(("http://", "https://"))
            assert "/" not in file.file
        if isinstance(named.read, str) and named.read in formats.FORMATS:
            assert set(named.tasks) <= set(formats.FORMATS[named.read].TASKS), name


def test_no_two_files_of_a_folder_share_a_name():
    seen = {}
    for name, named in datasets._TABLE.items():
        for file in named.files:
            assert seen.setdefault((named.folder or name, file.file), file.digest) == file.digest


def test_fashion_mnist_has_its_classes_and_is_fetched_once(served, capsys):
    served.offer("fashion-mnist", *served.idx_files())
    splits = data.load("fashion-mnist")
    assert splits.train.images.shape == (5, 1, 28, 28)
    assert splits.test.labels.tolist() == [0, 1, 2]
    assert splits.classes[0] == "T-shirt/top"
    assert splits.classes[9] == "Ankle boot"
    assert splits.name == "fashion-mnist"
    assert "MIT" in splits.licence
    told = capsys.readouterr().err
    assert told.count("MIT, Zalando SE") == 1  # once, not for each of the four files
    assert served.address in told
    served.close()
    assert len(data.load("fashion-mnist").train) == 5
    assert len(served.asked) == 4
    assert capsys.readouterr().err == ""


def test_other_bytes_than_the_published_ones_are_never_used(served):
    contents = list(served.idx_files())
    served.offer("kmnist", *contents)
    (served.folder / datasets._TABLE["kmnist"].files[2].file).write_bytes(contents[0])
    with pytest.raises(DownloadError, match=r"(?s)t10k-images-idx3-ubyte\.gz could not be downloaded.*hash is wrong"):
        data.load("kmnist")


def test_a_set_of_several_in_one_archive_takes_its_own(served):
    files = {}
    for variant, classes in (("letters", 3), ("digits", 10)):
        names = [
            f"gzip/emnist-{variant}-{part}-{kind}-ubyte.gz"
            for part in ("train", "test")
            for kind in ("images-idx3", "labels-idx1")
        ]
        files.update(zip(names, served.idx_files(classes=classes), strict=True))
        files[f"gzip/emnist-{variant}-mapping.txt"] = "".join(f"{label} {65 + label}\n" for label in range(classes))
    served.offer("emnist-letters", served.packed(files, ".zip"))
    splits = data.load("emnist-letters")
    assert splits.classes == ("A", "B", "C")
    assert len(splits.train) == 5
    served.offer("emnist-digits", served.packed(files, ".zip"))
    served.close()
    assert len(data.load("emnist-digits").classes) == 10  # from the archive that is there


def test_cifar100_takes_the_fine_classes(served):
    record = bytes([7, 1]) + bytes([200]) * 1024 + bytes(2048)
    names = "".join(f"name{number}\n" for number in range(100))
    files = {"train.bin": record * 4, "test.bin": record * 2, "fine_label_names.txt": names}
    served.offer("cifar100", served.packed({f"cifar-100-binary/{name}": files[name] for name in files}, ".tar.gz"))
    splits = data.load("cifar100")
    assert splits.train.labels.tolist() == [1] * 4
    assert splits.classes[1] == "name1"
    assert int(splits.train.images[0, 0].min()) == 200


def test_svhn_is_turned_upright_and_ten_is_nought(served):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    part = served.matlab(X=pixels, y=np.array([[10], [1], [9], [5]], dtype=np.uint8))
    served.offer("svhn", part, part)
    splits = data.load("svhn")
    assert splits.train.labels.tolist() == [0, 1, 9, 5]
    assert torch.equal(splits.test.images[2], torch.from_numpy(pixels[:, :, :, 2]).permute(2, 0, 1))


def test_svhn_of_another_layout_is_told(served):
    part = served.matlab(X=np.zeros((32, 32, 3, 4), np.uint8), y=np.ones((3, 1), np.uint8))
    served.offer("svhn", part, part)
    with pytest.raises(DataError, match=r"train_32x32\.mat holds X 32x32x3x4, y 3x1\. X of 32x32x3xN and y of Nx1"):
        data.load("svhn")


def test_stl10_is_stored_column_by_column(served):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    files = {f"stl10_binary/{part}_X.bin": pixels.transpose(0, 1, 3, 2).tobytes() for part in ("train", "test")}
    files |= {f"stl10_binary/{part}_y.bin": bytes([1, 10]) for part in ("train", "test")}
    files["stl10_binary/class_names.txt"] = "\n".join("abcdefghij")
    served.offer("stl10", served.packed(files, ".tar.gz"))
    splits = data.load("stl10")
    assert torch.equal(splits.train.images, torch.from_numpy(pixels))
    assert splits.train.labels.tolist() == [0, 9]


def flowers(served, labels=(3, 1, 2, 3)):
    pictures = {f"jpg/image_{number:05d}.jpg": served.picture(number) for number in range(1, 5)}
    parts = {"trnid": [2, 4], "valid": [1], "tstid": [3]}
    return (
        served.packed(pictures, ".tgz"),
        served.matlab(labels=np.array([labels], dtype=np.float64)),
        served.matlab(**{name: np.array([numbers], dtype=np.float64) for name, numbers in parts.items()}),
    )


def test_flowers102_is_read_out_of_a_plain_tar_and_takes_the_room_once(served, tmp_path):
    served.offer("flowers102", *flowers(served))
    splits = data.load("flowers102")
    assert splits.train.labels.tolist() == [0, 2]
    assert (len(splits.validation), len(splits.test)) == (1, 1)
    assert splits.train.origin(1).endswith("imagelabels.mat, entry 4")
    assert splits.train[1][0].shape == (3, 8, 12)
    folder = tmp_path / "home" / "datasets" / "flowers102"
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        "102flowers.tar",
        "imagelabels.mat",
        "setid.mat",
    }
    served.close()
    assert len(data.load("flowers102").train) == 2


def test_a_label_beyond_the_classes_names_its_entry(served):
    served.offer("flowers102", *flowers(served, labels=(3, 103, 2, 3)))
    with pytest.raises(DataError, match=r"imagelabels\.mat, entry 2: the label is 102"):
        data.load("flowers102")


def pets(served):
    trimap = np.full((8, 12), 3, np.uint8)
    trimap[:4], trimap[6:] = 1, 2
    import io

    from PIL import Image

    drawn = io.BytesIO()
    Image.fromarray(trimap).save(drawn, "PNG")
    names = ["Abyssinian_1", "great_pyrenees_7", "Abyssinian_2"]
    images = {f"images/{name}.jpg": served.picture(number) for number, name in enumerate(names)}
    annotations = {f"annotations/trimaps/{name}.png": drawn.getvalue() for name in names}
    annotations["annotations/trainval.txt"] = "Abyssinian_1 1 1 1\ngreat_pyrenees_7 2 2 1\n"
    annotations["annotations/test.txt"] = "Abyssinian_2 1 1 1\n"
    return served.packed(images, ".tar.gz"), served.packed(annotations, ".tar.gz")


def test_oxford_pets_has_breeds_and_outlines(served):
    served.offer("oxford-pets", *pets(served))
    splits = data.load("oxford-pets")
    assert splits.classes == ("Abyssinian", "great pyrenees")
    assert splits.train.labels.tolist() == [0, 1]
    outlines = data.load("oxford-pets", task="segmentation")
    assert outlines.task == "segmentation"
    shown, annotation = outlines.test[0]
    assert shown.shape == (3, 8, 12)
    assert annotation.class_map[:, 0].tolist() == [1, 1, 1, 1, IGNORED, IGNORED, 0, 0]
    with pytest.raises(UnknownNameError, match="no task of the data set oxford-pets called 'detection'"):
        data.load("oxford-pets", task="detection")


def test_food101_and_dtd_follow_their_lists(served):
    names = [f"{dish}/{number}" for dish in ("pho", "apple_pie") for number in (1, 2)]
    food = {f"food-101/images/{name}.jpg": served.picture() for name in names}
    food |= {"food-101/meta/train.txt": "pho/1\napple_pie/2\n", "food-101/meta/test.txt": "pho/2\napple_pie/1\n"}
    served.offer("food101", served.packed(food, ".tar.gz"))
    splits = data.load("food101")
    assert splits.classes == ("apple_pie", "pho")
    assert splits.train.labels.tolist() == [1, 0]
    textures = {f"dtd/images/{name}.jpg": served.picture() for name in ("dotted/a", "woven/b", "woven/c")}
    for part, line in (("train", "dotted/a"), ("val", "woven/b"), ("test", "woven/c")):
        textures[f"dtd/labels/{part}1.txt"] = f"{line}.jpg\n"
    served.offer("dtd", served.packed(textures, ".tar.gz"))
    splits = data.load("dtd")
    assert [part.labels.tolist() for part in (splits.train, splits.validation, splits.test)] == [[0], [1], [1]]


def test_a_listed_picture_that_is_not_there_is_named_and_left_out(served):
    food = {"food-101/images/pho/1.jpg": served.picture(), "food-101/images/soup/1.jpg": served.picture()}
    food |= {"food-101/meta/train.txt": "pho/1\npho/2\n", "food-101/meta/test.txt": "soup/1\n"}
    served.offer("food101", served.packed(food, ".tar.gz"))
    with pytest.warns(UserWarning, match=r"1 pictures that .*train\.txt lists are not in .*images/pho/2\.jpg"):
        splits = data.load("food101")
    assert len(splits.train) == 1


def signs(served, table):
    ppm = served.picture(kind="PPM")
    train = {f"GTSRB/Training/{number:05d}/00000.ppm": ppm for number in (0, 42)}
    return (
        served.packed(train, ".zip"),
        served.packed({"GTSRB/Final_Test/Images/00000.ppm": ppm}, ".zip"),
        served.packed({"GT-final_test.csv": table}, ".zip"),
    )


def test_gtsrb_joins_pictures_and_their_table(served):
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"
    served.offer("gtsrb", *signs(served, head + "00000.ppm;53;54;6;5;48;49;16\r\n"))
    splits = data.load("gtsrb")
    assert splits.train.labels.tolist() == [0, 42]
    assert splits.test.labels.tolist() == [16]
    assert splits.test[0][0].shape == (3, 8, 12)


def test_a_line_of_a_table_that_is_cut_short_is_named(served):
    served.offer("gtsrb", *signs(served, "a;b;c;d;e;f;g;ClassId\r\n00000.ppm;53;54;6\r\n"))
    with pytest.raises(DataError, match=r"GT-final_test\.csv, line 2: '00000\.ppm;53;54;6' has 4 fields"):
        data.load("gtsrb")


def test_caltech101_comes_out_of_an_archive_in_an_archive(served):
    inner = {
        f"101_ObjectCategories/{name}/image_0001.jpg": served.picture() for name in ("ant", "BACKGROUND_Google", "ibis")
    }
    outer = {"caltech-101/101_ObjectCategories.tar.gz": served.packed(inner, ".tar.gz"), "caltech-101/show.m": "x"}
    served.offer("caltech101", served.packed(outer, ".zip"))
    splits = data.load("caltech101")
    assert splits.classes == ("ant", "ibis")
    assert splits.train[1][0].shape == (3, 8, 12)


def test_imagenette_has_names_that_a_person_reads(served):
    synsets = [f"n{number:08d}" for number in range(10)]
    files = {f"imagenette2-160/{part}/{each}/1.JPEG": served.picture() for part in ("train", "val") for each in synsets}
    served.offer("imagenette", served.packed(files, ".tgz"))
    splits = data.load("imagenette")
    assert splits.classes[0] == "tench"
    assert splits.validation.classes[9] == "parachute"


def test_voc2007_joins_what_is_for_training_and_for_the_test(served):
    xml = (
        "<annotation><filename>{0}.jpg</filename><size><width>12</width><height>8</height><depth>3</depth></size>"
        "<object><name>dog</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>9</xmax><ymax>7</ymax>"
        "</bndbox></object></annotation>"
    )
    archives = []
    for parts, number in ((("train", "trainval"), "000005"), (("test",), "000006")):
        start = "VOCdevkit/VOC2007"
        files = {f"{start}/Annotations/{number}.xml": xml.format(number)}
        files[f"{start}/JPEGImages/{number}.jpg"] = served.picture()
        files |= {f"{start}/ImageSets/Main/{part}.txt": f"{number}\n" for part in parts}
        archives.append(served.packed(files, ".tar"))
    served.offer("voc2007", *archives)
    splits = data.load("voc2007")
    assert splits.task == "detection"
    assert (len(splits.train), len(splits.test)) == (1, 1)
    shown, annotation = splits.test[0]
    assert shown.shape == (3, 8, 12)
    assert splits.classes[int(annotation.labels[0])] == "dog"


def test_coco2017_joins_its_three_archives(served):
    import json

    def instances(number):
        box = {"id": 1, "image_id": number, "category_id": 18, "bbox": [2, 1, 7, 6], "area": 42, "iscrowd": 0}
        picture = {"id": number, "file_name": f"{number:012d}.jpg", "width": 12, "height": 8}
        box["segmentation"] = [[2, 1, 9, 1, 9, 7]]
        return json.dumps({"images": [picture], "annotations": [box], "categories": [{"id": 18, "name": "dog"}]})

    notes = {
        f"annotations/instances_{part}2017.json": instances(number) for number, part in enumerate(("train", "val"), 1)
    }
    pictures = [
        served.packed({f"{part}2017/{number:012d}.jpg": served.picture()}, ".zip")
        for part, number in (("val", 2), ("train", 1))
    ]
    served.offer("coco2017", served.packed(notes, ".zip"), *pictures)
    splits = data.load("coco2017")
    assert (len(splits.train), len(splits.validation)) == (1, 1)
    _, annotation = splits.train[0]
    assert annotation.boxes_xyxy.tolist() == [[2, 1, 9, 7]]


def test_names_that_lead_out_of_an_archive_are_never_followed(served, tmp_path):
    escape, gone = tmp_path / "home" / "datasets" / "escaped.jpg", "/tmp/lamina_escaped.jpg"
    files = {f"dtd/images/dotted/{letter}.jpg": served.picture() for letter in "abc"}
    files |= {"../escaped.jpg": served.picture(), gone: served.picture(), "dtd/images/dotted/../../../../e.jpg": b""}
    files |= {
        f"dtd/labels/{part}1.txt": f"dotted/{letter}.jpg\n"
        for part, letter in zip(("train", "val", "test"), "abc", strict=True)
    }
    served.offer("dtd", served.packed(files, ".tar.gz"))
    assert len(data.load("dtd").train) == 1
    assert not escape.exists()
    assert {path.name for path in (tmp_path / "home" / "datasets").rglob("*.jpg")} == set()
    with tarfile.open(tmp_path / "home" / "datasets" / "dtd" / "dtd-r1.0.1.tar") as tar:
        assert "../escaped.jpg" in tar.getnames()  # it is there, and was passed over


def test_a_compressed_tar_that_breaks_off_is_told_and_leaves_nothing(served, tmp_path):
    whole = served.packed({"dtd/images/dotted/a.jpg": served.picture()}, ".tar.gz")
    served.offer("dtd", whole[:-20])
    with pytest.raises(DataError, match=r"dtd-r1\.0\.1\.tar\.gz cannot be unpacked"):
        data.load("dtd")
    assert not list((tmp_path / "home").rglob("*.tar"))


def test_a_file_is_hashed_once_and_again_when_it_changes(served, monkeypatch, tmp_path):
    from lamina.core import download
    from lamina.data.datasets import fetching

    served.offer("kmnist", *served.idx_files())
    data.load("kmnist")
    looked = []
    for module in (download, fetching):
        monkeypatch.setattr(module, "is_genuine", lambda path, digest: looked.append(path.name) or True)
    data.load("kmnist")
    assert looked == []
    file = tmp_path / "home" / "datasets" / "kmnist" / "train-images-idx3-ubyte.gz"
    file.write_bytes(next(served.idx_files(counts=(5,))))
    data.load("kmnist")
    assert looked == [file.name]
