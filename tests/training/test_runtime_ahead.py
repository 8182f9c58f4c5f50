"""Batches copied ahead, beside the step: streams that are made up write down what is done in which order."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import lamina
from lamina import data, models
from lamina.core.errors import DataError
from lamina.data import FolderDataset, Preprocess, WorkerBatches
from lamina.data.augment import RandomFlip, RandomShift
from lamina.data.shards import write_shards
from lamina.models import feed
from lamina.structures.batch import Batch
from lamina.training import Callback, runtime
from lamina.training.runtime import Runtime

SIZE = Preprocess(size=(8, 8))


class Stream:
    def __init__(self, device, log):
        self.name, self.log, self.copied = f"stream of {device}", log, None

    def record_event(self):
        self.log.append(f"{self.name} records {self.copied}")
        return self.copied

    def wait_event(self, event):
        self.log.append(f"{self.name} waits for {event}")


class Backend:
    """What torch's modules of devices have, such as torch.cuda: streams, of which one is the current one."""

    def __init__(self):
        self.log = []
        self.main = self.current = Stream("main", self.log)

    def Stream(self, device):  # noqa: N802
        return Stream(device, self.log)

    @contextlib.contextmanager
    def stream(self, chosen):
        before, self.current = self.current, chosen
        try:
            yield
        finally:
            self.current = before

    def current_stream(self, device):
        return self.current

    def record(self, tensor, stream):
        assert self.current is self.main
        self.log.append(f"{stream.name} keeps {int(tensor.flatten()[0])}")


@pytest.fixture
def backend(monkeypatch):
    made, of = Backend(), torch.get_device_module
    monkeypatch.setattr(torch, "get_device_module", lambda device: made if str(device) == "cpu" else of(device))
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: made.record(tensor, stream))
    monkeypatch.setattr(Tensor, "pin_memory", Tensor.clone)
    runtime._side_stream.cache_clear()
    yield made
    runtime._side_stream.cache_clear()


def ahead():
    """A runtime of the processor that copies as one of a GPU does."""
    made = Runtime("cpu")
    made.prefetches = True
    return made


def numbered(count, *, fails=None):
    for number in range(1, count + 1):
        if number == fails:
            raise DataError("It is torn.", "A picture was expected.", "Repair it.")
        yield Batch(torch.tensor([number]), (torch.tensor([10 * number]), torch.tensor([100 * number])))


def test_each_batch_is_copied_ahead_beside_the_step_which_waits_for_its_own_alone(backend):
    def adapt(batch):
        number = int(batch.inputs)
        backend.log.append(f"{backend.current.name} copies {number}")
        backend.current.copied = number
        return batch

    for batch in ahead().ahead(adapt, numbered(3)):
        backend.log.append(f"{backend.current.name} trains on {int(batch.inputs)}")

    def taken(number):
        kept = [f"stream of main keeps {number * times}" for times in (1, 10, 100)]
        return [f"stream of main waits for {number}", *kept, f"stream of main trains on {number}"]

    def copied(number):
        return [f"stream of cpu copies {number}", f"stream of cpu records {number}"]

    assert backend.log == [*copied(1), *copied(2), *taken(1), *copied(3), *taken(2), *taken(3)]


def test_the_data_is_read_on_the_main_stream_and_one_side_stream_serves_all_epochs(backend):
    sides, read_on = set(), set()

    def batches():
        for batch in numbered(2):
            read_on.add(backend.current)
            yield batch

    for _ in range(3):
        list(ahead().ahead(lambda batch: sides.add(backend.current) or batch, batches()))
    assert len(sides) == 1
    assert read_on == {backend.main}


@pytest.mark.parametrize("where", ["reading", "adapting"])
def test_what_goes_wrong_ahead_is_told_behind_the_batches_before_it(backend, where):
    def adapt(batch):
        if where == "adapting" and int(batch.inputs) == 3:
            raise DataError("It is torn.", "A picture was expected.", "Repair it.")
        return batch

    batches = ahead().ahead(adapt, numbered(4, fails=3 if where == "reading" else None))
    assert [int(next(batches).inputs) for _ in range(2)] == [1, 2]
    with pytest.raises(DataError, match="torn"):
        next(batches)
    assert backend.current is backend.main


def test_who_ends_in_the_middle_ends_the_reading_too(backend):
    ended = []

    def batches():
        try:
            yield from numbered(5)
        finally:
            ended.append(True)

    copied = ahead().ahead(lambda batch: batch, batches())
    next(copied)
    assert not ended
    copied.close()
    assert ended


def test_no_batches_are_none(backend):
    assert list(ahead().ahead(lambda batch: batch, iter(()))) == []


def test_a_processor_takes_batches_one_by_one_and_has_no_streams(backend):
    read = numbered(3)
    batches = Runtime("cpu").ahead(lambda batch: batch, read)
    assert int(next(batches).inputs) == 1
    assert int(next(read).inputs) == 2
    assert backend.log == []


def test_a_gpu_prefetches_unless_that_is_switched_off(monkeypatch):
    monkeypatch.setattr(runtime, "_device", lambda *_: torch.device("cuda"))
    products = runtime.set_float32_products("ieee", "ieee")
    try:
        assert Runtime("cuda", precision="float32").prefetches
        assert not Runtime("cuda", precision="float32", prefetch=False).prefetches
    finally:
        runtime.set_float32_products(*products)


# What is read and trained on stays the same -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [root / f"{index}.png" for index in range(21)]
    for index, path in enumerate(paths):
        Image.fromarray(rng.integers(100 * (index % 2), 256, (10, 10, 3), dtype=np.uint8)).save(path)
    return FolderDataset(paths, [index % 2 for index in range(21)], "ab", root=root).prepared(SIZE)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    images = torch.randint(0, 256, (21, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    write_shards(data.ImageDataset(images, torch.arange(21) % 2, "ab"), root, samples_per_shard=9)
    return root / "train"


@pytest.fixture(params=["workers", "stream"])
def read(request, folder, shards):
    """Makes batches of data that is read while it is trained on."""
    told = {"batch_size": 4, "workers": 2, "augment": [RandomFlip(), RandomShift(1)]}
    if request.param == "stream":
        return lambda: data.stream(shards, SIZE, shuffle=10, **told)
    return lambda: WorkerBatches(folder, shuffle=True, pin_memory=True, **told)


def model(chosen):
    torch.manual_seed(0)
    made = models.Model(nn.Sequential(nn.Flatten(), lamina.nn.Rescaling(1 / 255), nn.Dropout(0.2), nn.Linear(192, 2)))
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], runtime=chosen)
    return made


def fed(batches, chosen):
    """The batches as a fit takes them."""
    return feed.foreign(batches, model(chosen)._make_step())


def told(batches):
    return [(batch.inputs.tolist(), batch.targets.tolist()) for batch in batches]


def test_all_batches_and_what_is_drawn_for_them_are_the_same(backend, read):
    def passes(chosen):
        made = fed(read(), chosen)
        whole = [told(made.epoch(0)), told(made.epoch(1, start=2)), told(made), told(made.complete())]
        assert made.waited_s > 0
        feed.release(made)
        return whole

    plain = passes(Runtime("cpu"))
    assert not backend.log
    assert passes(ahead()) == plain
    assert backend.log
    assert [len(each) for each in plain] == [6, 4, 6, 6]


class Stops(Callback):
    """Raises after some steps, as a machine that fails does."""

    def on_train_batch_end(self, batch, logs):
        if self.loop.steps_done == 9:
            raise RuntimeError("the power is gone")


def test_a_fit_and_one_that_goes_on_in_the_middle_of_an_epoch_are_the_same_to_the_bit(backend, read, tmp_path):
    def fitted(chosen, **arguments):
        made = model(chosen)
        history = made.fit(read(), epochs=2, verbose=0, validation_data=read(), **arguments).history
        return history, [value.tolist() for value in made.net.parameters()], made.evaluate(read())

    plain = fitted(Runtime("cpu"))
    assert not backend.log
    assert fitted(ahead()) == plain
    assert backend.log
    with pytest.raises(RuntimeError, match="power is gone"):
        fitted(ahead(), run=tmp_path / "run", checkpoint_every=1, callbacks=[Stops()])
    assert fitted(ahead(), run=tmp_path / "run", checkpoint_every=1, resume=True) == plain


def test_an_epoch_that_is_left_leaves_no_worker_behind_and_the_next_one_is_whole(backend, read):
    before = set(multiprocessing.active_children())
    made = fed(read(), ahead())
    begun = made.epoch(0)
    first = next(begun)
    begun.close()
    again = told(made.epoch(0))
    assert again[0] == told([first])[0]
    assert len(again) == 6
    feed.release(made)
    assert set(multiprocessing.active_children()) <= before


def test_what_is_copied_to_the_device_lies_in_pinned_memory_of_its_own_and_workers_write_elsewhere(backend, folder):
    made = fed(WorkerBatches(folder, 4, workers=1, pin_memory=True), ahead())
    batches = made.epoch(0)
    pinned = [batch.inputs for batch in itertools.islice(batches, 3)]
    slots = made._crew._slots.untyped_storage()
    written = range(slots.data_ptr(), slots.data_ptr() + slots.nbytes())
    assert not [True for images in pinned if images.data_ptr() in written]
    assert not made._crew._lent
    batches.close()
    feed.release(made)


def test_an_unreadable_picture_ends_training_at_the_batch_that_it_ended_it_at(backend, tmp_path, folder):
    for number in range(12):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    os.truncate(tmp_path / "9.png", 20)
    files = FolderDataset([tmp_path / f"{n}.png" for n in range(12)], [0] * 12, "ab", root=tmp_path).prepared(SIZE)

    def steps(chosen):
        made = fed(WorkerBatches(files, 2, workers=1, on_error="raise"), chosen)
        batches = made.epoch(0)
        done = [len(batch.targets) for batch in itertools.islice(batches, 4)]
        with pytest.raises(DataError, match=r"9\.png"):
            next(batches)
        feed.release(made)
        return done

    assert steps(ahead()) == steps(Runtime("cpu")) == [2] * 4
