"""Detectors and segmenters as a person at the command line has them, from training to a video."""

import json
import re
import time
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient
from PIL import Image

from lamina.data.video import Film, Video
from lamina.export import checking
from lamina.serve import server

SMALL = ("--epochs", 1, "--batch-size", 4, "--size", 64, "--device", "cpu", "--precision", "float32")


def scene(rng, side=48):
    """A dark picture with a light square, and where it is."""
    pixels = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
    left, top = rng.integers(2, side - 22, 2).tolist()
    pixels[top : top + 18, left : left + 18] = 230
    return pixels, (left, top, left + 18, top + 18)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Pictures with boxes (VOC), pictures with maps (camvid's folders), a video, and a run of each kind of model."""
    folder, rng = tmp_path_factory.mktemp("dense"), np.random.default_rng(0)
    for name in ("boxes/JPEGImages", "boxes/Annotations", "boxes/ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for part in ("train", "val", "test"):
        (folder / "maps" / part).mkdir(parents=True)
        (folder / "maps" / f"{part}annot").mkdir()
    parts = {"train": [], "val": [], "test": []}
    for number in range(14):
        part = "train" if number < 8 else "val" if number < 11 else "test"
        pixels, box = scene(rng)
        name = f"{number:03d}"
        parts[part].append(name)
        Image.fromarray(pixels).save(folder / "boxes/JPEGImages" / f"{name}.jpg")
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
        size = ElementTree.SubElement(root, "size")
        for side, value in (("width", 48), ("height", 48), ("depth", 3)):
            ElementTree.SubElement(size, side).text = str(value)
        thing = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(thing, "name").text = "square"
        corners = ElementTree.SubElement(thing, "bndbox")
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(corners, side).text = str(value)
        ElementTree.ElementTree(root).write(folder / "boxes/Annotations" / f"{name}.xml")
        values = np.zeros((48, 48), np.uint8)
        values[box[1] : box[3], box[0] : box[2]] = 1
        Image.fromarray(pixels).save(folder / "maps" / part / f"{name}.png")
        Image.fromarray(values).save(folder / "maps" / f"{part}annot" / f"{name}.png")
    for part, names in parts.items():
        (folder / "boxes/ImageSets/Main" / f"{part}.txt").write_text("\n".join(names))
    with Film(folder / "drive.avi", rate=10) as film:
        for _ in range(6):
            film.add(Image.fromarray(scene(rng)[0]))
    content = (folder / "drive.avi").read_bytes()
    (folder / "broken.avi").write_bytes(content[: len(content) * 2 // 3])
    return folder


@pytest.fixture
def typed(work, typed_in):
    return typed_in(work)


@pytest.fixture
def boxes_run(work, typed):
    if not (work / "found").exists():
        code, out, err = typed(
            "train",
            "boxes",
            "--model",
            "fcos",
            "--backbone",
            "squeezenet1_1",
            "--augment",
            "flip",
            *SMALL,
            "-o",
            "found",
        )
        assert code == 0, err
        (work / "found.txt").write_text(out)
    return work / "found"


@pytest.fixture
def maps_run(work, typed):
    if not (work / "mapped").exists():
        code, out, err = typed(
            "train", "maps", "--model", "unet", "--backbone", "squeezenet1_1", *SMALL, "-o", "mapped"
        )
        assert code == 0, err
        (work / "mapped.txt").write_text(out)
    return work / "mapped"


def test_a_detector_is_trained_by_its_data_alone_and_its_run_is_whole(boxes_run, work):
    out = (work / "found.txt").read_text()
    assert "8 train, 3 validation, 3 test pictures of 1 classes" in out
    assert re.search(r"^Test AP: .*, AP50: .*, of 3 pictures$", out, re.MULTILINE)
    told = yaml.safe_load((boxes_run / "config.yaml").read_text())
    assert (told["task"], told["model"], told["backbone"]) == ("detection", "fcos", "squeezenet1_1")
    page = (boxes_run / "report.html").read_text(encoding="utf-8")
    assert "<h2>Kinds of error</h2>" in page
    assert "Not drawn" not in page


def test_evaluating_a_detector_prints_the_twelve_numbers_and_the_classes(boxes_run, typed):
    code, out, err = typed("evaluate", "found")
    assert code == 0, err
    numbers = re.findall(r"^(A[PR]\w*) +(?:[\d.]+|-)$", out, re.MULTILINE)
    assert numbers == [
        *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
        *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
    ]
    assert re.search(r"^square .* 3 +\d+$", out, re.MULTILINE)
    assert "poorly placed" in out
    code, out, _ = typed("evaluate", "found", "boxes", "--split", "validation", "--json")
    told = json.loads(out)
    assert (told["split"], told["pictures"]) == ("validation", 3)
    assert {"AP", "ARlarge", "classes", "errors"} <= set(told)


def test_what_a_detector_finds_is_drawn_and_written(boxes_run, typed, work, tmp_path):
    code, out, err = typed(
        "predict",
        "found",
        "boxes/JPEGImages",
        "--threshold",
        "0.0",
        "-o",
        tmp_path / "out",
        "--write",
        "drawn,yolo,coco",
    )
    assert code == 0, err
    assert len(out.splitlines()) == 14
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"000.jpg", "013.jpg", "000.txt", "classes.txt", "results.json"} <= names
    assert json.loads((tmp_path / "out/results.json").read_text())[0]["category_id"] == 1
    code, out, _ = typed(
        "predict", "found", "boxes/JPEGImages/000.jpg", "--threshold", "0.0", "--engine", "torch", "--json"
    )
    assert {"label", "index", "score", "box_xyxy"} == set(json.loads(out)[0]["detections"][0])


def test_evaluating_a_segmenter_prints_iou_by_class(maps_run, work, typed):
    assert re.search(r"^Test mean IoU: .* of the pixels right, of 3 pictures$", (work / "mapped.txt").read_text(), re.M)
    code, out, err = typed("evaluate", "mapped")
    assert code == 0, err
    assert re.search(r"^class +IoU  accuracy    pixels$", out, re.MULTILINE)
    assert "pixel accuracy" in out
    told = json.loads(typed("evaluate", "mapped", "--json")[1])
    assert {"mean_iou", "pixel_accuracy", "classes"} <= set(told)
    assert "<h2>Confusion by class</h2>" in (maps_run / "report.html").read_text(encoding="utf-8")


def test_maps_are_written_as_png_of_classes(maps_run, typed, tmp_path):
    code, _, err = typed("predict", "mapped", "maps/test", "-o", tmp_path / "out", "--write", "maps,drawn")
    assert code == 0, err
    with Image.open(tmp_path / "out/011.png") as written:
        assert (written.mode, written.size) == ("P", (48, 48))
    assert (tmp_path / "out/011.jpg").exists()


def test_tiles_are_seen_in_the_picture_s_own_pixels(maps_run, typed):
    whole, tiles = (
        json.loads(typed("predict", "mapped", "maps/test/011.png", *more, "--json")[1])[0]
        for more in ((), ("--tile", "32"))
    )
    counts = [[each["pixels"] for each in told["areas"]] for told in (whole, tiles)]
    assert counts[0] != counts[1]
    assert sum(counts[1]) == 48 * 48


@pytest.mark.parametrize("run", ["found", "mapped"])
def test_a_video_is_annotated_and_told_frame_by_frame(run, boxes_run, maps_run, typed, tmp_path):
    code, out, err = typed("predict", run, "drive.avi", "-o", tmp_path / "out.avi")
    assert (code, out) == (0, f"{tmp_path / 'out.avi'}: 6 frames\n"), err
    assert len(list(Video(tmp_path / "out.avi"))) == 6
    code, out, _ = typed("predict", run, "drive.avi")
    assert [line.split(":")[0] for line in out.splitlines()][1] == "drive.avi frame 1 (0.10 s)"
    told = json.loads(typed("predict", run, "drive.avi", "--json")[1])
    assert [each["frame"] for each in told] == list(range(6))


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_video_that_breaks_off_keeps_what_was_read_and_ends_with_1(maps_run, typed, tmp_path):
    code, out, _ = typed("predict", "mapped", "broken.avi", "-o", tmp_path / "out.avi")
    frames = int(re.search(r"(\d) frame", out)[1])
    assert code == 1
    assert 0 < frames < 6
    assert len(list(Video(tmp_path / "out.avi"))) == frames
    code, out, _ = typed("predict", "mapped", "broken.avi")
    assert (code, len(out.splitlines())) == (1, frames)


def test_a_run_goes_on_with_the_options_it_began_with(maps_run, typed):
    code, _, err = typed("train", "--resume", "-o", "mapped", "--epochs", "2")
    assert code == 0, err
    assert len((maps_run / "results.csv").read_text().splitlines()) == 3
    code, _, err = typed("train", "--resume", "-o", "mapped", "--backbone", "resnet18")
    assert code == 2
    assert "has backbone 'squeezenet1_1', and 'resnet18' came" in err


@pytest.mark.parametrize(("run", "file"), [("found", "found.safetensors"), ("mapped", "mapped.pt2")])
def test_they_are_exported_and_compared_on_the_runs_own_pictures(
    run, file, boxes_run, maps_run, typed, tmp_path, monkeypatch
):
    monkeypatch.setattr(checking, "_TIMED_S", 0.0)
    code, out, err = typed("export", run, tmp_path / file, "--fixed-size")
    assert code == 0, err
    assert (tmp_path / file).exists()
    assert "compared on 3 pictures of " in out
    assert re.search(r"largest difference [\d.e-]+, \w+ agree 100.00 %", out)


@pytest.mark.parametrize(("run", "told"), [("found", "detections"), ("mapped", "areas")])
def test_they_are_served(run, told, boxes_run, maps_run, typed, work, monkeypatch):
    answers = []

    def ask(make, *_, **__):
        with TestClient(make()) as client:
            while client.get("/ready").status_code != 200:
                time.sleep(0.05)
            picture = (work / "maps/test/011.png").read_bytes()
            answers.append(client.post("/predict", files={"image": picture}).json())
        return 0

    monkeypatch.setattr(server, "run", ask)
    monkeypatch.setattr(server, "prepare", lambda _: None)  # signals reach the main thread alone
    code, _, err = typed("serve", run, "--engine", "torch", "--port", "0", "--batch", "2")
    assert code == 0, err
    (result,) = answers[0]["results"]
    assert (result["height"], result["width"]) == (48, 48)
    assert told in result


def test_a_report_is_written_again(boxes_run, typed):
    (boxes_run / "report.html").unlink()
    assert typed("report", "found")[0] == 0
    assert (boxes_run / "report.html").exists()


def test_info_and_models_tell_of_them(boxes_run, typed):
    assert "fcos" in typed("info", "found")[1]
    out = typed("models", "--task", "segmentation")[1]
    assert "unet" in out
    assert "resnet18 " not in out.split("on ")[0]
    assert typed("models", "--task", "poetry")[0] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "boxes", "--model", "unet"), "boxes is a data set for detection"),
        (("train", "boxes", "--model", "resnet18"), "--model resnet18 came, and this data is for detection"),
        (
            ("train", "boxes", "--folds", "3"),
            "--folds 3 came. It is for classification, and this data is for detection",
        ),
        (("train", "maps", "--balance", "weights"), "--balance weights came. It is for classification"),
        (("train", "maps", "--augment", "mixup"), "--augment mixup came. It is for classification"),
        (("train", "maps", "--task", "poetry"), "--task 'poetry' is not known"),
        (("train", "maps", "--task", "segmentation", "--model", "fcos"), "--model 'fcos' is not known"),
        (("train", "mnist", "--backbone", "resnet18"), "--backbone resnet18 came. It is for detectors and segmenters"),
        (
            ("find-lr", "boxes"),
            "This data is for detection. lamina find-lr is for pictures that have classes of their own",
        ),
        (("tune", "maps"), "This data is for segmentation. lamina tune is for"),
        (("predict", "mapped", "maps/test", "--threshold", "0.3"), "--threshold 0.3 came, and this is a Segmenter"),
        (("predict", "found", "boxes/JPEGImages", "--tile", "32"), "--tile 32 came, and this is a Detector"),
        (("predict", "mapped", "drive.avi", "-o", "folder"), "drive.avi came with --output folder"),
        (("predict", "mapped", "maps/test", "-o", "out.mp4"), "A video is made of one video"),
        (("predict", "mapped", "drive.avi", "-o", "out.mkv"), "Its ending chooses the format"),
        (("predict", "mapped", "maps/test", "-o", "out", "--write", "yolo"), "Its forms are: drawn, maps, coco"),
        (("predict", "mapped", "maps/test", "--write", "maps"), "--write maps came without --output"),
        (("predict", "mapped", "maps/test", "-o", "maps/test"), "they would replace pictures and labels"),
        (("predict", "mapped", "maps/test", "-o", "out", "--write", "voc"), "Forms are drawn, yolo, coco, maps"),
        (("evaluate", "mapped", "maps", "--tta", "flip"), "--tta averages the classes of pictures"),
        (("evaluate", "mapped", "boxes"), "boxes is a data set for detection"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(words, told, boxes_run, maps_run, typed, tmp_path, work):
    before = {path.name for path in work.iterdir()}
    more = ("-o", tmp_path / "run") if words[0] == "train" else ()
    code, _, err = typed(*words, *more)
    assert code in (1, 2)
    assert told in err
    assert not (tmp_path / "run").exists()
    assert {path.name for path in work.iterdir()} - before <= {"out", "runs"}
