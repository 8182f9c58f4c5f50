"""LVIS: what is known not to be in a picture is kept."""

import json

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import coco, lvis
from lamina.data.formats.coco_files import unnamed
from lamina.data.formats.coco_json import Faults
from lamina.data.tree import Tree

CONTENT = {
    "images": [
        {
            "id": 5,
            "coco_url": "http://x/val2017/5.png",
            "neg_category_ids": [30, 99],
            "not_exhaustive_category_ids": [10],
        },
        {"id": 6, "coco_url": "http://x/train2017/6.png", "neg_category_ids": [], "not_exhaustive_category_ids": []},
    ],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 20, "bbox": [1, 1, 2, 2], "area": 4.0}],
    "categories": [{"id": 10 * at, "name": name, "frequency": name} for at, name in enumerate("rcf", 1)],
}


def plant(root, content):
    for name in ("train2017/6.png", "val2017/5.png"):
        (root / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(root / name)
    (root / "annotations").mkdir()
    (root / "annotations/lvis_v1_val.json").write_text(json.dumps(content))
    return root


def test_federated_fields_are_positions_among_the_classes(tmp_path, packed):
    (tmp_path / "set").mkdir()
    splits = data.open(packed(plant(tmp_path / "set", CONTENT)))
    assert splits.format == "lvis"
    first, second = (splits.validation[row][1] for row in range(2))
    assert first.extras["negative_labels"].tolist() == [2]
    assert first.extras["incomplete_labels"].tolist() == [0]
    assert second.extras["negative_labels"].tolist() == []
    assert second.labels.tolist() == []
    assert splits.validation.frequencies == ("r", "c", "f")
    assert splits.validation.subset([1]).frequencies == ("r", "c", "f")


def test_a_file_without_the_federated_fields_says_so(tmp_path):
    content = {**CONTENT, "images": [{"id": 5, "file_name": "5.png"}]}
    with pytest.raises(DataError, match=r"lvis_v1_val\.json have no 'neg_category_ids'.*format='coco'"):
        data.open(plant(tmp_path, content))


def test_the_real_file_has_the_counts_of_its_description(real_data):
    tree, faults = Tree(real_data / "formats/lvis.zip"), Faults()
    assert lvis.matches(tree)
    part = coco.read_part(tree, unnamed("annotations/lvis_val_100.json"), "detection", faults)
    assert (len(part.pictures), len(part.gathered.labels), len(part.categories.names)) == (100, 977, 1230)
    assert (part.gathered.labels >= 0).all()
    with pytest.warns(UserWarning, match=r"94 of 100 pictures that are not there \(COCO_val2014_0") as caught:
        splits = data.open(real_data / "formats/lvis.zip")
    assert len(caught) == 1
    validation = splits.validation
    wanted = {11813, 6894, 527220, 577932, 505573, 6460}
    assert {int(key) for key in validation.columns["image_id"].values} == wanted
    source = json.loads(tree.text("annotations/lvis_val_100.json"))
    assert int(validation.counts().sum()) == sum(each["image_id"] in wanted for each in source["annotations"])
    told = {each["id"]: each for each in source["images"]}
    names = {each["id"]: each["name"] for each in source["categories"]}
    for row in range(6):
        extras = validation.annotation(row).extras
        for field, key in (
            ("negative_labels", "neg_category_ids"),
            ("incomplete_labels", "not_exhaustive_category_ids"),
        ):
            wanted_names = [names[each] for each in told[int(extras["image_id"])][key]]
            assert [validation.classes[label] for label in extras[field].tolist()] == wanted_names
    assert [validation.frequencies.count(each) for each in "rcf"] == [
        sum(each["frequency"] == letter for each in source["categories"]) for letter in "rcf"
    ]
