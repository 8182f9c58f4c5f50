"""Shards that other programs wrote, an index of a million, and orders in which near samples come together."""

from __future__ import annotations

import gc
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core import random
from lamina.core.errors import DataError
from lamina.data import archive, shard_index
from lamina.data.shard_samples import to_json
from lamina.structures.annotation import Annotation


def jpeg(number, size=(12, 8)):
    made = io.BytesIO()
    Image.new("RGB", size, (number * 5 % 256, 90, 30)).save(made, "JPEG")
    return made.getvalue()


def tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))


def test_what_other_programs_write_is_read(tmp_path):
    tar(tmp_path / "w" / "pets-train-000000.tar", {"a.jpg": jpeg(1), "a.cls": b"1\n", "b.jpg": jpeg(2), "b.cls": b"0"})
    tar(tmp_path / "w" / "pets-val-000000.tar", {"./x/a.cls": b"1", "./x/a.jpg": jpeg(3)})
    splits = data.open(tmp_path / "w")
    assert splits.recognised == "pets-train-000000.tar begins with a.jpg and a.cls"
    assert splits.train.labels.tolist() == [1, 0]
    assert splits.validation.labels.tolist() == [1]
    assert splits.validation[0][0].shape == (3, 8, 12)
    tar(
        tmp_path / "c" / "0.tar", {"a.jpg": jpeg(1), "a.txt": "ein Käfer\n".encode(), "b.jpg": jpeg(2), "b.txt": b"two"}
    )
    captions = data.open(tmp_path / "c").train
    assert captions.task == "captioning"
    assert captions[0][1].captions == ("ein Käfer",)


def test_a_sample_without_picture_or_label_is_named_and_left_out(tmp_path):
    files = {"a.jpg": jpeg(1), "a.cls": b"1", "b.jpg": jpeg(2), "c.cls": b"0", "d.cls": b"0", "d.jpg": jpeg(4)}
    tar(tmp_path / "w" / "0.tar", files)
    with pytest.warns(UserWarning, match=r"2 samples of .* have no picture, or no label: b in 0\.tar, c in 0\.tar"):
        assert len(data.open(tmp_path / "w").train) == 2


@pytest.mark.parametrize("label", [b"", b"cat", b"-1", b"1.5"])
def test_a_class_that_is_no_number_is_named(tmp_path, label):
    tar(tmp_path / "w" / "0.tar", {"a.jpg": jpeg(1), "a.cls": b"1", "b.jpg": jpeg(2), "b.cls": label})
    with pytest.raises(DataError, match=r"0\.tar/b\.cls holds b'.*'\. The number of a class"):
        data.open(tmp_path / "w")


@pytest.mark.parametrize("told", [b"{", b"[1]", b'{"labels": "cat"}', b'{"labels": [0], "boxes_xyxy": [[1, 2]]}'])
def test_json_that_is_no_annotation_is_named(tmp_path, told):
    good = json.dumps(to_json(Annotation(labels=torch.tensor([0]), boxes_xyxy=torch.ones(1, 4)), (8, 12))).encode()
    tar(tmp_path / "w" / "0.tar", {"a.jpg": jpeg(1), "a.json": good, "b.jpg": jpeg(2), "b.json": told})
    with pytest.raises(DataError, match=r"0\.tar/b\.json is no "):
        data.open(tmp_path / "w")


def test_a_tar_of_other_things_is_no_shard(tmp_path):
    tar(tmp_path / "w" / "0.tar", {"cats/a.jpg": jpeg(1), "cats/b.jpg": jpeg(1), "dogs/a.jpg": jpeg(2)})
    assert data.open(tmp_path / "w" / "0.tar").format == "image_folder"


def test_a_million_samples_are_opened_without_an_object_for_each(tmp_path):
    count, per = 1_000_000, 10_000
    first = [b"/shard-000000.tar/@%d+%d/%09d-cat.jpg" % (row * 102_400 + 512, 100_000, row) for row in range(per)]
    shard = b"".join(first)
    letters = b"".join(shard.replace(b"shard-000000", b"shard-%06d" % number) for number in range(count // per))
    ends = np.concatenate([[0], np.cumsum([len(name) for name in first] * (count // per))])
    folder = tmp_path / "out" / "train"
    folder.mkdir(parents=True)
    names = [f"shard-{number:06d}.tar" for number in range(count // per)]
    for name in names:
        with (folder / name).open("wb") as stream:
            stream.truncate(per * 102_400)
    held = {
        "picture.letters": np.frombuffer(letters, np.uint8),
        "picture.places": ends,
        "labels": np.arange(count, dtype=np.int64) % 10,
    }
    listed = [{"name": name, "samples": per, "bytes": per * 102_400, "sha256": ""} for name in names]
    table = {"task": "classification", "classes": list("abcdefghij"), "samples": count, "shards": listed}
    shard_index.write(folder, table, held)
    del letters, ends, held, first
    gc.collect()
    before = len(gc.get_objects())
    train = data.open(tmp_path / "out").train
    gc.collect()
    assert len(gc.get_objects()) - before < 5_000
    assert len(train) == count
    assert train.paths.name(123_456).endswith("/train/shard-000012.tar/@353894912+100000/000003456-cat.jpg")
    assert len(archive.read_bytes(train.paths.name(999_999))) == 100_000


@pytest.mark.parametrize(("count", "window"), [(1, 5), (10, 1), (1000, 100), (999, 64), (50, 5000)])
def test_a_buffer_shuffles_all_and_each_once(count, window):
    order = random.order_nearby(5, count, window)
    assert order.sort().values.tolist() == list(range(count))
    assert torch.equal(order, random.order_nearby(5, count, window))
    if count > 100:
        assert not torch.equal(order, random.order_nearby(6, count, window))


def test_what_comes_together_lies_together():
    order = random.order_nearby(1, 100_000, 800)
    runs = {len({row // 100 for row in order[at : at + 800].tolist()}) for at in range(0, 100_000, 800)}
    assert max(runs) <= 2 * 10  # runs of 100 neighbours, each read in a piece of at most two windows
    everywhere = random.order(1, 100_000)
    assert len({row // 100 for row in everywhere[:800].tolist()}) > 400


def test_names_tell_where_bytes_lie_in_tars_alone(tmp_path):
    tar(tmp_path / "a.tar", {"@1+2/x.jpg": b"abc", "plain.jpg": b"def"})
    assert archive.placed("a.zip", "@1+2/x.jpg") is None
    assert archive.read_bytes(tmp_path / "a.tar" / "plain.jpg") == b"def"
    path = tmp_path / "a.tar" / "@512+3" / "any.jpg"
    assert archive.read_bytes(path) == b"abc"
    assert archive.is_file(path)
    assert archive.time_and_size(path)[1] == 3
    beyond = tmp_path / "a.tar" / "@99999999+3" / "any.jpg"
    assert not archive.is_file(beyond)
    with pytest.raises(DataError, match=r"a\.tar cannot be read \(it ends in the middle\)"):
        archive.read_bytes(beyond)
