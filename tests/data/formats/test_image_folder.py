"""Image folders, with and without splits, tidy and untidy."""

import zipfile
from collections import Counter

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError, UnknownNameError
from lamina.data.formats.image_folder import is_picture
from lamina.data.pictures import READS_HEIC


def plant(root, *names):
    """Small pictures at these places."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)


def test_a_folder_per_class_is_a_training_set(tmp_path):
    plant(tmp_path, "cats/1.png", "cats/2.jpg", "dogs/1.png")
    splits = data.open(tmp_path)
    assert splits.train.classes == ("cats", "dogs")
    assert splits.train.labels.tolist() == [0, 0, 1]
    assert [path.name for path in splits.train.paths] == ["1.png", "2.jpg", "1.png"]
    assert splits.test is None
    assert splits.validation is None
    assert splits.name == tmp_path.name


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_split_folders_are_splits(tmp_path, validation):
    plant(tmp_path, "train/a/1.png", "train/b/1.png", "train/b/2.png", f"{validation}/b/1.png", "test/a/1.png")
    splits = data.open(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [3, 1, 1]
    assert splits.validation.labels.tolist() == [1]
    assert splits.test.classes == ("a", "b")


def test_classes_and_files_are_sorted_as_a_person_sorts_them(tmp_path):
    plant(tmp_path, "10/a10.png", "10/a9.png", "9/x.png", "b/x.png", "A/x.png")
    train = data.open(tmp_path).train
    assert train.classes == ("9", "10", "A", "b")
    assert [path.name for path in train.paths[1:3]] == ["a9.png", "a10.png"]


def test_hidden_files_and_files_that_are_no_pictures_are_passed_over(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png", "b/.hidden.png", ".thumbs/1.png", "__MACOSX/1.png", "a/.cache/1.png")
    for name in ("a/notes.txt", "a/Thumbs.db", "readme.md"):
        (tmp_path / name).write_text("no picture")
    assert len(data.open(tmp_path).train) == 2
    assert data.open(tmp_path).classes == ("a", "b")


def test_a_picture_is_told_by_its_name(tmp_path):
    assert all(map(is_picture, ("a.jpg", "a.PNG", "x/.y/a.jpeg", tmp_path / "b.tiff")))
    assert not any(map(is_picture, (".a.jpg", "x/.a.jpg", "a.txt", "jpg", tmp_path, "x.jpg/notes")))


def test_pictures_deeper_in_a_class_folder_belong_to_the_class(tmp_path):
    plant(tmp_path, "a/1.png", "a/2021/may/2.PNG", "b/1.png")
    says = r"1 of 3 pictures .* below their class's \(2021\)\. They are taken for pictures of a, b.*to where a is"
    with pytest.warns(UserWarning, match=says) as caught:
        assert data.open(tmp_path).train.labels.tolist() == [0, 0, 1]
    assert len(caught) == 1


def test_files_that_cannot_be_read_are_counted_by_their_endings_in_one_warning(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png")
    for name in ("a/1.PSD", "a/2.psd", "b/scan", "b/notes.txt", "b/Thumbs.db", "b/.DS_Store", "elsewhere.psd"):
        (tmp_path / name).write_text("")
    with pytest.warns(UserWarning, match=r"Left out .*: 2 \.psd, 1 without an ending\.") as caught:
        assert len(data.open(tmp_path).train) == 2
    assert len(caught) == 1
    assert "pillow-heif" not in str(caught[0].message)


@pytest.mark.skipif(READS_HEIC, reason="pillow-heif is installed")
def test_heic_that_is_left_out_says_what_would_read_it(tmp_path):
    plant(tmp_path, "train/a/1.png", "train/b/1.png")
    (tmp_path / "train/b/IMG_1.HEIC").write_text("")
    with pytest.warns(UserWarning, match=r"Left out of .*train, .*: 1 \.heic\..*pip install pillow-heif"):
        data.open(tmp_path)


def test_a_class_may_be_called_test_where_there_is_no_train(tmp_path):
    plant(tmp_path, "test/1.png", "essay/1.png")
    assert data.open(tmp_path).train.classes == ("essay", "test")


def test_a_class_without_pictures_is_an_error_that_says_what_lies_there(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "photo.heic").write_text("")
    with pytest.raises(DataError, match=r"no picture of c \(files there: 1 \.heic\).*delete the empty folders"):
        data.open(tmp_path)


def test_a_class_without_test_pictures_is_no_error(tmp_path):
    plant(tmp_path, "train/a/1.png", "train/b/1.png", "test/b/1.png")
    (tmp_path / "test" / "a").mkdir()
    assert data.open(tmp_path).test.labels.tolist() == [1]


def test_a_class_that_only_the_test_pictures_have_is_an_error(tmp_path):
    plant(tmp_path, "train/a/1.png", "train/b/1.png", "test/B/1.png", "test/a/1.png")
    with pytest.raises(DataError, match=r"holds the classes B\. The training pictures have a, b"):
        data.open(tmp_path)


def test_a_folder_around_the_data_is_entered(tmp_path):
    plant(tmp_path, "photos/a/1.png", "photos/b/1.png")
    assert data.open(tmp_path).classes == ("a", "b")


def test_one_class_is_an_error_that_names_the_folder_inside(tmp_path):
    plant(tmp_path, "photos/1.png", "photos/2.png")
    with pytest.raises(DataError, match=r"1 class folder .*Pass .*photos if the classes are in there"):
        data.open(tmp_path)


def test_two_classes_that_differ_in_case_alone_are_refused(tmp_path):
    plant(tmp_path, "Cats/1.png", "cats/1.png", "dogs/1.png")
    with pytest.raises(DataError, match="has the classes Cats and cats"):
        data.open(tmp_path)


def test_says_how_the_format_was_known(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png")
    splits = data.open(tmp_path)
    assert (splits.format, splits.recognised) == ("image_folder", "2 folders hold pictures (a, b)")
    assert "2 train; for classification, 2 classes (image_folder: 2 folders hold pictures (a, b))" in str(splits)


def test_folders_beside_the_splits_are_named_in_a_warning(tmp_path):
    plant(tmp_path, "train/a/1.png", "train/b/1.png", "extra/a/1.png")
    with pytest.warns(UserWarning, match="extra beside them are not read"):
        assert len(data.open(tmp_path).train) == 2


def test_two_folders_for_one_split_are_refused(tmp_path):
    plant(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(DataError, match="both val and valid"):
        data.open(tmp_path)


def test_loose_pictures_are_no_format_and_the_error_says_what_was_looked_for_and_found(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    with pytest.raises(DataError) as caught:
        data.open(tmp_path)
    for words in (
        "1.png, 2.png",
        "and for lvis, coco",
        "a folder of pictures for each class",
        "pass the folder above",
    ):
        assert words in str(caught.value)
    with pytest.raises(DataError, match=r"1\.png is a file\..*Pass the folder that holds a folder of pictures"):
        data.open(tmp_path / "1.png")
    with pytest.raises(DataError, match="0 class folders and 2 loose pictures"):
        data.open(tmp_path, format="image_folder")


def test_an_empty_a_missing_and_an_unpacked_place_each_say_what_they_are(tmp_path):
    with pytest.raises(DataError, match="holds nothing"):
        data.open(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        data.open(tmp_path / "gone")
    (tmp_path / "photos.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"photos\.zip cannot be read .*A whole zip or tar was expected"):
        data.open(tmp_path / "photos.zip")


def test_an_unknown_format_lists_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no format called 'imagefolder'.*'image_folder'"):
        data.open(tmp_path, "imagefolder")


def test_reads_ants_and_bees(real_data, tmp_path):
    with zipfile.ZipFile(real_data / "hymenoptera" / "hymenoptera.zip") as archive:
        archive.extractall(tmp_path)
    splits = data.open(tmp_path)
    assert splits.classes == ("ants", "bees")
    assert Counter(splits.train.labels.tolist()) == {0: 123, 1: 121}
    assert Counter(splits.validation.labels.tolist()) == {0: 70, 1: 83}
    assert splits.test is None
    small = splits.train.limit(20).in_memory(data.Preprocess(size=(64, 64)), on_error="raise")
    assert small.images.shape == (20, 3, 64, 64)
    assert small.images.float().std() > 20
