"""Shards: written whole or not at all, opened by their index, read in any order, and as other programs write them."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core import random
from lamina.core.errors import DataError, UnknownNameError
from lamina.data import archive, shard_index
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Beside, Fixed, Ragged, Texts
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.paths import Paths
from lamina.data.preprocess import Preprocess
from lamina.data.shards import write_shards
from lamina.data.splits import Splits
from lamina.data.workers import WorkerBatches

SMALL = Preprocess(channels=3, size=(8, 8), mean=(0.0,), std=(1 / 255,))


def jpeg(number, size=(12, 8)):
    made = io.BytesIO()
    Image.new("RGB", size, (number * 5 % 256, 90, 30)).save(made, "JPEG")
    return made.getvalue()


@pytest.fixture
def folder(tmp_path):
    """30 pictures of three classes, one of which has a name that is no UTF-8, and two that share a name."""
    paths, labels = [], []
    for number in range(30):
        name = {3: b"caf\xe9.jpg", 4: b"same.jpg", 8: b"same.jpg"}.get(number, b"%d.JPG" % number)
        where = tmp_path / "pictures" / str(number)
        where.mkdir(parents=True)
        path = where / Path(name.decode("utf-8", "surrogateescape"))
        path.write_bytes(jpeg(number))
        paths.append(path)
        labels.append(number // 10)
    return FolderDataset(paths, labels, ("a", "b", "c", "empty"), root=tmp_path / "pictures")


def contents(dataset):
    return sorted(
        (hashlib.md5(archive.read_bytes(dataset.paths.name(row))).hexdigest(), dataset.labels[row].tolist())
        for row in range(len(dataset))
    )


def test_shards_hold_the_same_bytes_and_labels(folder, tmp_path):
    written = write_shards(folder, tmp_path / "out", samples_per_shard=7)
    splits = data.open(tmp_path / "out")
    assert splits.format == "shards"
    assert splits.recognised == "train/index.json lists shards"
    assert splits.classes == ("a", "b", "c", "empty")
    assert contents(splits.train) == contents(folder)
    assert [shard["samples"] for shard in written["train"]["shards"]] == [7, 7, 7, 7, 2]
    for shard in written["train"]["shards"]:
        content = (tmp_path / "out" / "train" / shard["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
        assert len(content) % 10_240 == 0
    assert splits.train.origin(0).endswith(splits.train.paths.name(0))


def test_the_order_is_random_and_a_function_of_the_seed(folder, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_shards(folder, tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / name / "train" / "shard-000000.tar").read_bytes() for name in "abc")
    assert first == again
    assert first != other
    labels = data.open(tmp_path / "a").train.labels
    assert len(labels[:8].unique()) == 3  # sorted by class they would be of one


def test_any_program_that_knows_tar_reads_them(folder, tmp_path):
    write_shards(folder, tmp_path / "out", megabytes=0.01)
    names = []
    for path in sorted((tmp_path / "out" / "train").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                names.append(member.name)
                if member.name.endswith(".cls"):
                    assert int(tar.extractfile(member).read()) in (0, 1, 2)
    assert len(names) == len(set(names)) == 60
    assert all(name.isascii() and name.count(".") == 1 for name in names)
    keys = [name.partition(".")[0] for name in names]
    assert keys == sorted(keys)
    assert keys[::2] == keys[1::2]  # picture and class lie side by side
    assert sum("same" in key for key in keys[::2]) == 2


def test_the_index_is_enough_to_open_them(folder, tmp_path, monkeypatch):
    write_shards(folder, tmp_path / "out")
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("a shard was looked through"))
    splits = data.open(tmp_path / "out")
    assert splits.train.prepared(SMALL).picture(3).shape == (8, 8, 3)


def test_without_an_index_they_are_looked_through(folder, tmp_path):
    write_shards(folder, tmp_path / "out", samples_per_shard=7)
    indexed = data.open(tmp_path / "out").train
    for name in (shard_index.TABLE, shard_index.ARRAYS):
        (tmp_path / "out" / "train" / name).unlink()
    (tmp_path / "out" / "classes.txt").write_text("a\nb\nc\nempty\n")
    splits = data.open(tmp_path / "out")
    assert "begins with" in splits.recognised
    assert splits.classes == ("a", "b", "c", "empty")
    assert list(splits.train.paths) == list(indexed.paths)
    assert splits.train.labels.tolist() == indexed.labels.tolist()
    alone = data.open(tmp_path / "out" / "train" / "shard-000001.tar")
    assert len(alone.train) == 7
    assert list(alone.train.paths) == list(indexed.paths)[7:14]


def test_several_labels_for_a_picture_come_back(folder, tmp_path):
    labels = torch.zeros(30, 4, dtype=torch.int64)
    labels[torch.arange(30), torch.arange(30) % 3] = 1
    labels[5] = 1
    labels[6] = 0
    several = FolderDataset(folder.paths, labels, folder.classes, root=folder.root)
    write_shards(several, tmp_path / "out")
    assert contents(data.open(tmp_path / "out").train) == contents(several)
    for name in (shard_index.TABLE, shard_index.ARRAYS):
        (tmp_path / "out" / "train" / name).unlink()
    assert contents(data.open(tmp_path / "out").train) == contents(several)


def test_pictures_in_memory_are_written_without_loss(tmp_path):
    images = torch.randint(0, 256, (6, 1, 9, 7), dtype=torch.uint8)
    write_shards(ImageDataset(images, torch.arange(6) % 2, ("a", "b")), tmp_path / "out")
    read = data.open(tmp_path / "out").train
    order = random.order(random.key(0), 6)
    for row, sample in zip(order.tolist(), read, strict=True):
        assert torch.equal(sample[0], images[row])
        assert sample[1] == row % 2


def plain_map(path, size):
    """Pixels of a class each, as a picture's name tells."""
    return torch.full(size, int(Path(path).name[0]), dtype=torch.uint8)


def annotated(folder, **columns):
    rows = [list(range(row % 3)) for row in range(30)]
    owners = np.concatenate([[row] * len(each) for row, each in enumerate(rows)]).astype(np.int64)
    boxes = np.stack([owners + 0.1, owners, owners + 2.25, owners + 3], axis=1).astype(np.float32)
    held = {
        "labels": Ragged.grouped(owners, owners % 4, 30),
        "boxes_xyxy": Ragged.grouped(owners, boxes, 30),
        "crowd": Ragged.grouped(owners, owners % 2 == 1, 30),
        "captions": Texts([[f"text {row} ä", "second"][: row % 3] for row in range(30)]),
        "image_id": Fixed(np.arange(30) + 100),
        "masks": Drawn(30),
        "class_map": Beside(Paths([f"{row % 5}" if row % 7 else "" for row in range(30)]), plain_map),
    }
    return AnnotatedDataset(folder.paths, held | columns, folder.classes, task="detection", root=folder.root)


class Drawn:
    """Masks (N H W) that are no array of numbers."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def at(self, index, size):
        generator = torch.Generator().manual_seed(index)
        masks = torch.rand((index % 3, *size), generator=generator) < 0.5
        if index == 2:
            masks[0], masks[1] = True, False
        return masks


def same(a, b):
    for name in ("labels", "boxes_xyxy", "crowd", "masks", "class_map", "captions"):
        first, second = getattr(a, name), getattr(b, name)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, second), name
            assert first.dtype == second.dtype, name
        else:
            assert first == second, name
    assert a.extras["image_id"] == b.extras["image_id"]


@pytest.mark.parametrize("indexed", [True, False])
def test_annotations_come_back_to_the_bit(folder, tmp_path, indexed):
    dataset = annotated(folder)
    write_shards(dataset, tmp_path / "out", samples_per_shard=11)
    if not indexed:
        for name in (shard_index.TABLE, shard_index.ARRAYS):
            (tmp_path / "out" / "train" / name).unlink()
    read = data.open(tmp_path / "out").train
    assert read.task == "detection"
    if indexed:
        assert read.classes == dataset.classes
    assert read.counts().tolist()[:4] == dataset.counts().tolist()
    for place, row in enumerate(random.order(random.key(0), 30).tolist()):
        picture, annotation = read[place]
        assert torch.equal(picture, dataset[row][0])
        same(dataset[row][1], annotation)
    assert len(read.subset([4, 2])[1][1]) == len(read[2][1])


def test_a_picture_on_its_side_is_measured_as_it_is_seen(tmp_path):
    picture, exif = Image.new("RGB", (12, 8)), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    boxes = Ragged(np.array([[0, 0, 0.5, 1.0]], np.float32), np.array([0, 1]), per_picture=True)
    dataset = AnnotatedDataset(
        [tmp_path / "turned.jpg"], {"boxes_xyxy": boxes}, ("a",), task="detection", root=tmp_path
    )
    write_shards(dataset, tmp_path / "out")
    shown, annotation = data.open(tmp_path / "out").train[0]
    assert shown.shape == (3, 12, 8)
    assert annotation.boxes_xyxy.tolist() == [[0, 0, 4, 12]]


def test_parts_are_written_and_read_under_their_names(folder, tmp_path):
    parts = Splits(folder.subset(range(20)), None, folder.subset(range(20, 25)), others={"extra": folder.subset([29])})
    assert set(write_shards(parts, tmp_path / "out")) == {"train", "validation", "extra"}
    read = data.open(tmp_path / "out")
    assert {name: len(part) for name, part in read.parts().items()} == {"train": 20, "validation": 5, "extra": 1}
    with pytest.raises(DataError, match=r"holds shards for classification\. Shards for detection were asked for"):
        data.open(tmp_path / "out", task="detection")
    with pytest.raises(UnknownNameError):
        data.open(tmp_path / "out", task="nothing")


def test_what_an_interruption_leaves_is_no_shard_and_is_begun_anew(folder, tmp_path, monkeypatch):
    real, calls = archive.read_bytes, []

    def interrupted(path):
        calls.append(path)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(archive, "read_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards(folder, tmp_path / "out", samples_per_shard=5)
    there = {path.name for path in (tmp_path / "out" / "train").iterdir()}
    assert there == {"shard-000000.tar", "shard-000001.tar", "shard-000002.tar", shard_index.UNFINISHED} - (
        {"shard-000002.tar", "shard-000003.tar"} if len(there) == 3 else set()
    )
    with pytest.raises(DataError, match="holds shards whose writing was not finished"):
        data.open(tmp_path / "out")
    monkeypatch.undo()
    write_shards(folder, tmp_path / "out", samples_per_shard=20)
    assert sorted(path.name for path in (tmp_path / "out" / "train").glob("*.tar")) == [
        "shard-000000.tar",
        "shard-000001.tar",
    ]
    assert contents(data.open(tmp_path / "out").train) == contents(folder)


def test_nothing_that_is_there_is_overwritten(folder, tmp_path):
    write_shards(folder, tmp_path / "out")
    with pytest.raises(DataError, match="train is not empty"):
        write_shards(folder, tmp_path / "out")


@pytest.mark.parametrize("told", [{"samples_per_shard": 0}, {"megabytes": 0.0}, {"megabytes": -1.0}])
def test_sizes_that_make_no_shard_are_refused(folder, tmp_path, told):
    with pytest.raises(DataError, match="A shard is to have"):
        write_shards(folder, tmp_path / "out", **told)
    assert not (tmp_path / "out").exists()


def test_pictures_that_cannot_be_read_are_named_and_left_out(folder, tmp_path):
    Path(folder.paths.name(2)).unlink()
    Path(folder.paths.name(7)).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"(?s)2 of 30 samples cannot be read, and were left out.*2\.JPG") as told:
        write_shards(folder, tmp_path / "out")
    assert "7.JPG is empty" in str(told[0].message)
    assert len(data.open(tmp_path / "out").train) == 28
    for row in range(30):
        Path(folder.paths.name(row)).unlink(missing_ok=True)
    with pytest.warns(UserWarning, match="30 of 30"), pytest.raises(DataError, match="None of the 30 samples"):
        write_shards(folder, tmp_path / "none")


def cut(path, count):
    path.write_bytes(path.read_bytes()[:count])


def test_a_shard_that_is_cut_short_is_named_with_its_last_whole_sample(folder, tmp_path):
    write_shards(folder, tmp_path / "out", samples_per_shard=10)
    train = data.open(tmp_path / "out").train
    place = archive.placed(*archive.inside(train.paths.name(14)))
    shard = tmp_path / "out" / "train" / "shard-000001.tar"
    cut(shard, place[0] + place[1])
    key = Path(train.paths.name(14)).name
    with pytest.raises(DataError, match=rf"shard-000001\.tar is cut short: .* the last whole sample is {key}"):
        data.open(tmp_path / "out")
    for name in (shard_index.TABLE, shard_index.ARRAYS):
        (tmp_path / "out" / "train" / name).unlink()
    before = Path(train.paths.name(13)).stem
    with pytest.raises(
        DataError, match=rf"shard-000001\.tar is cut short or damaged \(.*\); its last whole sample is {before}"
    ):
        data.open(tmp_path / "out")
    shard.unlink()


def test_a_shard_that_is_missing_is_named(folder, tmp_path):
    write_shards(folder, tmp_path / "out", samples_per_shard=10)
    (tmp_path / "out" / "train" / "shard-000001.tar").unlink()
    with pytest.raises(DataError, match=r"shard-000001\.tar is not there\. It holds 10 samples"):
        data.open(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        (shard_index.TABLE, lambda content: content[: len(content) // 2], r"index\.json, line \d+"),
        (
            shard_index.TABLE,
            lambda content: content.replace(b'"samples": 30', b'"count": 30'),
            r"index\.json lacks samples",
        ),
        (shard_index.ARRAYS, lambda content: content[:-5], r"index\.npz is damaged or of another writing"),
        (shard_index.ARRAYS, None, r"index\.npz is not there"),
    ],
)
def test_a_damaged_index_is_told(folder, tmp_path, name, damage, text):
    write_shards(folder, tmp_path / "out")
    path = tmp_path / "out" / "train" / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=text):
        data.open(tmp_path / "out")


def test_parts_of_other_classes_are_refused(folder, tmp_path):
    write_shards(folder, tmp_path / "out")
    write_shards(FolderDataset(folder.paths, folder.labels, tuple("abcd"), root=folder.root), tmp_path / "other")
    shutil.move(tmp_path / "other" / "train", tmp_path / "out" / "val")
    with pytest.raises(DataError, match="differ in their classes: a, b, c, empty, and a, b, c, d"):
        data.open(tmp_path / "out")


def run(dataset, workers, *, shuffle=7, epoch=1, start=0, shard=(0, 1)):
    batches = WorkerBatches(dataset, 4, shuffle=shuffle, seed=3, workers=workers, shard=shard)
    try:
        return [(batch.inputs, batch.targets) for batch in batches.epoch(epoch, start=start)]
    finally:
        batches.close()


def test_a_stream_of_shards_gives_each_sample_once_for_any_workers_and_ranks_and_goes_on_in_the_middle(
    folder, tmp_path
):
    write_shards(folder, tmp_path / "out", samples_per_shard=8)
    train = data.open(tmp_path / "out").train.prepared(SMALL)
    whole = run(train, 0)
    reds = torch.cat([inputs[:, 0, 0, 0] for inputs, _ in whole]).tolist()
    assert sorted(reds) == sorted(train.picture(row)[0, 0, 0].item() for row in range(30))
    assert len(set(reds)) == 30
    for other, of in ((run(train, 2), whole), (run(train, 2, start=3), whole[3:])):
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(other, of, strict=True))
    ranks = [run(train, 0, shard=(rank, 2)) for rank in (0, 1)]
    for (inputs, _), (first, _), (second, _) in zip(whole, *ranks, strict=True):
        assert torch.equal(inputs, torch.cat([first, second]))
    assert not torch.equal(whole[0][0], run(train, 0, epoch=2)[0][0])


def test_a_window_that_is_none_is_refused(folder):
    with pytest.raises(DataError, match="shuffle is -3"):
        WorkerBatches(folder.prepared(SMALL), 4, shuffle=-3, workers=0)
