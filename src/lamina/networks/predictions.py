"""What a one-stage detector says of a picture: at many places, of each class whether it is there, and where its box is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Predictions(NamedTuple):
    """Of A places in each picture the same numbers, in training as in use. What they mean for a box is said by the network."""

    logits: Float[Tensor, "B A K"]
    deltas: Float[Tensor, "B A 4"]
    centredness: Float[Tensor, "B A"] | None  # logits of how near a place lies to the middle of its object
    places: Float[Tensor, "A 4"]  # xyxy, px of the network's input


def at_places(x: Float[Tensor, "B A*D H W"], depth: int) -> Float[Tensor, "B H*W*A D"]:
    """A map with `depth` numbers for each of A places in every cell, as rows: by rows of the map, columns, places."""
    told = x.permute(0, 2, 3, 1)
    return told.reshape(x.shape[0], told.shape[1] * told.shape[2] * (told.shape[3] // depth), depth)


def joined(levels: Sequence[Tensor]) -> Tensor:
    """Rows (B A D) of several levels as one tensor."""
    return torch.cat(list(levels), dim=1)
