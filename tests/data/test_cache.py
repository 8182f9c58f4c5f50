"""Pictures decoded once."""

import errno
import os
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError
from lamina.data import FolderDataset, Preprocess, WorkerBatches
from lamina.data.cache import DecodedCache

SIZE = Preprocess(size=(9, 8))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (12, 11, 3), dtype=np.uint8)).save(path)
    return FolderDataset(paths, [0, 1, 0, 1, 0, 1, 0], "ab", root=tmp_path)


@pytest.fixture
def decodes(monkeypatch):
    """How often a picture was decoded in this process."""
    counted, decode = [], Preprocess.host_last
    monkeypatch.setattr(Preprocess, "host_last", lambda self, image: counted.append(image) or decode(self, image))
    return counted


def images(dataset):
    return torch.stack([dataset[index][0] for index in range(len(dataset))])


def test_a_second_epoch_and_a_second_run_decode_nothing(folder, tmp_path, decodes):
    wanted = images(folder.prepared(SIZE))
    decodes.clear()
    kept = folder.cached(tmp_path / "c.cache").prepared(SIZE)
    assert torch.equal(images(kept), wanted)
    assert len(decodes) == 7
    again = folder.cached(tmp_path / "c.cache").prepared(SIZE)
    for dataset in (kept, again, pickle.loads(pickle.dumps(kept))):
        assert torch.equal(images(dataset), wanted)
    assert len(decodes) == 7
    assert kept._cache.filled() == 7


def test_workers_fill_it_and_cuts_share_it(folder, tmp_path, decodes):
    kept = folder.cached(tmp_path / "c.cache").prepared(SIZE)
    list(WorkerBatches(kept, 3, workers=2).epoch(0))
    rest, held = folder.cached(tmp_path / "c.cache").split(0.3)
    part = rest.subset([2, 0]).prepared(SIZE)
    assert torch.equal(images(part)[1], images(rest.prepared(SIZE))[0])
    assert torch.equal(images(held.prepared(SIZE)), torch.stack([SIZE.host(path) for path in held.paths]))
    assert len(decodes) == len(held)  # those of the comparison
    assert torch.equal(rest.in_memory(SIZE).images, images(rest.prepared(SIZE)))


def test_a_changed_file_is_decoded_anew_and_so_is_a_half_written_picture(folder, tmp_path, decodes):
    kept = folder.cached(tmp_path / "c.cache").prepared(SIZE)
    images(kept)
    Image.new("RGB", (20, 20), "red").save(folder.paths[3])
    os.utime(folder.paths[3], ns=(1, 1))
    assert kept[3][0][:, 0, 0].tolist() == [255, 0, 0]
    assert len(decodes) == 8
    os.utime(folder.paths[3], ns=(2, 2))  # another picture may be as large
    kept[3]
    assert len(decodes) == 9
    with (tmp_path / "c.cache").open("r+b") as stream:
        stream.seek(kept._cache._pixels_at + 5 * 9 * 8 * 3 + 100)
        stream.write(bytes(50))
    assert torch.equal(kept[5][0], SIZE.host(folder.paths[5]))
    assert len(decodes) == 11


def test_an_unreadable_picture_stays_an_error(folder, tmp_path):
    folder.paths[2].write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png cannot be read"):
        folder.cached(tmp_path / "c.cache").prepared(SIZE)[2]


def test_a_cut_file_and_one_of_other_pictures_are_made_anew_and_said(folder, tmp_path):
    where = tmp_path / "c.cache"
    images(folder.cached(where).prepared(SIZE))
    os.truncate(where, 5000)
    with pytest.warns(UserWarning, match="was cut short"):
        assert torch.equal(images(folder.cached(where).prepared(SIZE)), images(folder.prepared(SIZE)))
    with pytest.warns(UserWarning, match="of another size"):
        folder.cached(where).prepared(Preprocess(size=(4, 4)))
    with pytest.warns(UserWarning, match="from other files"):
        folder.subset([0, 1]).cached(where).prepared(Preprocess(size=(4, 4)))
    folder.subset([0, 1]).cached(where).prepared(Preprocess(size=(4, 4), mean=(0.5,)))  # no matter of geometry


def test_a_file_that_is_no_cache_is_left_alone(folder, tmp_path):
    (tmp_path / "thesis.doc").write_bytes(b"years of work")
    with pytest.raises(DataError, match=r"thesis\.doc is no cache"):
        folder.cached(tmp_path / "thesis.doc").prepared(SIZE)
    assert (tmp_path / "thesis.doc").read_bytes() == b"years of work"


def test_a_folder_holds_a_file_for_each_set_and_size(folder, tmp_path):
    for dataset in (folder, folder.subset([1, 2])):
        for size in ((4, 4), (5, 5)):
            dataset.cached(tmp_path / "kept").prepared(Preprocess(size=size))
            dataset.cached().prepared(Preprocess(size=size))
    assert len(list((tmp_path / "kept").iterdir())) == len(list((tmp_path / ".decoded").iterdir())) == 4


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lamina.data.cache.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match="fit on the disk"):
        folder.cached(tmp_path / "c.cache").prepared(SIZE)
    assert not (tmp_path / "c.cache").exists()


def test_a_disk_that_fills_up_is_told_once_and_pictures_go_on_being_decoded(folder, tmp_path, monkeypatch):
    wanted = images(folder.prepared(SIZE))
    kept = folder.cached(tmp_path / "c.cache").prepared(SIZE)
    kept[0]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(UserWarning, match=r"c\.cache cannot be written \(No space left"):
        assert torch.equal(images(kept), wanted)
    (batch,) = WorkerBatches(kept, 7, workers=0).epoch(0)  # no second warning, and no other picture in its place
    assert torch.equal(batch.inputs, wanted)
    assert kept._cache.filled() == 1


@pytest.mark.parametrize("stale", [False, True])
def test_those_who_begin_together_share_one_file(folder, tmp_path, monkeypatch, stale):
    where = tmp_path / "c.cache"
    if stale:
        folder.subset([0]).cached(where).prepared(SIZE)
    together, looked = threading.Barrier(2, timeout=10), threading.local()
    fault = DecodedCache._fault

    def meeting(self, *arguments):
        found = fault(self, *arguments)
        if not hasattr(looked, "once"):  # both have seen what is there before one of them makes it
            looked.once = True
            together.wait()
        return found

    monkeypatch.setattr(DecodedCache, "_fault", meeting)
    made = []
    begin = [threading.Thread(target=lambda: made.append(folder.cached(where).prepared(SIZE))) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in begin:
            thread.start()
        for thread in begin:
            thread.join()
    monkeypatch.setattr(DecodedCache, "_fault", fault)
    images(made[0])
    assert made[1]._cache.filled() == 7
    assert not list(tmp_path.glob(".c.cache.*"))
