"""Batches of what fits in memory."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from lamina.core.errors import DataError
from lamina.data.augment import Compose, Mixup, RandomCrop, RandomFlip
from lamina.data.loader import ArrayBatches

DATA = torch.arange(10)


class Watch(TorchFunctionMode):
    """Notes the device of each index, and how often something is moved."""

    def __init__(self):
        super().__init__()
        self.indices, self.moves = [], 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.__getitem__ and isinstance(args[1], torch.Tensor):
            self.indices.append((args[0].device.type, args[1].device.type))
        self.moves += function is torch.Tensor.to
        return function(*args, **(kwargs or {}))


def test_every_sample_comes_once_an_epoch_with_its_target_and_weight():
    batches = ArrayBatches((DATA, -DATA), DATA * 2, weights=DATA / 2, batch_size=4, shuffle=True, seed=3)
    for epoch in range(2):
        whole = list(batches.epoch(epoch))
        x, y, weights = (
            torch.cat(parts) for parts in zip(*((b.inputs[0], b.targets, b.weights) for b in whole), strict=True)
        )
        assert sorted(x.tolist()) == DATA.tolist()
        assert torch.equal(y, x * 2)
        assert torch.equal(weights, x / 2)
        assert all(torch.equal(b.inputs[1], -b.inputs[0]) for b in whole)
        assert [b.inputs[0].tolist() for b in batches.epoch(epoch, start=2)] == [whole[2].inputs[0].tolist()]
    assert [b.inputs[0].tolist() for b in batches.epoch(0)] != [b.inputs[0].tolist() for b in batches.epoch(1)]


@pytest.mark.parametrize("inputs", [DATA.to("meta"), (DATA.to("meta"), DATA)])
def test_the_order_is_moved_to_the_data_s_device_once_an_epoch(inputs):
    batches = ArrayBatches(inputs, DATA, batch_size=2, shuffle=True)
    with Watch() as watch:
        assert len(list(batches.epoch(0))) == 5
    assert ("meta", "meta") in watch.indices
    assert all(held == index for held, index in watch.indices)
    assert watch.moves == 2  # one for each device that holds data


def test_an_augmentation_is_keyed_by_position_and_a_list_is_one():
    images, parts = torch.randint(0, 256, (10, 1, 6, 6), dtype=torch.uint8), [RandomFlip(), RandomCrop(1)]
    whole = ArrayBatches(images, DATA, batch_size=10, shuffle=True, seed=3, augment=Compose(parts))
    cut = ArrayBatches(images, DATA, batch_size=4, shuffle=True, seed=3, augment=parts)
    for epoch in range(2):
        (one,) = whole.epoch(epoch)
        assert torch.equal(torch.cat([batch.inputs for batch in cut.epoch(epoch)]), one.inputs)
        assert [batch.targets.tolist() for batch in cut.epoch(epoch, start=2)] == [one.targets[8:].tolist()]
    with pytest.raises(DataError, match="the class RandomFlip"):
        ArrayBatches(images, augment=[RandomFlip])


def test_mixing_makes_labels_shares_and_differs_by_epoch():
    images = torch.randint(0, 256, (10, 1, 6, 6), dtype=torch.uint8)
    batches = ArrayBatches(images, DATA % 3, batch_size=5, augment=Compose([Mixup(1.0)], num_classes=3))
    first, again = (list(batches.epoch(0)) for _ in range(2))
    assert first[0].targets.shape == (5, 3)
    assert all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) for a, b in zip(first, again, strict=True)
    )
    assert not torch.equal(first[0].targets, next(batches.epoch(1)).targets)
    assert torch.equal(next(batches.epoch(0, start=1)).inputs, first[1].inputs)


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_alternating_flip_follows_the_picture_through_the_order(shuffle):
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1) + torch.tensor([0, 100], dtype=torch.uint8)
    batches = ArrayBatches(images, DATA, batch_size=4, shuffle=shuffle, augment=RandomFlip(alternating=True))
    flipped = []
    for epoch in range(2):
        rows = {
            int(t): x[0, 0].tolist() for b in batches.epoch(epoch) for x, t in zip(b.inputs, b.targets, strict=True)
        }
        flipped.append({index: first > second for index, (first, second) in rows.items()})
    assert len(flipped[0]) == 10
    assert all(flipped[0][index] != flipped[1][index] for index in range(10))


SHARDS = [(count, size, world) for count in (10, 17, 103) for size in (8, 17) for world in (2, 3, 5)]


@pytest.mark.parametrize(("count", "batch_size", "world"), SHARDS)
def test_the_parts_of_all_processes_are_the_batches_of_one(count, batch_size, world):
    data, options = torch.arange(count), {"batch_size": batch_size, "shuffle": True, "seed": 3}
    whole = [batch.inputs for batch in ArrayBatches(data, **options).epoch(4)]
    parts = [ArrayBatches(data, **options, shard=(rank, world)) for rank in range(world)]
    steps = list(zip(*(part.epoch(4) for part in parts), strict=True))
    assert {len(part) for part in parts} == {len(steps)}
    assert len(steps) == len(whole) - (len(whole[-1]) < world)
    for batch, (joined, expected) in enumerate(zip(steps, whole, strict=False)):
        assert torch.equal(torch.cat([part.inputs for part in joined]), expected)
        assert max(len(part.inputs) for part in joined) - min(len(part.inputs) for part in joined) <= 1
        assert all(parts[rank].rows(4, batch) == part.inputs.tolist() for rank, part in enumerate(joined))
    assert [b.inputs.tolist() for b in parts[1].epoch(4, start=1)] == [
        parts[1].rows(4, i) for i in range(1, len(steps))
    ]


@pytest.mark.parametrize("count", [2, 103])
def test_an_evaluation_holds_each_sample_once_over_all_processes(count):
    parts = [ArrayBatches(torch.arange(count), batch_size=8, shard=(rank, 3)) for rank in range(3)]
    seen = [batch.inputs for part in parts for batch in part]
    assert all(len(batch) for batch in seen)  # who has no part gets no batch
    assert torch.cat(seen).tolist() == list(range(count))


def test_what_is_drawn_for_a_position_does_not_depend_on_the_number_of_processes():
    class Noise:
        draws = 1

        def __call__(self, images, uniforms):
            return images + uniforms

    images = torch.zeros(20, 1)
    whole = torch.cat([b.inputs for b in ArrayBatches(images, batch_size=8, augment=Noise()).epoch(1)])
    halves = [ArrayBatches(images, batch_size=8, augment=Noise(), shard=(rank, 2)).epoch(1) for rank in range(2)]
    assert torch.equal(torch.cat([half.inputs for both in zip(*halves, strict=True) for half in both]), whole)


def test_weights_say_how_often_a_sample_is_drawn_and_no_process_draws_for_itself():
    weights = torch.tensor([0.0, 1.0, 3.0]).repeat(1000)
    data = torch.arange(3000)
    whole = torch.cat([b.inputs for b in ArrayBatches(data, batch_size=100, sample_by=weights, seed=2).epoch(0)])
    counts = torch.bincount(whole % 3, minlength=3)
    assert counts[0] == 0
    assert counts[2] / counts[1] == pytest.approx(3.0, rel=0.15)
    assert len(whole) == 3000
    halves = [ArrayBatches(data, batch_size=100, sample_by=weights, seed=2, shard=(rank, 2)) for rank in range(2)]
    joined = [b.inputs for both in zip(*(half.epoch(0) for half in halves), strict=True) for b in both]
    assert torch.equal(torch.cat(joined), whole)  # repeated as in the draw, and no more
    other = torch.cat([b.inputs for b in halves[0].epoch(1)])
    assert not torch.equal(other, torch.cat([b.inputs for b in halves[0].epoch(0)]))


@pytest.mark.parametrize("weights", [torch.ones(9), torch.zeros(10), -torch.ones(10), torch.full((10,), torch.nan)])
def test_weights_that_nothing_can_be_drawn_by_are_refused(weights):
    with pytest.raises(ValueError, match="A weight for each of the 10 samples"):
        ArrayBatches(DATA, sample_by=weights)


def test_a_batch_too_small_for_all_processes_is_refused():
    with pytest.raises(ValueError, match="batch_size is 2, and 3 processes"):
        ArrayBatches(DATA, batch_size=2, shard=(0, 3)).epoch(0)


def test_iterating_shows_each_sample_once_and_as_it_is():
    images = torch.randint(0, 256, (10, 1, 6, 6), dtype=torch.uint8)
    options = {"shuffle": True, "batch_size": 3, "augment": Compose([Mixup(1.0)], num_classes=10)}
    for batches in (ArrayBatches(images, DATA, **options), ArrayBatches(images, DATA, sample_by=DATA == 1, **options)):
        targets = torch.cat([batch.targets for batch in batches])
        assert sorted(targets.tolist()) == DATA.tolist()
        assert torch.equal(torch.cat([batch.inputs for batch in batches]), images[targets])
