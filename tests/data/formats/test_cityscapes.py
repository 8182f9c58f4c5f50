"""Cityscapes: maps of ids to the benchmark's classes, and objects from maps of instances."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import open_tree
from lamina.data.formats.cityscapes import CLASSES
from lamina.data.tree import Tree


def plant(root, name="train/aachen/aachen_000001_000019", *, kind="gtFine", **maps):
    height, width = next(iter(np.array(pixels).shape for pixels in maps.values()), (2, 4))
    picture = root / f"leftImg8bit/{name}_leftImg8bit.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(picture)
    for of, pixels in maps.items():
        path = root / f"{kind}/{name}_{kind}_{of}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        large = np.array(pixels).max() > 255
        Image.fromarray(np.array(pixels, dtype=np.uint16 if large else np.uint8)).save(path)


IDS = [[7, 0, 26, 26], [24, 33, 4, 255]]
INSTANCES = [[7, 0, 26001, 26001], [24, 33000, 26000, 65535]]


def test_ids_become_the_nineteen_classes_of_the_benchmark(tmp_path, packed):
    plant(tmp_path / "city", labelIds=IDS, instanceIds=INSTANCES)
    splits = data.open(packed(tmp_path / "city"))
    assert splits.format == "cityscapes"
    assert splits.classes == tuple(CLASSES)
    assert len(splits.classes) == 19
    assert splits.train[0][1].class_map.tolist() == [[0, 255, 13, 13], [11, 18, 255, 255]]


def test_without_ids_the_instances_tell_the_classes(tmp_path):
    plant(tmp_path, instanceIds=INSTANCES)
    assert data.open(tmp_path).train[0][1].class_map.tolist() == [[0, 255, 13, 13], [11, 18, 13, 255]]


def test_train_ids_are_classes_already(tmp_path):
    plant(tmp_path, labelTrainIds=[[0, 18], [255, 3]])
    assert data.open(tmp_path).train[0][1].class_map.tolist() == [[0, 18], [255, 3]]


def test_instances_are_objects_and_what_has_no_number_is_a_crowd(tmp_path):
    plant(tmp_path, instanceIds=INSTANCES)
    splits = data.open(tmp_path, task="detection")
    found = splits.train[0][1]
    assert [splits.classes[label] for label in found.labels.tolist()] == ["person", "car", "car", "bicycle"]
    assert found.crowd.tolist() == [True, False, False, False]
    assert found.boxes_xyxy.tolist() == [[0, 1, 1, 2], [2, 1, 3, 2], [2, 0, 4, 1], [1, 1, 2, 2]]
    assert torch.equal(found.masks[2], torch.tensor([[False, False, True, True], [False] * 4]))


def test_coarse_maps_are_taken_where_there_is_no_fine_one(tmp_path):
    plant(tmp_path, labelIds=IDS)
    plant(tmp_path, "train_extra/bonn/bonn_000001_000019", kind="gtCoarse", labelIds=IDS)
    splits = data.open(tmp_path)
    assert list(splits.others) == ["train_extra"]
    assert splits["train_extra"][0][1].class_map[0, 0] == 0


def test_pictures_without_maps_are_told_and_none_at_all_is_an_error(tmp_path):
    plant(tmp_path, labelIds=IDS)
    plant(tmp_path, "test/bonn/bonn_000001_000019")
    with pytest.warns(UserWarning, match=r"1 of 2 pictures .*bonn_000001_000019_leftImg8bit\.png has no map"):
        assert data.open(tmp_path).test is None
    with pytest.raises(DataError, match=r"2 pictures .* none has a map for detection.*instanceIds"):
        data.open(tmp_path, task="detection")


def test_an_id_that_there_is_not_is_an_error_at_the_sample(tmp_path):
    plant(tmp_path, labelIds=[[7, 99]])
    with pytest.raises(DataError, match="holds the value 99"):
        data.open(tmp_path).train[0]


def test_the_sample_of_the_true_layout(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip").below("cityscapes")
    splits = open_tree(tree)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1, 1, 2]
    assert set(splits.train[0][1].class_map.unique().tolist()) == {11, 255}
    assert set(splits.test[1][1].class_map.unique().tolist()) == {3, 16, 255}
    objects = open_tree(tree, task="detection")
    assert len(objects.validation[0][1]) == 0
    assert objects.classes[objects.test[0][1].labels[0]] == "truck"
