"""The library's own operators in programs that know none of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lamina.export.translations import without_library
from lamina.structures.suppression import suppress


class Suppressing(nn.Module):
    """Which of boxes stay."""

    def forward(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        return suppress(boxes, scores, labels, overlap=0.4, num_classes=3)


def crowded(pictures: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes of which most overlap others; every tenth is none."""
    draw = torch.Generator().manual_seed(count)
    corners = torch.rand(pictures, count, 2, generator=draw) * 60
    boxes = torch.cat([corners, corners + 4 + torch.rand(pictures, count, 2, generator=draw) * 30], dim=2)
    scores = torch.rand(pictures, count, generator=draw)
    scores[:, ::10] = -1.0
    return boxes, scores, torch.randint(0, 3, (pictures, count), generator=draw)


@pytest.fixture(scope="module")
def told() -> ExportedProgram:
    axes = {0: Dim.AUTO, 1: Dim.AUTO}
    return torch.export.export(Suppressing(), crowded(2, 30), dynamic_shapes=(axes, axes, axes), strict=False)


@pytest.mark.parametrize("sizes", [(1, 80), (3, 300)])
def test_suppression_in_torch_alone_is_the_operator_for_any_batch(
    told: ExportedProgram, sizes: tuple[int, int]
) -> None:
    some = crowded(*sizes)
    kept = without_library(told).module()(*some)
    assert torch.equal(kept, Suppressing()(*some))
    assert 0 < kept.sum() < (some[1] > 0).sum() * 0.9


def test_boxes_that_are_copies_of_each_other_come_to_an_end(told: ExportedProgram) -> None:
    boxes, labels = torch.tensor([10.0, 10, 20, 20]).expand(2, 40, 4), torch.zeros(2, 40, dtype=torch.int64)
    scores = torch.linspace(1, 0.1, 40).expand(2, -1)
    assert without_library(told).module()(boxes, scores, labels).sum(1).tolist() == [1, 1]
    assert without_library(told).module()(boxes * torch.nan, scores, labels).all()  # no overlap is known


def test_no_operator_of_the_library_is_left(told: ExportedProgram) -> None:
    assert "lamina" in str(told.graph)
    assert "lamina" not in str(without_library(told).graph)


def test_programs_without_such_operators_stay_as_they_are() -> None:
    made = torch.export.export(nn.ReLU(), (torch.zeros(2, 3),))
    assert without_library(made) is made
