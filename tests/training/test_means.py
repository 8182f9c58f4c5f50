"""Means of what steps log."""

import pytest
import torch

from lamina.core.tree import flatten, unflatten
from lamina.structures.batch import Logs
from lamina.training.means import Means


@pytest.mark.parametrize("seed", range(5))
def test_looking_and_saving_change_not_the_last_bit(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(150, generator=generator) * 10 ** (16 * torch.rand(150, generator=generator) - 8)

    def mean(*, looked):
        means = Means()
        for index, value in enumerate(values):
            means.add(Logs(3 + index % 2, loss=value))
            if looked and index % 7 == 0:
                means.compute()
            if looked and index % 11 == 0:
                state = unflatten(flatten(means.state_dict()))
                means = Means()
                means.load_state_dict(state)
        return means.compute()["loss"].hex()

    assert mean(looked=True) == mean(looked=False)


def test_counts_may_wait_on_the_device():
    means, again = Means(), Means()
    for index in range(3):
        means.add(Logs(torch.tensor(index), loss=torch.tensor(float(index))))
    again.load_state_dict(means.state_dict())
    assert again.compute() == means.compute() == {"loss": (1 + 4) / 3}
