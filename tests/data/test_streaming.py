"""Shards as a stream: every sample once, in an order that is a function of the seed, from any batch on."""

from __future__ import annotations

import io
import itertools
import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError, LaminaError
from lamina.data import stream_reader, tar_stream
from lamina.data.augment import RandomShift, augmented, draw
from lamina.data.preprocess import Preprocess
from lamina.data.shards import write_shards

SMALL, COUNT = Preprocess(size=(6, 6)), 103


def picture(number):
    """The number can be read from its pixels."""
    return torch.full((3, 6, 6), number, dtype=torch.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """103 pictures of 5 classes in eleven shards."""
    root = tmp_path_factory.mktemp("shards")
    images = torch.stack([picture(number) for number in range(COUNT)])
    labels = torch.arange(COUNT) % 5
    write_shards(data.ImageDataset(images, labels, tuple("abcde")), root, samples_per_shard=10)
    return root / "train"


def told(batches):
    """Which pictures a number of batches hold."""
    return [number for batch in batches for number in batch.inputs[:, 0, 0, 0].tolist()]


def equal(ours, theirs):
    return all(
        torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
        for one, other in itertools.zip_longest(ours, theirs)
    )


def streamed(folder, **arguments):
    return data.stream(folder, SMALL, **{"batch_size": 8, "workers": 0, "shuffle": 25, **arguments})


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "lamina-stream"]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert threads() == []


@pytest.mark.parametrize("shuffle", [0, 1, 25, 10_000])
def test_an_epoch_holds_every_sample_once_with_its_label(folder, shuffle):
    batches = streamed(folder, shuffle=shuffle)
    whole = list(batches.epoch(0))
    assert Counter(told(whole)) == Counter(range(COUNT))
    assert len(batches) == len(whole) == 13
    assert batches.samples == COUNT
    assert batches.classes == tuple("abcde")
    for batch in whole:
        assert batch.inputs.dtype == torch.uint8
        assert batch.targets.dtype == torch.int64
        assert batch.targets.tolist() == (batch.inputs[:, 0, 0, 0] % 5).tolist()
        assert batch.inputs.shape[1:] == (3, 6, 6)


def test_pixels_are_those_that_the_index_gives(folder):
    by_index = {
        number: tensor
        for tensor in data.open(folder.parent).train.prepared(SMALL)
        for tensor, number in [(tensor[0], int(tensor[0][0, 0, 0]))]
    }
    for batch in streamed(folder):
        for each in batch.inputs:
            assert torch.equal(each, by_index[int(each[0, 0, 0])])


def test_iterating_gives_the_samples_as_they_are_listed(folder):
    listed = told(streamed(folder))
    assert listed == told(streamed(folder, shuffle=0).epoch(3))
    assert listed == [int(sample[0][0, 0, 0]) for sample in data.open(folder.parent).train.prepared(SMALL)]


def test_each_epoch_and_each_seed_has_an_order_of_its_own(folder):
    batches = streamed(folder)
    orders = [told(batches.epoch(0)), told(batches.epoch(1)), told(streamed(folder, seed=1).epoch(0))]
    assert len({tuple(order) for order in orders}) == 3
    assert told(streamed(folder).epoch(1)) == orders[1]


def test_samples_of_different_shards_are_mixed(folder):
    batches = streamed(folder, shuffle=40)
    spread = []
    for epoch in range(6):
        shards = [row // 10 for batch in range(len(batches)) for row in batches.rows(epoch, batch)]
        spread += [len(set(shards[at : at + 8])) for at in range(0, 80, 8)]
    assert np.mean(spread) > 2.5  # of 8 neighbours; without a buffer 1.9 at most


def test_shards_come_in_another_order_in_each_epoch(folder):
    batches = streamed(folder, shuffle=2)
    orders = [
        tuple(dict.fromkeys(row // 10 for batch in range(len(batches)) for row in batches.rows(epoch, batch)))
        for epoch in range(4)
    ]
    assert len(set(orders)) == 4
    assert {len(order) for order in orders} == {11}


def test_the_buffer_mixes_one_shard_anew_in_each_epoch(tmp_path):
    images = torch.stack([picture(number) for number in range(20)])
    write_shards(data.ImageDataset(images, torch.zeros(20, dtype=torch.int64), "a"), tmp_path)
    batches = streamed(tmp_path / "train", shuffle=5)
    assert len({tuple(told(batches.epoch(epoch))) for epoch in range(4)}) == 4


def test_rows_names_the_samples_of_a_batch_without_reading(folder):
    batches = streamed(folder)
    listed = told(batches)
    for number, batch in enumerate(batches.epoch(2)):
        assert [listed[row] for row in batches.rows(2, number)] == told([batch])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_change_nothing(folder, workers):
    ours = streamed(folder, workers=workers, augment=RandomShift(2))
    assert equal(ours.epoch(1), streamed(folder, augment=RandomShift(2)).epoch(1))
    (first, *_) = pids = ours._crew.pool.pids()
    assert len(pids) == workers
    assert equal(ours, streamed(folder))
    assert ours._crew.pool.pids()[0] == first  # they live on
    ours.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_what_an_augmentation_draws_is_a_function_of_the_position_in_the_epoch(folder):
    augment = RandomShift(2)
    pairs = zip(streamed(folder, augment=augment).epoch(1), streamed(folder).epoch(1), strict=True)
    batches = streamed(folder)
    for number, (ours, plain) in enumerate(pairs):
        positions = torch.arange(*batches.positions(number))
        samples = torch.tensor(batches.rows(1, number))
        uniforms = draw(augment, positions, seed=0, epoch=1, samples=samples)
        assert torch.equal(ours.inputs, augmented(augment, plain.inputs, plain.targets, uniforms)[0])


@pytest.mark.parametrize("shuffle", [0, 25, 10_000])
@pytest.mark.parametrize("start", [0, 1, 5, 12, 13])
def test_an_epoch_goes_on_from_any_batch_bit_for_bit(folder, start, shuffle):
    batches = streamed(folder, shuffle=shuffle, augment=RandomShift(2))
    whole = list(batches.epoch(4))
    assert equal(batches.epoch(4, start=start), whole[start:])
    assert len({tuple(told([batch])) for batch in whole}) == 13


def test_going_on_opens_only_the_shards_that_are_needed_and_decodes_nothing_before(folder, monkeypatch):
    opened, decoded = [], []
    samples, decode = tar_stream.samples, Preprocess.from_bytes
    monkeypatch.setattr(tar_stream, "samples", lambda place, *told: opened.append(place) or samples(place, *told))
    monkeypatch.setattr(Preprocess, "from_bytes", lambda *told: decoded.append(told[2]) or decode(*told))
    batches = streamed(folder, shuffle=4)
    list(batches.epoch(0))
    assert len(opened) == 11
    opened.clear()
    decoded.clear()
    list(batches.epoch(0, start=11))
    assert len(opened) <= 3
    assert len(decoded) == COUNT - 88


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [8, 10, 20])
def test_ranks_are_disjoint_complete_and_keep_step(folder, size, batch_size):
    parts = [streamed(folder, batch_size=batch_size, shard=(rank, size)) for rank in range(size)]
    steps = [list(part.epoch(1)) for part in parts]
    assert {len(each) for each in steps} == {len(parts[0])}
    left_out = COUNT % batch_size if COUNT % batch_size < size else 0
    numbers = Counter(number for each in steps for number in told(each))
    assert set(numbers.values()) == {1}
    assert sum(numbers.values()) == COUNT - left_out
    for number in range(len(parts[0])):
        positions = [part.positions(number) for part in parts]
        assert positions == [
            data.ArrayBatches(torch.arange(COUNT), batch_size=batch_size, shard=(rank, size)).positions(number)
            for rank in range(size)
        ]
        assert [len(each[number].targets) for each in steps] == [last - first for first, last in positions]
    assert Counter(number for part in parts for number in told(part)) == Counter(range(COUNT))
    for part, each in zip(parts, steps, strict=True):
        assert equal(part.epoch(1, start=3), each[3:])
        assert [len(part.rows(1, 0))] == [len(each[0].targets)]


def test_a_rank_opens_only_the_shards_of_its_stretch(folder, monkeypatch):
    opened, samples = [], tar_stream.samples
    monkeypatch.setattr(tar_stream, "samples", lambda place, *told: opened.append(place) or samples(place, *told))
    list(streamed(folder, shard=(1, 3)).epoch(0))
    assert len(opened) <= 5
    came = []
    monkeypatch.setattr(tar_stream, "samples", lambda *told: (came.append(each) or each for each in samples(*told)))
    list(streamed(folder, shard=(0, 3)).epoch(0))
    assert len(came) == sum(len(range(*streamed(folder, shard=(0, 3)).positions(batch))) for batch in range(13))


@pytest.mark.parametrize("start", [0, 6])
def test_no_more_samples_than_the_buffer_holds_are_kept(folder, monkeypatch, start):
    alive, most = 0, 0

    class Counted(tar_stream.Sample):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def counted(sample):
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return Counted(*sample)

    samples = tar_stream.samples
    monkeypatch.setattr(stream_reader.tar_stream, "samples", lambda *told: (yield from map(counted, samples(*told))))
    for _ in streamed(folder, shuffle=20, batch_size=2)._reader.epoch(0, start, tar_stream.Stop()):
        pass
    assert 15 < most <= 20 + 2 * 2 + 2  # the buffer, two batches, and the one that is just read


def test_reading_is_a_few_batches_ahead_and_no_more(folder, monkeypatch, within):
    came, samples = [], tar_stream.samples
    monkeypatch.setattr(tar_stream, "samples", lambda *told: (came.append(each) or each for each in samples(*told)))
    epoch = streamed(folder, shuffle=0, batch_size=2).epoch(0)
    next(epoch)
    with within(20):
        while len(came) <= 4:
            time.sleep(0.3)  # in which it would go on
    assert 4 < len(came) <= 2 * 6
    epoch.close()


def test_who_stops_in_the_middle_leaves_no_thread_and_no_worker(folder, within):
    with within(20):
        batches = streamed(folder, workers=2)
        epoch = batches.epoch(0)
        next(epoch)
        assert len(threads()) == 1
        epoch.close()
        assert threads() == []
        whole = told(batches.epoch(0))  # and it can be begun anew
        other = batches.epoch(0)
        next(other)
        batches.close()
        assert threads() == []
        with pytest.raises(LaminaError, match="closed"):
            list(other)
        assert told(batches.epoch(0)) == whole
        batches.close()


def test_two_passes_at_once_do_not_disturb_each_other(folder):
    batches = streamed(folder, workers=1)
    wanted = told(batches.epoch(0))
    epoch = batches.epoch(0)
    begun = told(itertools.islice(epoch, 3))
    assert Counter(told(batches)) == Counter(range(COUNT))
    assert begun + told(epoch) == wanted
    batches.close()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_the_thread_and_the_workers(folder, monkeypatch, within):
    samples = tar_stream.samples
    monkeypatch.setattr(tar_stream, "samples", lambda *told: (time.sleep(0.05) or each for each in samples(*told)))
    batches = streamed(folder, workers=2, shuffle=0)
    epoch = batches.epoch(0)
    next(epoch)
    pids = batches._readings[0].crew.pool.pids()
    threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with within(20), pytest.raises(KeyboardInterrupt):
        list(epoch)
    assert threads() == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_that_dies_is_an_error_and_no_hang(folder, within):
    batches = streamed(folder, workers=2)
    epoch = batches.epoch(0)
    next(epoch)
    os.kill(batches._readings[0].crew.pool.pids()[0], signal.SIGKILL)
    with within(20), pytest.raises(LaminaError, match="was killed"):
        list(epoch)
    assert threads() == []


@pytest.fixture
def torn(tmp_path):
    """30 pictures in three shards, three of which nobody can read."""
    (tmp_path / "pictures").mkdir()
    paths = []
    for number in range(30):
        made = io.BytesIO()
        Image.fromarray(np.full((6, 6, 3), number, np.uint8)).save(made, "PNG")
        content = made.getvalue()
        paths.append(tmp_path / "pictures" / f"{number}.png")
        paths[-1].write_bytes(content[: len(content) // 2] if number in (3, 11, 20) else content)
    pictures = data.FolderDataset(paths, [number % 3 for number in range(30)], "abc", root=tmp_path)
    write_shards(pictures, tmp_path / "out", samples_per_shard=10)
    return tmp_path / "out" / "train"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_replaced_by_another_one_of_its_batch(torn, workers):
    batches = streamed(torn, workers=workers)
    with pytest.warns(UserWarning, match=r"(?s)3 of 30 pictures cannot be read; others of their batches .*-20\.png"):
        whole = list(batches.epoch(0))
    numbers = told(whole)
    assert len(numbers) == 30
    assert Counter(numbers).keys() == set(range(30)) - {3, 11, 20}
    for batch in whole:
        assert batch.targets.tolist() == (batch.inputs[:, 0, 0, 0] % 3).tolist()
    assert equal(batches.epoch(0), whole)  # and nothing is told twice
    with pytest.warns(UserWarning, match="cannot be read"):
        assert equal(streamed(torn).epoch(0, start=1), whole[1:])
    batches.close()


def test_an_evaluation_leaves_it_out_and_a_strict_stream_names_it(torn):
    with pytest.warns(UserWarning, match="they are left out"):
        assert Counter(told(streamed(torn))) == Counter(set(range(30)) - {3, 11, 20})
    strict = streamed(torn, on_error="raise")
    for batches in (strict, strict.epoch(0), streamed(torn).complete()):
        with pytest.raises(DataError, match=r"shard-00000\d\.tar/\d+-\d+\.png cannot be read"):
            list(batches)


def test_a_batch_without_any_readable_picture_is_an_error(torn):
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(DataError, match="None of the 1 pictures"):
        list(streamed(torn, batch_size=1).epoch(0))


def test_several_labels_come_as_zeros_and_ones(tmp_path):
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    images = torch.stack([picture(number) for number in range(3)])
    write_shards(data.ImageDataset(images, labels, "abc"), tmp_path)
    (batch,) = streamed(tmp_path / "train").epoch(0)
    assert batch.targets.dtype == torch.int64
    assert torch.equal(batch.targets, labels[batch.inputs[:, 0, 0, 0].long()])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"shuffle": True}, "shuffle is True"),
        ({"shuffle": -1}, "shuffle is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"classes": ["a", "b"]}, "classes are a, b, and those in"),
    ],
)
def test_bad_arguments_are_named(folder, arguments, match):
    with pytest.raises(DataError, match=match):
        streamed(folder, **arguments)


def test_more_processes_than_samples_in_a_batch_are_refused(folder):
    with pytest.raises(DataError, match="batch_size is 2, and 3 processes train together"):
        next(streamed(folder, batch_size=2, shard=(0, 3)).epoch(0))


def test_the_fingerprint_tells_shards_and_orders_apart(folder, torn):
    whole = streamed(folder).fingerprint()
    assert whole == streamed(str(folder), workers=2, batch_size=3).fingerprint()
    for other in (streamed(torn), streamed(folder, shuffle=26), streamed(folder, seed=1)):
        assert other.fingerprint() != whole


def test_waiting_is_measured(folder):
    batches = streamed(folder)
    assert batches.waited_s == 0
    list(batches.epoch(0))
    assert 0 < batches.waited_s < 30
