"""Several data sets in one folder are named, and none is guessed; parts, years and classes stay what they are."""

import json

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError

BOX = {"bbox": [1, 1, 5, 5], "category_id": 1, "area": 25, "iscrowd": 0}


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), "red").save(path)


def coco(root, part="train"):
    picture(root / f"images/{part}/1.jpg")
    told = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, **BOX}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"annotations/instances_{part}.json").write_text(json.dumps(told))


def voc(root):
    picture(root / "JPEGImages/1.jpg")
    (root / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    (root / "Annotations/1.xml").write_text(f"<annotation><object><name>cell</name>{box}</object></annotation>")


def yolo(root):
    for part in ("train", "val"):
        picture(root / f"images/{part}/1.jpg")
        (root / f"labels/{part}").mkdir(parents=True)
        (root / f"labels/{part}/1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cell]\n")


def classes(root, *parts):
    for part in parts or ("train", "val"):
        for name in ("cat", "dog"):
            picture(root / part / name / "1.jpg")


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"a": coco, "b": coco}, r"a/ \(coco\), b/ \(coco\)"),
        ({"a": coco, "b": voc}, r"a/ \(coco\), b/ \(voc\)"),
        ({"a": yolo, "b": yolo}, r"a/ \(yolo\), b/ \(yolo\)"),
        ({"cells": voc, "pets": classes}, r"cells/ \(voc\), pets/ \(image_folder\)"),
        ({"birds": classes, "pets": classes}, r"birds/ \(image_folder\), pets/ \(image_folder\)"),
        ({"all/a": coco, "all/b": voc}, r"a/ \(coco\), b/ \(voc\)"),
    ],
)
def test_they_are_named_with_their_formats(tmp_path, packed, made, told):
    for name, make in made.items():
        make(tmp_path / "top" / name)
    with pytest.raises(DataError, match=f"holds 2 data sets.*Pass one of: {told}"):
        data.open(packed(tmp_path / "top"))


def test_a_named_format_tells_which_is_meant(tmp_path):
    coco(tmp_path / "a")
    voc(tmp_path / "b")
    assert data.open(tmp_path, "voc").format == "voc"
    coco(tmp_path / "c")
    with pytest.raises(DataError, match=r"a/ \(coco\), c/ \(coco\)"):
        data.open(tmp_path, "coco")


def test_years_of_voc_are_one(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        voc(tmp_path / "VOCdevkit" / year)
    assert len(data.open(tmp_path).train) == 2


def test_parts_are_one(tmp_path):
    for part in ("train", "valid"):
        coco(tmp_path / part, part)
    assert data.open(tmp_path).validation is not None
    classes(tmp_path / "pets", "seg_train", "seg_test")
    assert data.open(tmp_path / "pets").classes == ("cat", "dog")


def test_a_top_that_is_a_data_set_itself_stays_one(tmp_path):
    coco(tmp_path)
    for name in ("older", "other"):
        coco(tmp_path / name)
    assert data.open(tmp_path).format == "coco"


def test_the_check_names_them_and_looks_at_their_pictures(tmp_path):
    for name in ("a", "b"):
        coco(tmp_path / name)
    (tmp_path / "b/images/train/1.jpg").write_bytes(b"")
    report = data.check(tmp_path, duplicates=False)
    assert [fault.kind for fault in report.errors] == ["not opened", "empty file"]
    assert "a/ (coco), b/ (coco)" in report.errors[0].what
