"""Batches read by worker processes: the same whatever reads them, and whatever happens to it."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from lamina.core.errors import DataError, LaminaError
from lamina.data import ArrayBatches, FolderDataset, Preprocess, WorkerBatches
from lamina.data.augment import RandomShift
from lamina.data.fingerprint import fingerprint

COUNT = 21
SIZE = Preprocess(size=(12, 10))
FORKS = "fork" in multiprocessing.get_all_start_methods()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [root / f"{index}.png" for index in range(COUNT)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (16, 14, 3), dtype=np.uint8)).save(path)
    return FolderDataset(paths, [index % 3 for index in range(COUNT)], "abc", root=root).prepared(SIZE)


class Restless(Dataset):
    """Draws from every generator that data sets draw from."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        import random

        drawn = [int(torch.randint(256, ())), int(np.random.randint(256)), random.randrange(256)]
        return torch.tensor(drawn, dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 2), torch.tensor([index, index])


def told(batches):
    return [(batch.inputs.tolist(), batch.targets.tolist()) for batch in batches]


def run(dataset, workers, **arguments):
    """Two epochs, the end of the second once more, an epoch that is left, and an evaluation."""
    batches = WorkerBatches(dataset, 4, shuffle=True, seed=3, workers=workers, **arguments)
    whole = [told(batches.epoch(number)) for number in (0, 1)]
    whole.append(told(batches.epoch(1, start=3)))
    left = batches.epoch(0)
    next(left)
    left.close()
    whole.append(told(batches))
    batches.close()
    return whole


@pytest.mark.skipif(not FORKS, reason="no fork here")
@pytest.mark.parametrize("make", [lambda folder: folder, lambda folder: Restless()])
def test_a_run_is_the_same_for_any_number_of_workers_and_goes_on_in_the_middle(folder, make):
    first, *others = [run(make(folder), workers, augment=RandomShift(2)) for workers in (0, 1, 2, 4)]
    assert all(other == first for other in others)
    assert first[0] != first[1]
    assert first[2] == first[1][3:]
    assert len(first[0]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_spawned_workers_give_the_same_run(folder, workers, monkeypatch):
    here = run(folder, 0), run(Restless(), 0)
    monkeypatch.setattr("lamina.data.pool.start_method", lambda: "spawn")
    monkeypatch.setattr("lamina.data.workers.start_method", lambda: "spawn")
    assert (run(folder, workers), run(Restless(), workers)) == here


def test_order_augmentation_weights_and_fingerprint_are_those_of_arrays(folder):
    loaded, weights = folder.in_memory(SIZE), torch.arange(COUNT).float()
    arguments = {"batch_size": 4, "shuffle": True, "seed": 5, "augment": RandomShift(2), "weights": weights}
    arrays = ArrayBatches(loaded.images, loaded.labels, **arguments)
    workers = WorkerBatches(folder, workers=2, **arguments)
    assert (len(workers), workers.samples) == (len(arrays), arrays.samples)
    for ours, theirs in zip(workers.epoch(7, start=1), arrays.epoch(7, start=1), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert workers.rows(7, 2) == arrays.rows(7, 2)
    assert fingerprint(workers) == fingerprint(arrays)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("make", [lambda folder: folder, lambda folder: Restless()])
def test_the_shards_of_a_batch_are_the_batch(folder, make, processes):
    dataset, arguments = make(folder), {"batch_size": 6, "shuffle": True, "workers": 0, "augment": RandomShift(2)}
    alone = list(WorkerBatches(dataset, **arguments).epoch(1))
    shards = [list(WorkerBatches(dataset, shard=(at, processes), **arguments).epoch(1)) for at in range(processes)]
    for whole, *parts in zip(alone, *shards, strict=True):
        assert torch.equal(whole.inputs, torch.cat([part.inputs for part in parts]))
    seen = [WorkerBatches(folder, 6, shard=(at, processes), workers=0) for at in range(processes)]
    labels = torch.cat([batch.targets for one in seen for batch in one])
    assert torch.equal(labels, folder.labels)


def test_batches_are_uint8_and_stay_as_they_are_when_others_are_read(folder):
    batches = WorkerBatches(folder, 4, workers=2)
    kept = list(batches)
    assert kept[0].inputs.dtype == torch.uint8
    assert kept[0].inputs.shape == (4, 3, 12, 10)
    assert kept[0].targets.dtype == torch.int64
    assert torch.equal(torch.cat([batch.inputs for batch in kept]), folder.in_memory(SIZE).images)
    assert batches.waited_s > 0


def test_reading_here_leaves_the_callers_generators_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(WorkerBatches(Restless(), 4, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def torn(folder, tmp_path):
    """The folder with three pictures that nobody can read."""
    bad = [tmp_path / f"bad{index}.png" for index in range(3)]
    for path in bad:
        path.write_bytes(folder.paths[0].read_bytes()[:60])
    return FolderDataset([*folder.paths, *bad], [0] * (COUNT + 3), "abc", root=tmp_path).prepared(SIZE)


def test_unreadable_pictures_are_replaced_by_draws_of_their_key_and_named_once(torn):
    arguments = {"batch_size": 5, "shuffle": True, "seed": 1}
    batches = WorkerBatches(torn, workers=2, **arguments)
    with pytest.warns(UserWarning, match="3 of 24 pictures cannot be read; others are drawn") as caught:
        epochs = [told(batches.epoch(number)) for number in (0, 1)]
    assert len(caught) == 1
    assert all(f"bad{index}.png" in str(caught[0].message) for index in range(3))
    assert [len(targets) for _, targets in epochs[0]] == [5, 5, 5, 5, 4]
    with pytest.warns(UserWarning, match="3 of 24"):
        again = told(WorkerBatches(torn, workers=0, **arguments).epoch(0))
    assert again == epochs[0]


def test_unreadable_pictures_can_be_left_out_or_be_an_error(torn):
    with pytest.warns(UserWarning, match="left out"):
        whole = list(WorkerBatches(torn, 6, workers=2, on_error="skip"))
    assert sum(len(batch.targets) for batch in whole) == COUNT
    batches = WorkerBatches(torn, 6, workers=2, on_error="raise")
    with pytest.raises(DataError, match=r"bad0\.png cannot be read") as caught:
        list(batches)
    assert any("sample 21" in note for note in caught.value.__notes__)


def test_data_of_which_nothing_can_be_read_is_an_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    nothing = FolderDataset([path] * 4, [0] * 4, "a", root=tmp_path).prepared(SIZE)
    batches = WorkerBatches(nothing, 2, workers=1)
    with pytest.raises(DataError, match="20 pictures drawn"):
        list(batches)


def test_a_killed_worker_is_an_error_at_once_and_the_next_epoch_has_others(folder):
    batches = WorkerBatches(folder, 4, workers=2)
    epoch = batches.epoch(0)
    next(epoch)
    victim, other = batches._crew._pool.pids()
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(LaminaError, match=r"was killed \(SIGKILL\).*workers=1"):
        list(epoch)
    assert time.monotonic() - began < 5
    assert not alive(other)
    assert len(list(batches.epoch(0))) == 6


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as stream:  # a zombie that nobody has asked for
        return stream.read().rsplit(")", 1)[1].split()[0] != "Z"


def train_for_long(folder, pipe):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, 0)
    batches = WorkerBatches(folder, 4, workers=2)
    for number in range(10**6):
        for _ in batches.epoch(number):
            if number == 0:
                pipe.send(batches._crew._pool.pids())
                number = -1


@pytest.mark.skipif(not os.path.exists("/proc"), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_training_leaves_no_process_behind(folder, number):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=train_for_long, args=(folder, theirs))
    process.start()
    workers = ours.recv()
    assert all(alive(worker) for worker in workers)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the workers get it too
    else:
        os.kill(process.pid, number)
    process.join(10)
    assert process.exitcode is not None
    until = time.monotonic() + 8
    while any(alive(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(worker) for worker in workers)


def test_workers_end_with_the_batches_and_live_over_epochs(folder):
    batches = WorkerBatches(folder, 4, workers=2)
    list(batches.epoch(0))
    workers = batches._crew._pool.pids()
    list(batches.epoch(1))
    assert batches._crew._pool.pids() == workers
    del batches
    assert not any(alive(worker) for worker in workers)


def test_two_epochs_at_once_are_refused(folder):
    batches = WorkerBatches(folder, 4, workers=1)
    first, second = batches.epoch(0), batches.epoch(1)
    next(first)
    next(second)
    with pytest.raises(LaminaError, match="one epoch at a time"):
        next(first)


@pytest.mark.parametrize(
    ("arguments", "named"), [({"workers": -1}, "workers is -1"), ({"on_error": "hope"}, "on_error is 'hope'")]
)
def test_arguments_that_mean_nothing_are_refused(folder, arguments, named):
    with pytest.raises(DataError, match=named):
        WorkerBatches(folder, 4, **arguments)


def test_pictures_without_a_common_size_are_refused(folder):
    with pytest.raises(DataError, match="no common size"):
        next(iter(WorkerBatches(FolderDataset(folder.paths, folder.labels, "abc", root=folder.root), 4)))
