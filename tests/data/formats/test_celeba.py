"""CelebA: attributes, boxes, points and persons, as its authors and as Kaggle lay it out."""

import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError, UnknownNameError
from lamina.data.formats import open_tree
from lamina.data.tree import Tree


def plant(root, *, csv=False, pictures=("img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg")):
    for name in pictures:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 6)).save(root / name)
    between, ending, count = (",", "csv", "") if csv else (" ", "txt", "2\n")
    head = "image_id," if csv else ""
    rows = {
        "list_attr_celeba": [f"{head}Bald{between}Smiling", "000001.jpg -1  1", "000002.jpg  1 -1"],
        "list_landmarks_align_celeba": ["a_x a_y b_x b_y c_x c_y d_x d_y e_x e_y"]
        + [f"00000{n}.jpg {' '.join(map(str, range(10)))}" for n in (1, 2)],
        "list_bbox_celeba": ["image_id x_1 y_1 width height", "000001.jpg 1 2 2 3", "000002.jpg 0 0 4 6"],
    }
    for name, lines in rows.items():
        text = count + "\n".join(",".join(line.split()) if csv else line for line in lines)
        (root / f"{name}.{ending}").write_text(text + "\n")
    partition = f"image_id{between}partition\n" if csv else ""
    (root / f"list_eval_partition.{ending}").write_text(f"{partition}000001.jpg{between}0\n000002.jpg{between}2\n")


@pytest.mark.parametrize("csv", [False, True])
def test_attributes_are_several_labels_of_each_picture(tmp_path, packed, csv):
    plant(tmp_path / "celeba", csv=csv)
    splits = data.open(packed(tmp_path / "celeba"))
    assert splits.format == "celeba"
    assert splits.classes == ("Bald", "Smiling")
    assert splits.train.labels.tolist() == [[0, 1]]
    assert splits.test.labels.tolist() == [[1, 0]]
    assert splits.validation is None


def test_boxes_become_corners_and_points_are_seen(tmp_path):
    plant(tmp_path)
    boxes = data.open(tmp_path, task="detection")
    assert boxes.train[0][1].boxes_xyxy.tolist() == [[1, 2, 3, 5]]
    assert boxes.train[0][1].labels.tolist() == [0]
    points = data.open(tmp_path, task="keypoints")
    assert points.train[0][1].keypoints[0, 1].tolist() == [2, 3, 2]
    assert len(points.train.point_names) == 5
    assert points.test.origin(0).endswith("list_landmarks_align_celeba.txt, line 4")


def test_a_list_that_breaks_off_names_its_line(tmp_path):
    plant(tmp_path)
    (tmp_path / "list_attr_celeba.txt").write_text("2\nBald Smiling\n000001.jpg -1 1\n000002.jpg 1\n")
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt, line 4 has 1 values.*2 values were expected"):
        data.open(tmp_path)
    (tmp_path / "list_attr_celeba.txt").write_text("2\nBald Smiling\n000001.jpg -1 x\n")
    with pytest.raises(DataError, match=r"line 3: could not convert string to float: 'x'"):
        data.open(tmp_path)


def test_pictures_that_are_not_there_are_told_and_a_missing_list_too(tmp_path):
    plant(tmp_path, pictures=["img_align_celeba/000002.jpg"])
    with pytest.warns(UserWarning, match=r"1 of 2 pictures .*line 3: 000001 is not there"):
        assert data.open(tmp_path).train is None
    (tmp_path / "list_bbox_celeba.txt").unlink()
    with pytest.raises(DataError, match=r"no list_bbox_celeba\.txt for detection"):
        data.open(tmp_path, task="detection")
    with pytest.raises(UnknownNameError, match="task"):
        data.open(tmp_path, task="panoptic")


def test_points_and_boxes_lie_in_the_pictures_that_they_were_measured_in(tmp_path):
    plant(tmp_path, pictures=[f"{kind}/00000{n}.jpg" for kind in ("img_celeba", "img_align_celeba") for n in (1, 2)])
    assert data.open(tmp_path, task="detection").train.paths[0].parent.name == "img_celeba"
    assert data.open(tmp_path, task="keypoints").train.paths[0].parent.name == "img_align_celeba"
    assert data.open(tmp_path).train.paths[0].parent.name == "img_align_celeba"


def test_the_samples_of_the_true_layout(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip")
    attributes = open_tree(tree.below("celeba"))
    assert len(attributes.classes) == 8
    assert attributes.train.labels.tolist() == [[0, 1, 1, 0, 0, 0, 0, 0]]
    assert attributes.validation.labels.tolist() == [[0, 0, 0, 1, 0, 0, 0, 1]]
    boxes = open_tree(tree.below("celeba"), task="detection")
    assert [len(part) for part in (boxes.train, boxes.validation, boxes.test)] == [2, 1, 2]
    assert boxes.train[0][1].boxes_xyxy.tolist() == [[95, 71, 321, 384]]
    assert int(boxes.train[0][1].extras["identity"]) == 12
    people = open_tree(tree.below("celeba_aligned"), task="identification")
    assert people.classes == ("2", "5", "7", "10", "12")
    assert people.train.labels.tolist() == [4, 1]
    points = open_tree(tree.below("celeba_aligned"), task="keypoints")
    assert torch.equal(
        points.test[1][1].keypoints[0, :, :2].flatten(), torch.tensor([66.0, 114, 112, 112, 86, 119, 71, 147, 104, 150])
    )
