"""Open Images: boxes, image labels, names, hierarchy, in the layouts of its versions and of FiftyOne."""

import json

import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import open_images
from lamina.data.tree import Tree

TITLES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)
BOXES = TITLES + "a,xclick,/m/cat,1,0.25,0.75,0.2,0.6,1,0,1,0,-1\na,xclick,/m/dog,1,0,1,0,1,0,0,0,0,0\n"
LABELS = (
    "ImageID,Source,LabelName,Confidence\na,verification,/m/cat,1\na,verification,/m/car,0\nb,verification,/m/dog,1\n"
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), "red").save(path)


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "oi"
    for name in ("train/a", "train/b", "validation/c"):
        picture(root / f"images/{name}.jpg")
    write(root / "annotations/train-annotations-bbox.csv", BOXES)
    write(root / "annotations/validation-annotations-bbox.csv", TITLES + "c,x,/m/dog,1,0.5,1,0.5,1,0,0,-1,0,0\n")
    write(root / "annotations/oidv6-train-annotations-human-imagelabels.csv", LABELS)
    write(root / "annotations/class-descriptions.csv", '/m/dog,Dog\n/m/cat,"Cat, tame"\n/m/car,Car\n/m/bus,Bus\n')
    return root


def counts(splits):
    return {name: len(part) for name, part in splits.parts().items()}


def test_reads_parts_boxes_and_marks_from_a_folder_a_zip_and_a_tar(images, packed):
    splits = data.open(packed(images))
    assert splits.format == "open_images"
    assert counts(splits) == {"train": 1, "validation": 1, "train_unlabelled": 1}
    assert splits.classes == ("Dog", "Cat, tame")
    annotation = splits.train[0][1]
    assert annotation.labels.tolist() == [1, 0]
    assert torch.allclose(annotation.boxes_xyxy, torch.tensor([[5.0, 2, 15, 6], [0, 0, 20, 10]]), atol=1e-5)
    assert annotation.crowd.tolist() == [True, False]
    assert splits.validation[0][1].crowd.tolist() == [False]  # nobody knows, which is no group
    told = {**annotation.attributes, **annotation.extras}
    assert {name: values.tolist() for name, values in told.items()} == {
        "occluded": [1, 0],
        "truncated": [0, 0],
        "depiction": [0, 0],
        "inside": [-1, 0],
        "present": [1],
        "absent": [],
    }
    assert splits.train.origin(0).endswith("train-annotations-bbox.csv, line 2")
    assert splits.others["train_unlabelled"][0][1].labels is None


def test_image_labels_are_several_for_each_picture(images):
    write(images / "annotations/train-annotations-machine-imagelabels.csv", LABELS + "a,machine,/m/bus,0.7\n")
    with pytest.warns(UserWarning, match=r"1 of 3 pictures.*have no label"):
        splits = data.open(images, task="classification")
    assert splits.classes == ("Dog", "Cat, tame", "Car", "Bus")
    assert splits.train.labels.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert splits.train[0][0].shape == (3, 10, 20)


def test_boxable_classes_are_taken_whole(images):
    (images / "annotations/class-descriptions.csv").rename(images / "annotations/class-descriptions-boxable.csv")
    assert data.open(images).classes == ("Dog", "Cat, tame", "Car", "Bus")


def test_classes_that_are_called_alike_are_told_apart(images):
    write(images / "annotations/class-descriptions.csv", "LabelName,DisplayName\n/m/dog,Bow\n/m/cat,Bow\n")
    assert data.open(images).classes == ("Bow (/m/dog)", "Bow (/m/cat)")


def test_parts_come_from_tables_where_the_folders_tell_none(tmp_path):
    for name in ("a", "c", "d"):
        picture(tmp_path / f"pictures/{name}.jpg")
    write(tmp_path / "image_ids_and_rotation.csv", "ImageID,Subset,Rotation\na,test,0\n")
    write(tmp_path / "validation-annotations-bbox.csv", BOXES.replace("\na,", "\nc,"))
    write(tmp_path / "test-annotations-bbox.csv", BOXES)
    write(tmp_path / "class-descriptions-boxable.csv", "/m/dog,Dog\n/m/cat,Cat\n")
    assert counts(data.open(tmp_path)) == {"test": 1, "validation": 1, "train_unlabelled": 1}


def test_the_layout_of_fiftyone_is_read(tmp_path):
    picture(tmp_path / "train/data/a.jpg")
    write(tmp_path / "train/labels/detections.csv", BOXES)
    write(tmp_path / "train/metadata/classes.csv", "/m/cat,Cat\n/m/dog,Dog\n")
    splits = data.open(tmp_path)
    assert splits.format == "open_images"
    assert (counts(splits), splits.classes) == ({"train": 1}, ("Cat", "Dog"))


def test_rows_of_pictures_that_were_not_fetched_are_counted(images):
    write(images / "annotations/train-annotations-bbox.csv", BOXES + "zz,x,/m/bus,1,0,1,0,1,0,0,0,0,0\n")
    with pytest.warns(UserWarning, match="1 of 4 rows"):
        splits = data.open(images)
    assert splits.classes == ("Dog", "Cat, tame", "Bus")  # the same, however few pictures were fetched


def test_the_hierarchy_is_kept_from_child_to_parents(images):
    leaf = {"LabelName": "/m/cat"}
    animal = {"LabelName": "/m/dog", "Subcategory": [leaf]}
    tree = {"LabelName": "/m/root", "Subcategory": [animal, {"LabelName": "/m/car", "Subcategory": [leaf]}]}
    write(images / "annotations/bbox_labels_600_hierarchy.json", json.dumps(tree, indent=1))
    assert open_images.parents(Tree(images)) == {"Dog": ("/m/root",), "Cat, tame": ("Dog", "Car"), "Car": ("/m/root",)}
    write(images / "annotations/bbox_labels_600_hierarchy.json", '{"LabelName": "x",\n "Subcategory": [')
    with pytest.raises(DataError, match=r"hierarchy\.json, line 2: the JSON breaks off"):
        open_images.parents(Tree(images))
    write(images / "annotations/bbox_labels_600_hierarchy.json", '{"Subcategory": [{"LabelName": "x"}]}')
    with pytest.raises(DataError, match="no hierarchy of LabelName"):
        open_images.parents(Tree(images))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            BOXES + "a,xclick,/m/dog,1,0,1\n",
            r"train-annotations-bbox\.csv, line 4: the row has 6 values, and 13 titles",
        ),
        (BOXES + "a,xclick,/m/dog,1,0,one,0,1,0,0,0,0,0\n", "line 4: could not convert string to float: 'one'"),
        (BOXES.replace("XMin", "Left"), "line 1: the titles .* lack XMin"),
        (BOXES + 'a,"xclick,/m/dog,1\n', "line 4: the row that begins there breaks off"),
        ("", "line 1: the titles  lack ImageID"),
    ],
)
def test_a_broken_table_is_named_with_its_line(images, text, words):
    write(images / "annotations/train-annotations-bbox.csv", text)
    with pytest.raises(DataError, match=words):
        data.open(images)


def test_bytes_that_are_no_text_are_named(images):
    (images / "annotations/train-annotations-bbox.csv").write_bytes(BOXES.encode() + b"\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"train-annotations-bbox\.csv, line 1: there or soon after, .*decode"):
        data.open(images)


def test_a_table_of_labels_that_would_fill_the_memory_is_refused(images, monkeypatch):
    monkeypatch.setattr(open_images, "free_bytes", lambda: 40)
    with pytest.raises(DataError, match=r"3 classes for 2 pictures.*half of the free memory"):
        data.open(images, task="classification")


def test_without_labels_or_pictures_it_says_what_it_looks_for(images):
    (images / "annotations/oidv6-train-annotations-human-imagelabels.csv").unlink()
    with pytest.raises(DataError, match=r"has no image labels of its 3 pictures"):
        data.open(images, task="classification")
    for path in images.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match=r"with 0 pictures.*train-annotations-bbox"):
        data.open(images)


def test_the_samples_of_both_versions_are_read(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip")
    splits = open_images.open_tree(tree.below("open_images_v6"), "detection")
    assert counts(splits) == {"train": 1, "test": 1, "train_unlabelled": 1, "validation_unlabelled": 1}
    assert splits.classes == ("Generic label #0", "Generic label #3")
    boxes = splits.train[0][1].boxes_xyxy  # of a picture of 8 x 2
    assert torch.allclose(boxes, torch.tensor([[1.6, 0.6, 8.0, 1.0]]), atol=1e-5)
    assert splits.test[0][1].crowd.tolist() == [True]
    assert open_images.parents(tree.below("open_images_v6"))["Generic label #1"] == ("Generic label #0",)
    with pytest.warns(UserWarning, match="1 of 4 pictures"):
        labelled = open_images.open_tree(tree.below("open_images_v6"), "classification")
    assert labelled.train.labels.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert labelled.test.labels.tolist() == [[0, 1, 1]]
    older = open_images.open_tree(tree.below("open_images_v5"), "detection")
    assert counts(older) == {"train_unlabelled": 1, "test_unlabelled": 1}
    assert older.classes == ("Generic label #0", "Generic label #1")
