"""What a network sees in each region of a picture (Girshick 2014, section 2.1): one pass of the whole network for every region."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.data.preprocess import Preprocess
from lamina.export import folding
from lamina.networks import contract
from lamina.tasks.detection.rcnn.kept import Kept, key_of, weights_of
from lamina.tasks.detection.rcnn.warping import warped
from lamina.training import Runtime
from lamina.training.runtime import evaluating

_STRIDE = 16  # of the map that tells where in the region something stands
_TOGETHER = (
    16  # regions in a pass: on a CPU MobileNet's maps of 64 no longer fit its caches, and take 1.3 to 2 times as long
)


class Features(NamedTuple):
    """Of N regions: `deep`, for what they hold (in the paper fc7), and `places`, for where in them it stands (pool5)."""

    deep: Float[Tensor, "N D"]
    places: Float[Tensor, "N E"]


class RegionFeatures:
    """The features of regions by a network of `networks` or an ordinary one, kept in `kept`.

    `deep` is the mean of its coarsest map, `places` its map of stride 16, pooled to `cells` x `cells`. `preprocess` tells mean and std;
    regions are warped to `side_px` with `context_px` around them. Features are kept in half precision, and worked out anew where
    picture, boxes, weights or settings are others. Raises LaminaError for a network without maps.
    """

    def __init__(
        self,
        net: nn.Module,
        preprocess: Preprocess,
        *,
        side_px: int = 224,
        context_px: float = 16.0,
        cells: int = 3,
        kept: Kept | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        if not contract.feature_dims(net):
            raise LaminaError(
                f"{type(net).__name__} gives no maps.",
                "A convolutional network was expected.",
                "Pass one, such as networks.create('mobilenet_v2').",
            )
        self.net, self.preprocess = net, preprocess
        self.side_px, self.context_px, self.cells = side_px, context_px, cells
        self.kept = Kept(None) if kept is None else kept
        self.runtime = Runtime(precision="float32") if runtime is None else runtime
        self._weights = weights_of(net)
        self._eye: nn.Module | None = None

    def __call__(self, picture: UInt8[Tensor, "C H W"], boxes_xyxy: Float[Tensor, "N 4"]) -> Features:
        """Of the regions of one picture."""
        told = self.kept.get(self.key(picture, boxes_xyxy), lambda: self._made(picture, boxes_xyxy))
        return Features(told["deep"].float(), told["places"].float())

    def key(self, picture: UInt8[Tensor, "C H W"], boxes_xyxy: Float[Tensor, "N 4"]) -> str:
        """By what they are kept."""
        preprocess = {"mean": list(self.preprocess.mean), "std": list(self.preprocess.std)}
        settings: dict[str, Any] = {"side_px": self.side_px, "context_px": self.context_px, "cells": self.cells}
        return key_of({"features": 1, "weights": self._weights, **settings, **preprocess}, picture, boxes_xyxy)

    def regions(self, picture: UInt8[Tensor, "C H W"], boxes_xyxy: Float[Tensor, "N 4"]) -> Float[Tensor, "N C S S"]:
        """The regions as the network sees them, normalised."""
        return self._warped(self.preprocess.normalize()(picture[None])[0], boxes_xyxy)

    def _warped(self, normalised: Tensor, boxes: Tensor) -> Tensor:
        return warped(normalised, boxes, side_px=self.side_px, context_px=self.context_px)

    def _made(self, picture: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        self.runtime.place(self.net)
        parts: list[tuple[Tensor, Tensor]] = []
        normalised = self.preprocess.normalize()(picture[None])[0]
        with evaluating(self.net), torch.inference_mode():
            if self._eye is None:
                probe = self.runtime.put(self._warped(normalised, torch.tensor([[0.0, 0.0, 32.0, 32.0]])))
                self._eye = folding.fold(_Eye(self.net, self.cells).eval(), [probe])
            for start in range(0, len(boxes), _TOGETHER):
                images = self.runtime.put(self._warped(normalised, boxes[start : start + _TOGETHER]))
                with self.runtime.autocast():
                    parts.append(self._eye(images))
        dims = contract.feature_dims(self.net)
        empty = torch.zeros(0, dims[max(dims)]), torch.zeros(0, dims[_placed(dims)] * self.cells**2)
        deep, places = (torch.cat([each.float().cpu() for each in told]) for told in zip(empty, *parts, strict=True))
        return {"deep": deep.half(), "places": places.half()}


class _Eye(nn.Module):
    def __init__(self, net: nn.Module, cells: int) -> None:
        super().__init__()
        self.net, self.cells = net, cells

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = contract.features(self.net, images)
        deep, places = maps[max(maps)], maps[_placed(maps)]
        return deep.mean(dim=(2, 3)), F.adaptive_avg_pool2d(places, self.cells).flatten(1)


def _placed(strides: Iterable[int]) -> int:
    """The stride of the map that tells of places."""
    told = list(strides)
    return max((stride for stride in told if stride <= _STRIDE), default=max(told))
