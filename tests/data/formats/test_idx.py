"""IDX folders: every common way of naming the files, and every way in which they can be wrong."""

import gzip
import struct

import pytest
import torch

from lamina import data
from lamina.core.errors import DataError

IMAGES = torch.randint(0, 256, (5, 3, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = [0, 2, 1, 1, 0]


def images_file(images=IMAGES) -> bytes:
    return struct.pack(">4I", 0x803, *images.shape) + images.numpy().tobytes()


def labels_file(labels=LABELS) -> bytes:
    return struct.pack(">2I", 0x801, len(labels)) + bytes(labels)


def write(folder, split="train", prefix="", images=None, labels=None):
    (folder / f"{prefix}{split}-images-idx3-ubyte").write_bytes(images_file() if images is None else images)
    (folder / f"{prefix}{split}-labels-idx1-ubyte").write_bytes(labels_file() if labels is None else labels)


def test_reads_both_splits(tmp_path):
    write(tmp_path)
    write(tmp_path, "t10k", images=images_file(IMAGES[:2]), labels=labels_file([1, 0]))
    splits = data.open(tmp_path)
    assert torch.equal(splits.train.images, IMAGES[:, None])
    assert splits.train.labels.tolist() == LABELS
    assert splits.train.labels.dtype == torch.int64
    assert splits.test.labels.tolist() == [1, 0]
    assert splits.classes == ("0", "1", "2")
    assert splits.name == tmp_path.name


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("train.images.idx3.ubyte", "train.labels.idx1.ubyte"),
        ("Fashion-Train-images-idx3-ubyte", "Fashion-Train-labels-idx1-ubyte"),
    ],
)
def test_reads_every_common_way_of_naming_the_files(tmp_path, images, labels):
    for name, content in ((images, images_file()), (labels, labels_file())):
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    splits = data.open(str(tmp_path))
    assert torch.equal(splits.train.images, IMAGES[:, None])
    assert splits.test is None


def test_a_test_split_alone_is_enough_and_may_be_called_test(tmp_path):
    write(tmp_path, "test")
    splits = data.open(tmp_path)
    assert splits.train is None
    assert len(splits.test) == 5


def test_gzip_is_known_by_its_content_and_not_by_its_name(tmp_path):
    write(tmp_path, images=gzip.compress(images_file()))
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "train-labels-idx1-ubyte.gz")
    assert torch.equal(data.open(tmp_path).train.images, IMAGES[:, None])


def test_where_a_file_lies_there_twice_the_unzipped_one_counts(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(b"not read")
    assert data.open(tmp_path).train.labels.tolist() == LABELS


def test_emnist_is_turned_upright(tmp_path):
    write(tmp_path, prefix="emnist-letters-")
    assert torch.equal(data.open(tmp_path).train.images, IMAGES.mT[:, None])


def test_class_names_can_stand_in_a_file(tmp_path):
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("shirt\nshoe\nbag\n")
    assert data.open(tmp_path).classes == ("shirt", "shoe", "bag")
    (tmp_path / "classes.txt").write_text("shirt\n")
    with pytest.raises(DataError, match=r"names 1 classes.*go up to 2"):
        data.open(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"images": labels_file()}, r"images-idx3-ubyte starts with the bytes 00 00 08 01.*00 00 08 03"),
        ({"labels": images_file()}, r"labels-idx1-ubyte starts with the bytes 00 00 08 03"),
        ({"images": b""}, r"images-idx3-ubyte starts with the bytes \(none\)"),
        ({"images": images_file()[:-1]}, r"images-idx3-ubyte has 75 bytes.*5 x 3 x 4 values: 76 bytes.*truncated"),
        ({"images": images_file()[:7]}, r"images-idx3-ubyte has 7 bytes"),
        ({"labels": labels_file() + b"!"}, r"labels-idx1-ubyte has 14 bytes"),
        ({"labels": labels_file([1, 2])}, r"images-idx3-ubyte holds 5 images and .*labels-idx1-ubyte 2 labels"),
        ({"images": gzip.compress(images_file())[:-12]}, r"images-idx3-ubyte is a damaged gzip file"),
        ({"images": images_file(IMAGES[:0]), "labels": labels_file([])}, r"images-idx3-ubyte holds no images"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, wrong, words):
    write(tmp_path, **wrong)
    with pytest.raises(DataError, match=words):
        data.open(tmp_path)


def test_a_missing_partner_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte, but no file of labels"):
        data.open(tmp_path)


def test_two_data_sets_in_one_folder_are_refused(tmp_path):
    write(tmp_path, prefix="emnist-letters-")
    write(tmp_path, prefix="emnist-digits-")
    with pytest.raises(DataError, match="emnist-digits-, emnist-letters-"):
        data.open(tmp_path)


def test_a_format_that_is_asked_for_and_not_there_says_what_it_looks_for(tmp_path):
    with pytest.raises(DataError, match=r"no IDX file.*train-images-idx3-ubyte"):
        data.open(tmp_path, "idx")


def test_the_original_files_give_what_the_package_holds(real_data):
    packed, opened = data.load("mnist"), data.open(real_data / "mnist")
    for ours, theirs in ((packed.train, opened.train), (packed.test, opened.test)):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
    assert packed.classes == opened.classes


def test_emnist_names_its_classes_in_a_mapping(tmp_path):
    write(tmp_path, prefix="emnist-letters-", labels=labels_file([1, 2, 3, 1, 2]))
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n3 67 99\n")
    assert data.open(tmp_path).classes == ("N/A", "A", "B", "C")
    (tmp_path / "emnist-letters-mapping.txt").unlink()
    (tmp_path / "mapping.txt").write_text("0 48\n1 49\n2 97\n3 98\n\n")
    assert data.open(tmp_path).classes == ("0", "1", "a", "b")
    (tmp_path / "classes.txt").write_text("none\none\ntwo\nthree")
    assert data.open(tmp_path).classes == ("none", "one", "two", "three")


@pytest.mark.parametrize(
    ("text", "says"), [("zero 48", "no mapping"), ("0\n", "no mapping"), ("0 48\n1 49", "names 2 classes")]
)
def test_a_mapping_that_is_none_or_too_short_is_named(tmp_path, text, says):
    write(tmp_path)
    (tmp_path / "mapping.txt").write_text(text)
    with pytest.raises(DataError, match=rf"mapping\.txt.*{says}|{says}"):
        data.open(tmp_path)
