"""Samples on a sheet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lamina import data
from lamina.core.errors import DataError, UnknownNameError
from lamina.data import AnnotatedDataset, FolderDataset, ImageDataset, Splits, looking
from lamina.data.augment import Mixup, RandomFlip, sample
from lamina.data.columns import Ragged
from lamina.structures import drawing


@pytest.fixture
def photos(tmp_path):
    """Six pictures of two classes, the left half dark."""
    for number in range(6):
        pixels = np.full((24, 32, 3), 200, np.uint8)
        pixels[:, :16] = 20 + number
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def boxed(photos):
    paths = sorted(map(str, photos.rglob("*.png")))
    ends = np.arange(len(paths) + 1)
    boxes = np.tile(np.array([[2, 2, 14, 20]], np.float32), (len(paths), 1))
    columns = {"boxes_xyxy": Ragged(boxes, ends), "labels": Ragged(np.arange(len(paths)) % 2, ends)}
    return AnnotatedDataset(paths, columns, ["dark", "light"], task="detection", root=photos)


def test_a_folder_its_splits_a_data_set_and_arrays_are_shown_alike(photos):
    by_path = data.show(photos, 4)
    splits = data.open(photos)
    assert by_path.tobytes() == data.show(splits, 4).tobytes() == data.show(splits.train, 4).tobytes()
    arrays = ImageDataset(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6) % 2, ["a", "b"])
    assert data.show(arrays).width > 100
    several = ImageDataset(arrays.images, torch.tensor([[1, 1], [0, 0]] * 3), ["a", "b"])
    assert data.show(several, 2).width > 100


def test_another_seed_shows_others_and_the_same_the_same(photos):
    assert data.show(photos, 2, seed=1).tobytes() == data.show(photos, 2, seed=1).tobytes()
    assert len({data.show(photos, 2, seed=seed).tobytes() for seed in range(5)}) > 1


def test_looking_draws_nothing_from_the_generator_of_others(boxed):
    before = torch.get_rng_state()
    data.show(boxed, 3, augment="trivial")
    sample.augmentation("detection", size=32).show(boxed, count=2)
    assert torch.equal(torch.get_rng_state(), before)


def darker(picture, known):
    return picture // 2, known


@pytest.mark.parametrize(
    "augment",
    ["flip,rotate", "usual", "mosaic", ["crop", "color"], darker, v2.Pad(3)],
    ids=lambda augment: getattr(augment, "__name__", str(augment)),
)
def test_annotated_pictures_are_shown_before_and_after(boxed, augment):
    augment = sample.SampleTransforms([augment]) if isinstance(augment, v2.Transform) else augment
    alone, both = data.show(boxed, 2, columns=1), data.show(boxed, 2, augment=augment, columns=1)
    assert both.width >= alone.width + 128


@pytest.mark.parametrize("augment", ["flip,trivial", "usual", RandomFlip(), [RandomFlip(), "augmix"]], ids=str)
def test_pictures_of_classes_are_shown_before_and_after(photos, augment):
    both = np.asarray(data.show(photos, 1, augment=augment, columns=1))
    assert both.shape[1] > 450


def test_a_flip_is_seen(photos):
    sheet = np.asarray(data.show(photos, 1, augment=RandomFlip(p=1), columns=1)).astype(int)
    row = sheet[40, :, 0]
    dark = np.flatnonzero(row < 40)
    middle = sheet.shape[1] // 2
    assert (dark < middle // 2 + 5).sum() == pytest.approx((dark > middle + middle // 2 - 5).sum(), abs=10)


def test_every_transform_shows_one_sample_many_times(boxed):
    sheet = sample.augmentation("detection", size=48).show(boxed, 1, count=5)
    assert sheet.width * sheet.height > 6 * 150 * 100
    with pytest.raises(DataError, match="count is 0"):
        sample.augmentation("detection", size=48).show(boxed, count=0)


def test_a_picture_that_cannot_be_read_takes_its_place(photos):
    (photos / "a" / "0.png").write_bytes(b"no picture")
    assert data.show(photos, 6).size[0] > 100


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"count": 7}, DataError, r"7 samples .* has 6\."),
        ({"count": 0}, DataError, "0 samples"),
        ({"part": "tset"}, UnknownNameError, "no part called 'tset'"),
        ({"augment": "flop"}, UnknownNameError, "'flip'"),
        ({"augment": Mixup()}, DataError, "mixes pictures"),
    ],
)
def test_what_cannot_be_shown_is_told(photos, arguments, error, text):
    with pytest.raises(error, match=text):
        data.show(photos, **arguments)


def test_batches_augmentations_are_refused_for_boxes(boxed):
    with pytest.raises(DataError, match=r"leaves boxes and masks where they are.*augment.sample"):
        data.show(boxed, augment=RandomFlip())
    with pytest.raises(DataError, match="A int came as data"):
        data.show(3)
    with pytest.raises(DataError, match="has no parts"):
        data.show(boxed, part="train")

    class Empty(FolderDataset):
        def __len__(self):
            return 0

    empty = Empty.__new__(Empty)
    empty.root, empty.classes = Path("nothing"), ()
    empty.task, empty.classes = "classification", ("a",)
    with pytest.raises(DataError, match="is empty"):
        looking.part_of(Splits(empty, None))


def test_a_misspelt_name_is_told_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'mnits', and no folder .*'mnist'"):
        data.show("mnits")


def test_digits_are_not_mirrored_and_keep_their_size():
    """A flipped 3 is none; and of 28 pixels no 224 are made to look at."""
    images = torch.zeros(8, 1, 28, 28, dtype=torch.uint8)
    for classes, mirrored in ((("0", "1"), False), (("cat", "dog"), True)):
        change = looking._change("usual", data.ImageDataset(images, [0] * 8, classes))
        assert any("mirrored" in str(each) for each in change.transforms) == mirrored
        assert change(images[0], 0)[0].shape == (3, 28, 28)


def test_loose_pictures_and_a_single_one_are_shown_without_labels(tmp_path):
    for number in range(3):
        Image.new("RGB", (20, 10), (90 * number, 0, 0)).save(tmp_path / f"{number}.png")
    assert (
        data.show(tmp_path, side_px=64).size
        == data.show(
            data.Splits(
                FolderDataset(sorted(tmp_path.glob("*.png")), torch.zeros(3, 0, dtype=torch.int64), (), root=tmp_path),
                None,
            ),
            side_px=64,
        ).size
    )
    assert data.show(tmp_path / "1.png").width > 0
    told = data.info(tmp_path)
    assert told.pictures == 3
    assert "without labels" in str(told)


def test_before_and_after_are_said(boxed, photos, monkeypatch):
    said = []
    annotated = drawing.annotated
    monkeypatch.setattr(
        drawing, "annotated", lambda *given, **told: (said.append(told["caption"]), annotated(*given, **told))[1]
    )
    data.show(boxed, 1, augment="flip")
    data.show(photos, 1, augment="flip")
    data.show(boxed, 1)
    assert said[:2] == ["before", "after"]
    assert [each.split(": ")[0] for each in said[2:4]] == ["before", "after"]
    assert said[4:] == [""]
