"""What readers leave out of the files of each format, and what the check says of it: each entry by its place, as an error."""

import json
import zipfile

import pytest
from PIL import Image

from lamina.data import left_out
from lamina.data import open as open_data
from lamina.data.checking import check

COUNT = 24


def pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        Image.effect_noise((80, 72), 40 + seed).convert("RGB").save(folder / name)


def names(ending=".jpg"):
    return [f"{number:02}{ending}" for number in range(COUNT)]


def yolo(folder):
    pictures(folder / "images/train", names())
    (folder / "labels/train").mkdir(parents=True)
    for name in names(".txt"):
        (folder / "labels/train" / name).write_text("0 0.5 0.5 0.5 0.5\n1 0.3 0.3 0.2 0.2\n")
    (folder / "labels/train/03.txt").write_text("0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.2 0.2\n0 1.5 0.5 0.2 0.2\n")
    (folder / "labels/train/elsewhere.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [cat, dog]\n")
    return {
        "broken annotation": ["03.txt, line 2: the class is 7", "03.txt, line 3: 1.5 is no share"],
        "missing": ["elsewhere.txt: no picture is called elsewhere"],
    }


def coco(folder):
    pictures(folder / "train2017", names()[1:])
    told = {
        "images": [{"id": number, "file_name": name, "width": 80, "height": 72} for number, name in enumerate(names())],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0}
            for number in range(COUNT)
        ],
    }
    told["annotations"][2]["category_id"] = 99
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_train2017.json").write_text(json.dumps(told))
    return {"broken annotation": ["categor"], "missing": ["pictures that are not there (00.jpg)"]}


def voc(folder):
    pictures(folder / "JPEGImages", names()[1:])
    (folder / "Annotations").mkdir()
    for name in names(".xml"):
        box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
        more = "<object><name>cat</name></object>" if name == "05.xml" else ""
        (folder / "Annotations" / name).write_text(
            f"<annotation><filename>{name[:2]}.jpg</filename><size><width>80</width><height>72</height></size>"
            f"<object><name>cat</name>{box}</object>{more}</annotation>"
        )
    return {"broken annotation": ["05.xml"], "missing": ["00.xml: there is no such picture"]}


def table(folder):
    pictures(folder, names()[1:])
    rows = [f"{name},{'cat' if number % 2 else 'dog'}" for number, name in enumerate(names())]
    (folder / "labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    return {"broken annotation": ["labels.csv, line 2"]}


@pytest.mark.parametrize("make", [yolo, coco, voc, table])
def test_what_a_reader_leaves_out_is_an_error_with_its_place(tmp_path, make):
    expected = make(tmp_path)
    report = check(tmp_path, duplicates=False)
    assert report.exit_code == 1
    for kind, told in expected.items():
        found = [f"{each.where}: {each.what}" for each in report.errors if each.kind == kind]
        assert len(found) == len(told)
        assert all(any(text in each for each in found) for text in told), found
    assert not [each for each in report.doubts if each.kind == "reader's warning" and "cannot be used" in each.what]


def test_what_is_kept_all_the_same_is_a_doubt(tmp_path):
    coco(tmp_path)
    path = tmp_path / "annotations/instances_train2017.json"
    told = json.loads(path.read_text())
    told["images"] = told["images"][1:]
    told["annotations"] = [{**each, "id": 7, "category_id": 1} for each in told["annotations"][1:]]
    path.write_text(json.dumps(told))
    report = check(tmp_path, duplicates=False)
    assert report.exit_code == 0
    assert report.count("doubt", left_out.KEPT) == 1


def test_pictures_that_nobody_annotated_are_a_doubt(tmp_path):
    pictures(tmp_path / "images", names(".png"))
    (tmp_path / "masks").mkdir()
    for number, name in enumerate(names(".png")[:-1]):
        Image.new("L", (80, 72), number % 2).save(tmp_path / "masks" / name)
    report = check(tmp_path, duplicates=False)
    assert [each.what for each in report.doubts if each.kind == "not annotated"]
    assert not [each for each in report.errors if each.kind in (left_out.BROKEN, left_out.MISSING)]


def test_every_entry_is_named_however_many(tmp_path):
    yolo(tmp_path)
    (tmp_path / "labels/train/03.txt").write_text("0 0.5 0.5 0.5 0.5\n" * 60 + "7 0.5 0.5 0.2 0.2\n" * 5)
    (tmp_path / "labels/train/elsewhere.txt").unlink()
    assert check(tmp_path, duplicates=False).count("error", "broken annotation") == 5
    with pytest.warns(left_out.LeftOutWarning, match="; and 2 more"):
        open_data(tmp_path)


def test_a_zip_bomb_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for kind, name in (("cat", "1.png"), ("dog", "2.png")):
            archive.writestr(f"{kind}/{name}", b"\x89PNG\r\n\x1a\n" + bytes(100 << 20))
    report = check(tmp_path / "a.zip", duplicates=False)
    assert report.exit_code == 1
    assert report.count("error", "unreadable") == 2
    assert all("unpacks" in each.what for each in report.errors)


def test_a_folder_that_is_a_link_out_of_the_data_is_a_doubt(tmp_path):
    pictures(tmp_path / "data/cat", names()[:3])
    pictures(tmp_path / "elsewhere", names()[:3])
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    report = check(tmp_path / "data", duplicates=False)
    assert report.count("doubt", "link out of the folder") == 3


def test_entries_that_lead_out_are_named_where_there_is_nothing_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../x.jpg", b"")
    report = check(tmp_path / "a.zip")
    assert [each.kind for each in report.errors] == ["not opened", "unsafe entry"]
