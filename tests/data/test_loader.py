"""Batches of what fits in memory."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

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
