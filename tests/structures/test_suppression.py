"""Suppression of a batch beside torchvision's, picture by picture."""

from __future__ import annotations

import torch
from torchvision.ops import batched_nms

from lamina.structures.suppression import suppress


def some(count: int = 200) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    corners = torch.rand(3, count, 2, generator=draw) * 80
    boxes = torch.cat([corners, corners + 4 + torch.rand(3, count, 2, generator=draw) * 30], dim=2)
    return boxes, torch.rand(3, count, generator=draw), torch.randint(0, 3, (3, count), generator=draw)


def test_is_torchvisions_of_each_picture() -> None:
    boxes, scores, labels = some()
    kept = suppress(boxes, scores, labels, overlap=0.4, num_classes=3)
    for mine, *picture in zip(kept, boxes, scores, labels, strict=True):
        wanted = torch.zeros_like(mine)
        wanted[batched_nms(*picture, 0.4)] = True
        assert 10 < wanted.sum() < len(mine)
        assert torch.equal(mine, wanted)


def test_without_labels_all_are_of_one_class() -> None:
    boxes, scores, labels = some()
    kept = suppress(boxes, scores, overlap=0.4)
    assert torch.equal(kept, suppress(boxes, scores, torch.zeros_like(labels), overlap=0.4, num_classes=1))
    assert kept.sum() < suppress(boxes, scores, labels, overlap=0.4, num_classes=3).sum()


def test_rows_without_a_score_are_none() -> None:
    boxes, scores, _ = some(4)
    scores[1] = 0.0
    scores[2, 1:] = -1.0
    assert suppress(boxes, scores, overlap=0.5).sum(1).tolist()[1:] == [0, 1]


def test_no_rows_give_none() -> None:
    assert suppress(torch.zeros(2, 0, 4), torch.zeros(2, 0), overlap=0.5).shape == (2, 0)


def test_torch_knows_the_operator() -> None:
    boxes, scores, labels = some(20)
    torch.library.opcheck(torch.ops.lamina.suppress.default, (boxes, scores, labels, 0.5, 3))
