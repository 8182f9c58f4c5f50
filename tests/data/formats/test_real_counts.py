"""True examples, from a folder, a zip and a tar alike: the format that is recognised, and the counts that are known of them."""

import zipfile

import pytest

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import open_tree
from lamina.data.tree import Tree

SAMPLES = [  # in structure_samples.zip: folder, task, format, (train, validation, test), classes
    ("celeba", "classification", "celeba", (1, 1, 0), 8),
    ("celeba", "detection", "celeba", (2, 1, 2), 1),
    ("celeba_aligned", "keypoints", "celeba", (2, 1, 2), 1),
    ("lfw", "classification", "lfw", (0, 0, 3), 2),
    ("lfw", "verification", "lfw", (0, 0, 3), 0),
    ("cityscapes", "segmentation", "cityscapes", (1, 1, 2), 19),
    ("cityscapes", "detection", "cityscapes", (1, 1, 2), 8),
    ("ade20k_2017/dataset", "segmentation", "ade20k", (1, 1, 0), 2),
    ("ade20k_2017/dataset_with_meta_file", "segmentation", "ade20k", (1, 0, 0), 2),
    ("camvid", "segmentation", "camvid", (1, 1, 2), 11),
]


def counts(splits):
    return tuple(len(part) if part is not None else 0 for part in (splits.train, splits.validation, splits.test))


@pytest.mark.parametrize(("folder", "task", "name", "expected", "classes"), SAMPLES)
def test_the_samples_of_true_layouts(real_data, tmp_path, packed, folder, task, name, expected, classes):
    with zipfile.ZipFile(real_data / "formats/structure_samples.zip") as archive:
        archive.extractall(tmp_path, [entry for entry in archive.namelist() if entry.startswith(f"{folder}/")])
    splits = data.open(packed(tmp_path / folder), task=task)
    assert (splits.format, counts(splits), len(splits.classes)) == (name, expected, classes)
    for part in splits.parts().values():
        for index in range(len(part)):
            assert part[index] is not None


@pytest.mark.parametrize(
    ("path", "name", "expected", "classes"),
    [
        ("faces/orl_faces.zip", "image_folder", (400, 0, 0), 40),
        ("hymenoptera/hymenoptera.zip", "image_folder", (244, 153, 0), 2),
        ("camvid/camvid_320x240.zip", "camvid", (367, 101, 233), 11),
        ("flickr8k-1000/flickr8k_1000.zip", "flickr", (753, 113, 125), 0),
        ("imagenet-samples/imagenet_samples_200.zip", "imagenet", (200, 0, 0), 1000),
    ],
)
def test_the_real_sets(real_data, path, name, expected, classes):
    splits = data.open(real_data / path)
    assert (splits.format, counts(splits), len(splits.classes)) == (name, expected, classes)


def test_of_ants_and_bees_each_class_has_its_count_and_of_each_face_there_are_ten(real_data):
    ants = data.open(real_data / "hymenoptera/hymenoptera.zip")
    assert ants.train.labels.bincount().tolist() == [123, 121]
    assert ants.validation.labels.bincount().tolist() == [70, 83]
    assert set(data.open(real_data / "faces/orl_faces.zip").train.labels.bincount().tolist()) == {10}


def test_one_folder_of_pictures_is_no_data_set_and_says_so(real_data):
    with pytest.raises(DataError, match=r"1 class folder .*at least two classes"):
        data.open(real_data / "faces/caltech101_faces_easy_128.zip")


def test_a_sample_inside_an_archive_opens_as_a_tree(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip").below("lfw")
    assert open_tree(tree).format == "lfw"
