"""What annotations tell, for every task of a path, and what a wrong layout or table must not hide."""

import json

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina.core.errors import DataError
from lamina.data import AnnotatedDataset
from lamina.data.checking import scan as scanning
from lamina.data.columns import Ragged, ends_of


def waves(seed, side=80):
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)


def test_sizes_that_a_coco_file_tells_are_compared_with_the_pictures(tmp_path):
    sizes = ((80, 80), (80, 81), (80, 10**400))
    images = [{"id": n, "file_name": f"{n}.png", "height": h, "width": w} for n, (h, w) in enumerate(sizes)]
    (tmp_path / "train").mkdir()
    for number in range(3):
        waves(number).save(tmp_path / f"train/{number}.png")
    box = {"bbox": [1, 2, 30, 40], "category_id": 1, "area": 1200, "iscrowd": 0}
    boxes = [{"id": n, "image_id": n, **box} for n in range(3)]
    (tmp_path / "annotations").mkdir()
    text = json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]})
    (tmp_path / "annotations/instances_train.json").write_text(text)
    found = {(fault.kind, fault.where.rsplit("/")[-1]) for fault in lamina.data.check(tmp_path).errors}
    assert found == {("size differs", "1.png"), ("size overflow", "2.png")}


def test_sizes_that_voc_s_xml_tells_are_compared_with_the_pictures(tmp_path):
    sizes = {
        "right": (80, 80),
        "wider": (81, 80),
        "endless": ("1e400", 80),
        "less": (-3, 80),
        "none": (0, 0),
        "word": ("?", "nan"),
    }
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    for seed, (name, (width, height)) in enumerate(sizes.items()):
        waves(seed).save(tmp_path / f"JPEGImages/{name}.png")
        told = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation>{told}<object><name>cell</name>{box}</object></annotation>"
        (tmp_path / f"Annotations/{name}.xml").write_text(text)
    found = {(fault.kind, fault.where.rsplit("/")[-1]): fault for fault in lamina.data.check(tmp_path).errors}
    assert set(found) == {
        ("size differs", "wider.png"),
        ("size overflow", "endless.png"),
        ("size overflow", "less.png"),
    }
    fault = found["size differs", "wider.png"]
    assert fault.what == "its annotation says 81 x 80 pixels, and it has 80 x 80"
    assert fault.origin.endswith("wider.xml")


def coco_of_several_tasks(root):
    """Two pictures, with boxes and with captions, of which each has a fault."""
    (root / "train").mkdir()
    for number in range(2):
        waves(number).save(root / f"train/{number}.png")
    images = [{"id": n, "file_name": f"{n}.png", "height": 80, "width": 81 - n} for n in range(2)]
    box = {"category_id": 1, "area": 1200, "iscrowd": 0}
    boxes = [{"id": n, "image_id": n, "bbox": [1, 2, 30 * n, 40], **box} for n in range(2)]
    captions = [{"id": n, "image_id": n, "caption": "a cell" * n} for n in range(2)]
    (root / "annotations").mkdir()
    for kind, listed in (("instances", boxes), ("captions", captions)):
        told = {"images": images, "annotations": listed, "categories": [{"id": 1, "name": "cell"}]}
        (root / f"annotations/{kind}_train.json").write_text(json.dumps(told))
    return root


def test_all_tasks_of_a_path_are_checked_and_its_pictures_are_read_once(tmp_path, monkeypatch):
    read, inspect = [], scanning.inspect
    monkeypatch.setattr(scanning, "inspect", lambda path, **how: (read.append(path), inspect(path, **how))[1])
    report = lamina.data.check(coco_of_several_tasks(tmp_path))
    assert report.tasks == ("detection", "captioning")
    assert report.to_dict()["tasks"] == ["detection", "captioning"]
    assert len(read) == report.pictures == 2
    assert sorted(fault.kind for fault in report.faults) == ["box without area", "caption empty", "size differs"]
    assert "Annotations for detection and captioning were looked at." in str(report)


def test_a_named_task_is_the_only_one(tmp_path):
    report = lamina.data.check(coco_of_several_tasks(tmp_path), task="captioning")
    assert report.tasks == ("captioning",)
    assert sorted(fault.kind for fault in report.faults) == ["caption empty", "size differs"]
    assert "looked at" not in str(report)


@pytest.mark.parametrize(("broken", "other"), [("captions", "detection"), ("instances", "captioning")])
def test_a_task_whose_file_is_broken_is_an_error_and_the_others_are_checked(tmp_path, broken, other):
    coco_of_several_tasks(tmp_path)
    (tmp_path / f"annotations/{broken}_train.json").write_text('{"images": [')
    report = lamina.data.check(tmp_path)
    assert report.tasks == (other,)
    (fault,) = [fault for fault in report.faults if fault.kind == "not opened"]
    assert f"{broken}_train.json, line 1" in fault.what
    assert {"size differs"} < {fault.kind for fault in report.faults}


def test_a_part_that_joins_others_is_told_of_for_each_task(tmp_path):
    coco_of_several_tasks(tmp_path)
    for kind in ("instances", "captions"):
        (tmp_path / f"annotations/{kind}_all.json").write_text(
            (tmp_path / f"annotations/{kind}_train.json").read_text()
        )
        (tmp_path / f"annotations/{kind}_other.json").write_text(
            (tmp_path / f"annotations/{kind}_train.json").read_text()
        )
        if kind == "captions":
            (tmp_path / "annotations/captions_train.json").unlink()
            (tmp_path / "annotations/captions_all.json").unlink()
    report = lamina.data.check(tmp_path)
    assert sorted(fault.kind for fault in report.errors) == ["box without area", "caption empty", "size differs"]
    assert not report.doubts, "the same pictures for another task are no copies and no leak"


def test_what_a_task_is_known_by_is_its_own_file(tmp_path):
    coco_of_several_tasks(tmp_path)
    for task, kind in (("captioning", "captions"), ("detection", "instances"), (None, "instances")):
        recognised = lamina.data.open(tmp_path, task=task).recognised
        assert recognised == f"annotations/{kind}_train.json is named as COCO's files are"


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("layout", ["an empty class", "Bees and bees", "parts of other classes"])
def test_a_wrong_layout_hides_no_other_fault(tmp_path, layout):
    names = {
        "an empty class": ["ants/{}.png", "bees/{}.png"],
        "Bees and bees": ["Bees/{}.png", "bees/{}.png"],
        "parts of other classes": ["train/ants/{}.png", "train/bees/{}.png", "val/ants/{}.png", "val/wasps/{}.png"],
    }[layout]
    for seed in range(8):
        path = tmp_path / names[seed % len(names)].format(seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        waves(seed).save(path)
    if layout == "an empty class":
        (tmp_path / "wasps").mkdir()
    first, last = (tmp_path / names[at].format(at) for at in (0, len(names) - 1))
    cut(tmp_path / names[1].format(1))
    (last.parent / "copy.png").write_bytes(first.read_bytes())
    report = lamina.data.check(tmp_path)
    twice = "leak" if "val" in names[-1] else "duplicate"
    assert {fault.kind for fault in report.faults} == {"not opened", "truncated", twice}


def test_rows_of_a_table_that_contradict_are_all_told(tmp_path):
    for number in range(6):
        waves(number).save(tmp_path / f"{number}.png")
    cut(tmp_path / "5.png")
    rows = [*enumerate("ababab"), (1, "a"), (2, "a"), (3, "a"), (4, "b"), (0, "b")]
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{number}.png,{label}\n" for number, label in rows))
    for data in (tmp_path, table):
        found = lamina.data.check(data).errors
        told = {(fault.where, fault.origin, fault.what) for fault in found if fault.kind == "two labels"}
        assert len(told) == 4
        assert (str(tmp_path / "1.png"), f"{table}, line 8", "it is labelled a, and b in line 3") in told
        assert {fault.kind for fault in found} == {"not opened", "two labels", "truncated"}
    with pytest.raises(DataError, match=r"labels\.csv, line 8: 1\.png is labelled a, and b in line 3.*and 1 more"):
        lamina.data.open(tmp_path)


def test_classes_of_objects_are_counted_in_objects(tmp_path):
    paths = [tmp_path / f"{seed}.png" for seed in range(8)]
    for seed, path in enumerate(paths):
        waves(seed).save(path)
    ends = ends_of([2] * 8)
    columns = {
        "labels": Ragged(np.array([0] * 15 + [1]), ends),
        "boxes_xyxy": Ragged(np.array([[1, 1, 9, 9]] * 16, np.float32), ends),
    }
    made = AnnotatedDataset(paths, columns, ("red", "white", "blue"), task="detection", root=tmp_path)
    told = {fault.kind: fault.what for fault in lamina.data.check(made).doubts}
    assert told["imbalance"].startswith("1 to 15: red has 15 objects, white 1;")
    assert "accuracy" not in told["imbalance"]
    assert told["empty class"] == "1 of 3 classes have no object: blue"
