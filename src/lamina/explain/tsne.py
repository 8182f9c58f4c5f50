"""t-SNE, exact: neighbours stay neighbours in two dimensions (van der Maaten & Hinton 2008, JMLR 9). For a few thousand points."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_EARLY, _EARLY_STEPS = 12.0, 150  # exaggeration, as in the later implementations of the authors
_STEPS = 500
_SEARCHES = 50  # halvings of an interval, for the width of each point's neighbourhood
_TINY = 1e-12


def tsne(points: Float[Tensor, "N D"], *, perplexity: float = 30.0, steps: int = _STEPS) -> Float[Tensor, "N 2"]:
    """The points in two dimensions. It starts from the first two principal components, so it is the same each time.

    `perplexity` is about how many neighbours count, and is lowered for fewer than three times as many points.
    """
    points = points.double()
    count = len(points)
    if count < 3:
        return torch.cat([points[:, :2], points.new_zeros(count, max(0, 2 - points.shape[1]))], dim=1)
    wanted = _joint(points, min(perplexity, (count - 1) / 3)).float()
    placed = _start(points).float()
    speed = torch.zeros_like(placed)
    gains = torch.ones_like(placed)
    rate = max(count / _EARLY, 50.0)
    for step in range(steps):
        early = step < _EARLY_STEPS
        lengths = placed.square().sum(1)
        near = torch.addmm(lengths[:, None] + lengths + 1, placed, placed.T, alpha=-2).reciprocal_().fill_diagonal_(0)
        pull = (wanted * (_EARLY if early else 1.0) - near / near.sum()) * near
        slope = 4 * (pull.sum(1, keepdim=True) * placed - pull @ placed)  # eq. 5
        gains = torch.where((slope > 0) != (speed > 0), gains + 0.2, gains * 0.8).clamp(min=0.01)
        speed = (0.5 if early else 0.8) * speed - rate * gains * slope
        placed = placed + speed
        placed = placed - placed.mean(0)
    return placed


def _start(points: Tensor) -> Tensor:
    centred = points - points.mean(0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    first = left[:, :2] * sizes[:2]
    first = torch.cat([first, first.new_zeros(len(first), 2 - first.shape[1])], dim=1)
    return first / first[:, 0].std().clamp(min=_TINY) * 1e-4


def _joint(points: Tensor, perplexity: float) -> Tensor:
    """How near each two points are, symmetric, with sum 1 (eqs. 1 and section 3.1); widths by halving intervals."""
    squares = torch.cdist(points, points).square()
    squares = squares / squares.mean().clamp(min=_TINY)
    count, target = len(points), math.log(perplexity)
    low, high = points.new_zeros(count, 1), points.new_full((count, 1), math.inf)
    sharp = points.new_ones(count, 1)
    away = torch.eye(count, dtype=torch.bool)
    for _ in range(_SEARCHES):
        scores = (-squares * sharp).masked_fill(away, -math.inf)
        logs = torch.log_softmax(scores, dim=1)
        shares = logs.exp()
        entropy = -(shares * logs.masked_fill(away, 0)).sum(1, keepdim=True)
        wide = entropy > target
        low, high = torch.where(wide, sharp, low), torch.where(wide, high, sharp)
        sharp = torch.where(high.isinf(), sharp * 2, (low + high) / 2)
    return ((shares + shares.T) / (2 * count)).clamp(min=_TINY)
