"""Boxes as seen from others: the paper's equations, torchvision's coder, and numbers that stay finite."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from lamina.structures.box_deltas import from_deltas, to_deltas


def boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([corners, corners + 1 + torch.rand(count, 2, generator=generator) * 50], dim=1)


def test_the_four_numbers_are_those_of_the_papers_equations():
    deltas = to_deltas(torch.tensor([[10.0, 10.0, 30.0, 50.0]]), torch.tensor([[0.0, 0.0, 10.0, 20.0]]))
    torch.testing.assert_close(deltas, torch.tensor([[1.5, 1.0, math.log(2), math.log(2)]]))


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_there_and_back_is_the_same_and_torchvisions(weights):
    truths, places = boxes(20, 0), boxes(20, 1)
    deltas = to_deltas(truths, places, weights)
    theirs = BoxCoder(weights)
    torch.testing.assert_close(deltas, theirs.encode_single(truths, places))
    torch.testing.assert_close(from_deltas(deltas, places, weights), truths, rtol=1e-5, atol=1e-4)
    wild = torch.randn(20, 4) * 20
    expected = theirs.decode_single(wild, places)
    torch.testing.assert_close(from_deltas(wild, places, weights), expected, rtol=1e-4, atol=1e-2)


def test_a_wild_number_makes_no_infinite_box():
    assert from_deltas(torch.tensor([[0.0, 0.0, 1e9, 1e9]]), torch.tensor([[0.0, 0.0, 8.0, 8.0]])).isfinite().all()
