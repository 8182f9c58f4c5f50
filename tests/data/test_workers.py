"""Batches read by worker processes: the same whatever reads them, and whatever happens to it."""

import multiprocessing
import os
import random as python_random
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


@pytest.mark.parametrize(
    ("method", "workers", "own"),
    [
        ("spawn", 2, False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("spawn", 2, True), ("spawn", 4, False), ("forkserver", 2, False))
        ),
    ],
)
def test_workers_that_are_not_forked_give_the_same_run(folder, method, workers, own, monkeypatch):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    dataset = Restless() if own else folder
    here = run(dataset, 0)
    monkeypatch.setattr("lamina.data.pool.start_method", lambda: method)
    monkeypatch.setattr("lamina.data.crew.start_method", lambda: method)
    assert run(dataset, workers) == here


class Wide(Dataset):
    """Many tiny pictures with targets of eight numbers."""

    def __len__(self):
        return 3 * 16384

    def __getitem__(self, index):
        return torch.full((1, 1, 1), index % 256, dtype=torch.uint8), torch.full((8,), float(index))


def test_large_batches_with_large_targets_do_not_block_the_pipes(within):
    with within(60):
        batches = list(WorkerBatches(Wide(), 16384, workers=1).epoch(0))
    assert torch.equal(torch.cat([batch.targets for batch in batches])[:, 7], torch.arange(3 * 16384.0))


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


def drawn():
    return torch.rand(()).item(), np.random.rand(), python_random.random()


def reseed():
    torch.manual_seed(0)
    np.random.seed(0)
    python_random.seed(0)


@pytest.mark.parametrize("use", [list, lambda batches: list(batches.epoch(0)), fingerprint])
def test_reading_here_leaves_the_callers_generators_alone(use):
    reseed()
    wanted = drawn()
    reseed()
    use(WorkerBatches(Restless(), 4, workers=0))
    assert drawn() == wanted


def test_the_fingerprint_of_a_data_set_that_draws_is_always_the_same():
    assert fingerprint(WorkerBatches(Restless(), 4)) == fingerprint(WorkerBatches(Restless(), 4))


def test_a_folder_whose_subclass_makes_its_own_samples_is_asked_for_them(folder):
    class Inverted(FolderDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return 255 - image[:, :4, :4], label + 10

    inverted = Inverted(folder.paths, folder.labels, "abc", root=folder.root, preprocess=SIZE)
    (batch,) = WorkerBatches(inverted, COUNT, workers=0)
    assert torch.equal(batch.inputs, 255 - folder.in_memory(SIZE).images[:, :, :4, :4])
    assert torch.equal(batch.targets, folder.labels + 10)


def test_iterating_shows_the_samples_as_they_are(folder):
    batches = WorkerBatches(folder, 4, workers=0, augment=RandomShift(2))
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), folder.in_memory(SIZE).images)


def test_batches_can_be_looked_at_in_the_midst_of_an_epoch(folder):
    batches = WorkerBatches(folder, 4, shuffle=True, workers=1)
    wanted = told(batches.epoch(0))
    epoch = batches.epoch(0)
    seen = [next(epoch)]
    assert len(list(batches)) == 6
    seen.append(next(epoch))
    assert told(batches.epoch(0)) == wanted
    assert told([*seen, *epoch]) == wanted


def test_what_is_adapted_has_a_part_and_workers_of_its_own(folder):
    batches = WorkerBatches(folder, 6, workers=1)
    list(batches)
    made = batches.adapted(lambda each: (batch._replace(targets=-batch.targets) for batch in each), shard=(1, 2))
    assert batches._crew is None
    assert next(made.epoch(0)).targets.tolist() == (-folder.labels[3:6]).tolist()
    assert (batches.shard, made.shard) == ((0, 1), (1, 2))
    assert len(next(iter(batches.epoch(0))).targets) == 6


def test_who_trains_is_told_of_faults_that_were_told_before(torn):
    batches = WorkerBatches(torn, 5, workers=0)
    for one in (batches, batches.adapted(iter, shard=(0, 1))):
        with pytest.warns(UserWarning, match="3 of 24"):
            list(one)


def test_a_batch_size_can_be_changed_between_epochs(folder):
    batches = WorkerBatches(folder, 4, workers=1)
    list(batches.epoch(0))
    batches.batch_size = 10
    assert [len(batch.targets) for batch in batches.epoch(0)] == [10, 10, 1]


@pytest.mark.parametrize(("told_by_torchrun", "workers"), [(None, 4), ("2", 8)])
def test_the_cores_are_shared_by_the_processes_of_this_machine(folder, monkeypatch, told_by_torchrun, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    if told_by_torchrun is None:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", told_by_torchrun)
    assert WorkerBatches(folder, 8, shard=(0, 4)).workers == workers


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


def test_unreadable_pictures_are_left_out_of_an_evaluation(torn):
    with pytest.warns(UserWarning, match="they are left out"):
        whole = list(WorkerBatches(torn, 6, workers=2))
    assert [len(batch.targets) for batch in whole] == [6, 6, 6, 3]


@pytest.mark.parametrize(
    "read",
    [
        lambda torn: list(WorkerBatches(torn, 6, workers=2, on_error="raise")),
        lambda torn: list(WorkerBatches(torn, 6, workers=2, on_error="raise").epoch(0)),
        lambda torn: list(WorkerBatches(torn, 6, workers=2).complete()),
    ],
)
def test_unreadable_pictures_can_be_an_error(torn, read):
    with pytest.raises(DataError, match=r"bad0\.png cannot be read") as caught:
        read(torn)
    assert any("sample 21" in note for note in caught.value.__notes__)


def test_the_same_pictures_take_their_place_in_memory(torn):
    with pytest.warns(UserWarning, match="3 of 24"):
        loaded, used = torn.loaded(SIZE, on_error="replace")
    arguments = {"shuffle": True, "seed": 4, "augment": RandomShift(2)}
    with pytest.warns(UserWarning, match="3 of 24"):
        read = told(WorkerBatches(torn, 5, workers=2, **arguments).epoch(3))
    assert read == told(ArrayBatches(loaded.images, loaded.labels, batch_size=5, **arguments).epoch(3))
    assert used[:COUNT].tolist() == list(range(COUNT))
    assert max(used[COUNT:]) < COUNT


def test_faults_that_come_later_are_told_too_and_no_list_is_endless(folder, tmp_path):
    copies = [tmp_path / f"copy{index}.png" for index in range(30)]
    for path in copies:
        path.write_bytes(folder.paths[0].read_bytes())
    many = FolderDataset([*folder.paths, *copies], [0] * (COUNT + 30), "abc", root=tmp_path).prepared(SIZE)
    batches = WorkerBatches(many, 17, workers=0)
    copies[0].write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 51"):
        list(batches.epoch(0))
    for path in copies:
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="29 more of 51") as caught:
        list(batches.epoch(1))
    assert str(caught[0].message).count("cannot be read (") == 20
    assert "... and 9 more" in str(caught[0].message)
    with pytest.warns(UserWarning, match="30 of 51") as caught:
        many.in_memory(SIZE)
    assert "... and 10 more" in str(caught[0].message)


def test_data_of_which_nothing_can_be_read_is_an_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    nothing = FolderDataset([path] * 4, [0] * 4, "a", root=tmp_path).prepared(SIZE)
    batches = WorkerBatches(nothing, 2, workers=1)
    with pytest.raises(DataError, match="20 pictures drawn"):
        list(batches.epoch(0))
    with pytest.warns(UserWarning, match="4 of 4"), pytest.raises(DataError, match="None of the 4 pictures"):
        list(batches)


def test_a_killed_worker_is_an_error_at_once_and_the_next_epoch_has_others(folder):
    batches = WorkerBatches(folder, 2, workers=2)  # more batches than are read ahead: some work is left for the dead
    epoch = batches.epoch(0)
    next(epoch)
    assert batches._crew._depth < len(batches) - 1
    victim, other = batches._crew._pool.pids()
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(LaminaError, match=r"was killed \(SIGKILL\).*WorkerBatches\(dataset, workers=1\)"):
        list(epoch)
    assert time.monotonic() - began < 20  # and not for ever; a loaded machine may take seconds
    assert not alive(other)
    assert len(list(batches.epoch(0))) == 11


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
    assert ours.poll(30)
    workers = ours.recv()
    assert all(alive(worker) for worker in workers)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the workers get it too
    else:
        os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode is not None
    until = time.monotonic() + 60
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


@pytest.mark.parametrize(
    ("arguments", "named"), [({"workers": -1}, "workers is -1"), ({"on_error": "skip"}, "on_error is 'skip'")]
)
def test_arguments_that_mean_nothing_are_refused(folder, arguments, named):
    with pytest.raises(DataError, match=named):
        WorkerBatches(folder, 4, **arguments)


def test_pictures_without_a_common_size_are_refused(folder):
    with pytest.raises(DataError, match="no common size"):
        next(iter(WorkerBatches(FolderDataset(folder.paths, folder.labels, "abc", root=folder.root), 4)))
