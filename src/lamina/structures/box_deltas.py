"""A box as seen from another one: how far its centre is moved, in sides of that one, and the logarithms of how much larger it is.

Girshick 2014 (arXiv:1311.2524), equations 1 to 9: with centre and size (x, y, w, h) of a box G and of the place P it is seen from

    t_x = (G_x - P_x) / P_w        G_x = P_w t_x + P_x
    t_y = (G_y - P_y) / P_h        G_y = P_h t_y + P_y
    t_w = log(G_w / P_w)           G_w = P_w exp(t_w)
    t_h = log(G_h / P_h)           G_h = P_h exp(t_h)

`weights` multiply the four (Fast R-CNN's released code: 10, 10, 5, 5), so that a loss sees numbers of a usual size. exp never gives more
than 1000 / 16 times the side, as in that code: a wild number of a young network makes no infinite box.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

Weights = tuple[float, float, float, float]

EVEN: Weights = (1.0, 1.0, 1.0, 1.0)
LARGEST = math.log(1000.0 / 16)  # of t_w and t_h


def to_deltas(
    boxes_xyxy: Float[Tensor, "*N 4"], places_xyxy: Float[Tensor, "*N 4"], weights: Weights = EVEN
) -> Float[Tensor, "*N 4"]:
    """The boxes (... 4) as seen from their places, equations 6 to 9. Both must cover something, or it is not finite."""
    centres, sides = _centred(places_xyxy)
    their_centres, their_sides = _centred(boxes_xyxy)
    deltas = torch.cat([(their_centres - centres) / sides, torch.log(their_sides / sides)], dim=-1)
    return deltas * deltas.new_tensor(weights)


def from_deltas(
    deltas: Float[Tensor, "*N 4"], places_xyxy: Float[Tensor, "*N 4"], weights: Weights = EVEN
) -> Float[Tensor, "*N 4"]:
    """The boxes (... 4), in pixels, of what is seen from their places, equations 1 to 4; shapes are broadcast."""
    centres, sides = _centred(places_xyxy)
    told = deltas / deltas.new_tensor(weights)
    middle = told[..., :2] * sides + centres
    half = told[..., 2:].clamp(max=LARGEST).exp() * sides / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    sides = high - low
    return low + sides / 2, sides


def to_sides(boxes_xyxy: Float[Tensor, "*N 4"], places_xyxy: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """How far left, top, right and bottom of the boxes lie from the middle of their places, in the places' sides (Tian 2019, eq. 1)."""
    centres, sides = _centred(places_xyxy)
    return torch.cat([(centres - boxes_xyxy[..., :2]) / sides, (boxes_xyxy[..., 2:] - centres) / sides], dim=-1)


def from_sides(distances: Float[Tensor, "*N 4"], places_xyxy: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """The boxes (... 4), in pixels, whose left, top, right and bottom lie so far from the middle of their places."""
    centres, sides = _centred(places_xyxy)
    return torch.cat([centres - distances[..., :2] * sides, centres + distances[..., 2:] * sides], dim=-1)
