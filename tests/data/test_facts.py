"""A data set in numbers."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.data import AnnotatedDataset, ImageDataset, Splits, facts
from lamina.data.columns import Beside, Ragged
from lamina.data.paths import Paths


@pytest.fixture
def photos(tmp_path):
    """train: 4 of a (one copied, one grey), 2 of b; test: one of each, a's a copy of one in train."""
    numbers = np.random.default_rng(0)
    for part, name, count in (("train", "a", 4), ("train", "b", 2), ("test", "b", 1)):
        folder = tmp_path / "photos" / part / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = numbers.integers(0, 255, (20 + 4 * number, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    train = tmp_path / "photos" / "train"
    Image.open(train / "a" / "3.png").convert("L").save(train / "a" / "3.png")
    shutil.copy(train / "a" / "0.png", train / "b" / "9.png")
    (tmp_path / "photos" / "test" / "a").mkdir()
    shutil.copy(train / "a" / "1.png", tmp_path / "photos" / "test" / "a" / "9.png")
    return tmp_path / "photos"


def test_pictures_balance_sizes_colours_and_copies_are_counted(photos):
    told = data.info(photos)
    train, test = told.parts["train"], told.parts["test"]
    assert (train.pictures, test.pictures) == (7, 2)
    assert train.counts == {"a": 4, "b": 3}
    assert (train.smallest, train.largest) == ((20, 30), (32, 30))
    assert train.modes == {"RGB": 6, "grey": 1}
    assert (train.copies, test.copies) == (1, 1)
    assert told.format == "image_folder"
    text = str(told)
    assert "9 (7 train, 2 test)" in text
    assert "smallest 20 x 30, median 24 x 30, largest 32 x 30 px" in text
    assert "1 pictures have the bytes of an earlier one" in text
    assert "most : fewest = 1.33 : 1" in text
    bars = [line.count("█") for line in text.splitlines() if "█" in line]
    assert bars[:2] == [30, 22]
    json.dumps(told.to_dict())


def test_the_same_from_an_archive(photos, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", photos)
    assert data.info(archive).parts == data.info(photos).parts


def test_what_cannot_be_read_is_counted(photos):
    (photos / "train" / "a" / "2.png").write_bytes(b"")
    train = data.info(photos).parts["train"]
    assert train.unreadable == 1
    assert sum(train.modes.values()) == 6


def test_pictures_in_memory(tmp_path):
    images = torch.zeros(5, 1, 8, 6, dtype=torch.uint8)
    images[3:] = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1) + 1
    told = data.info(ImageDataset(images, torch.tensor([0, 0, 1, 1, 0]), ["x", "y"], name="mine"))
    part = told.parts["train"]
    assert part.copies == 2
    assert part.median == (8, 6)
    assert "all 8 x 6 px" in str(told)
    assert "licence      not known" in str(told)


def test_objects_and_pixels_of_classes_are_counted(photos):
    paths = sorted(map(str, (photos / "train").rglob("*.png")))
    ends = np.array([0, 2, 3, *[3] * (len(paths) - 2)])
    boxes = AnnotatedDataset(paths, {"labels": Ragged(np.array([0, 1, 1]), ends)}, "abc", task="detection", root=photos)
    part = data.info(boxes).parts["train"]
    assert part.counts == {"a": 1, "b": 2, "c": 0}
    assert part.unit == "objects"
    assert "1 without any" in str(data.info(boxes))

    def half(path, size):
        return torch.cat([torch.zeros(size[0], 15), torch.full((size[0], 15), 255)], dim=1).to(torch.uint8)

    maps = AnnotatedDataset(
        paths, {"class_map": Beside(Paths(paths), half)}, ["sky", "sea"], task="segmentation", root=photos
    )
    part = data.info(maps).parts["train"]
    assert part.counts == {"sky": 50.0, "sea": 0.0}
    assert "%" in part.unit


def test_the_balance_is_drawn(photos, tmp_path):
    data.info(photos).figure().savefig(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.width > 300


def test_many_classes_are_told_in_short(photos):
    images = torch.zeros(200, 1, 2, 2, dtype=torch.uint8)
    told = str(data.info(ImageDataset(images, torch.arange(200) % 150, [f"c{n}" for n in range(150)])))
    assert told.count("█") > 0
    assert len(told.splitlines()) < 60


def test_copies_are_sought_among_files_of_one_size_only(photos, monkeypatch):
    read = []
    content = facts._content
    monkeypatch.setattr(facts, "_content", lambda part, index: read.append(index) or content(part, index))
    data.info(photos)
    assert 4 <= len(read) < 9


@pytest.mark.parametrize(
    ("name", "pictures", "classes"), [("camvid/camvid_320x240.zip", 701, 11), ("coco-mini/coco_mini.zip", 159, 80)]
)
def test_real_data_in_numbers(real_data, name, pictures, classes):
    told = data.info(real_data / name)
    assert sum(part.pictures for part in told.parts.values()) == pictures
    assert len(told.classes) == classes
    assert not any(part.unreadable for part in told.parts.values())


def test_a_picture_that_two_parts_name_counts_once_and_is_no_copy(photos):
    whole = data.open(photos).train
    alone = data.info(Splits(whole, None))
    told = data.info(Splits(whole.subset([0, 1]), None, others={"trainval": whole}))
    assert told.pictures == alone.pictures == len(whole)
    assert told.parts["trainval"].again == 2
    assert sum(part.copies for part in told.parts.values()) == alone.parts["train"].copies


def test_the_legend_stands_beside_the_bars_and_one_part_needs_none(photos):
    whole = data.open(photos)
    assert facts.info(whole.train).figure().axes[0].get_legend() is None
    figure = facts.info(whole).figure()
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1
