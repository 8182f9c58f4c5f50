import torch
from torch import nn

from lamina import layers
from lamina.layers.probe import meta_copy


class Counts(nn.Module):
    """Has to see numbers, which meta tensors lack."""

    def forward(self, x):
        return x * float((x > 0).sum())


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.arange(4.0)  # neither parameter nor buffer

    def forward(self, x):
        return x * self.table


def test_copies_shapes_and_not_memory():
    linear = nn.Linear(3, 2)
    copied = meta_copy(nn.Sequential(linear, linear))
    assert copied[0].weight.is_meta
    assert copied[0].weight is copied[1].weight
    assert not linear.weight.is_meta


def test_covers_tensors_that_are_plain_attributes():
    assert layers.Torch(Odd())(layers.Input((4,))).shape == (4,)


def test_runs_on_zeros_what_cannot_run_without_numbers():
    assert layers.Torch(Counts())(layers.Input((4,))).shape == (4,)
