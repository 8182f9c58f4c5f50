"""Where in a picture a box, or the class of some pixels, comes from: Grad-CAM at the maps on which a detector or segmenter stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.explain.lens import Lens, first_output
from lamina.structures.boxes import overlap

_NEAR = 0.5  # overlap of a place, or region, with the box that it speaks of
_PLACES = 7  # of a map, a side, at least where there are finer maps: 224 px at a stride of 32
_CELLS = 4  # of a map, along a box's side, at least where there are finer maps


def standing(lens: Lens) -> nn.Module | None:
    """The network that stands on a trunk's maps; None where there is none, and so no map to look at."""
    inner = getattr(lens.net, "net", None)  # behind which a detector's suppression stands
    return next((net for net in (lens.net, inner) if isinstance(getattr(net, "trunk", None), nn.Module)), None)


def features(lens: Lens, images: Tensor) -> Float[np.ndarray, "B D"]:
    """What the trunk's coarsest map says of pictures as they come (uint8 B C H W), averaged over its places."""
    net = standing(lens)
    assert net is not None
    with torch.no_grad():
        maps: dict[int, Tensor] = net.trunk(lens.prepared(images))  # type: ignore[operator]
    return np.asarray(maps[max(maps)].mean(dim=(2, 3)).float().cpu().numpy())


def box_cam(lens: Lens, image: Tensor, box_xyxy: Tensor, label: int) -> Float[np.ndarray, "h w"] | None:
    """What speaks for a class in a box (px of the network's input): of the score of the place that says it most, place by place.

    The score is that before the sigmoid or softmax, of the places or regions that overlap the box by half, or whose middle lies in it.
    A place sees little of the picture, so the gradient is not averaged over the map, but times it (HiResCAM, Draelos & Carin 2020,
    arXiv:2011.08891). The map is the coarsest with four cells along the box. None where no place is near.
    """
    said, maps = _traced(lens, image)
    logits = getattr(said, "logits", None)
    places = getattr(said, "places", None)
    if places is None and getattr(said, "regions", None) is not None:
        places = said.regions[0].detach()
    if logits is None or places is None:
        return None
    box, scores = box_xyxy.to(places.device, torch.float32), logits[0, :, label]
    middles = (places[:, :2] + places[:, 2:]) / 2
    near = overlap(places.float(), box[None].expand(len(places), 4)) >= _NEAR
    if not near.any():
        near = ((middles >= box[:2]) & (middles <= box[2:])).all(1)
    if not near.any():
        return None
    score = scores.masked_fill(~near, -math.inf).max()
    side_px = float((box[2:] - box[:2]).clamp(min=1).prod().sqrt())
    fitting = [stride for stride in sorted(maps, reverse=True) if stride * _CELLS <= side_px]
    return _first(score, maps, [*fitting, *sorted(maps)])


def pixels_cams(
    lens: Lens,
    image: Tensor,
    choose: Callable[[UInt8[np.ndarray, "H W"]], tuple[Sequence[int], Bool[Tensor, "H W"]] | None],
) -> tuple[list[int], list[Float[np.ndarray, "h w"]]]:
    """What speaks for classes in some pixels: of the sum of their scores (Vinogradova 2020, arXiv:2002.11434, eq. 1), place by place.

    `choose` is given the class of each pixel of the network's input, and says for which classes in which pixels, or None. The
    gradient times the map (as for `box_cam`) says of each place of the coarsest map of at least seven a side what it adds. Classes and
    maps are empty where nothing is chosen, and for a network whose answer is no map of scores.
    """
    said, maps = _traced(lens, image)
    scores = first_output(said)
    chosen = None if scores.dim() != 4 else choose(scores.detach()[0].argmax(0).to(torch.uint8).cpu().numpy())
    if chosen is None:
        return [], []
    labels, where = list(chosen[0]), chosen[1].to(scores.device)
    fitting = [stride for stride in sorted(maps, reverse=True) if min(maps[stride].shape[-2:]) >= _PLACES]
    cams = [_first(scores[0, label][where].sum(), maps, [*fitting, *sorted(maps)]) for label in labels]
    found = [cam for cam in cams if cam is not None]
    return (labels, found) if len(found) == len(labels) else ([], [])


def surest(lens: Lens, image: Tensor, label: int | str | None) -> tuple[Tensor, int, float]:
    """The surest box of a detector in one picture (px of the network's input), of that class where one is told: corners, class, score.

    Raises LaminaError where nothing is found, UnknownNameError or DataError for a class that is none.
    """
    wanted = None if label is None else lens.place(label, torch.empty(len(lens.names)))
    with torch.no_grad():
        found: Tensor = first_output(lens.net(lens.prepared(image)))[0].float().cpu()
    found = found[(found[:, 5] >= 0) if wanted is None else (found[:, 5] == wanted)]
    if not len(found):
        raise LaminaError(
            f"The detector finds {'nothing' if wanted is None else f'no {lens.name(wanted)}'} in the picture.",
            "A box was expected, whose score is explained.",
            "Bring another picture, or name another class.",
        )
    best = found[int(found[:, 4].argmax())]
    return best[:4], int(best[5]), float(best[4])


def _traced(lens: Lens, image: Tensor) -> tuple[Any, dict[int, Tensor]]:
    """What the network says of one picture, with the trunk's maps on the way, from which gradients can be taken."""
    net, maps = standing(lens), dict[int, Tensor]()
    assert net is not None

    def leave(_: nn.Module, __: Any, given: dict[int, Tensor]) -> dict[int, Tensor]:
        maps.update(given)
        return {stride: value.clone() for stride, value in given.items()}  # what works in place behind gets a copy

    handle = net.trunk.register_forward_hook(leave)  # type: ignore[union-attr]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            # Gradients start at the picture, so that they reach the maps of frozen weights, too.
            return net(lens.prepared(image).clone().requires_grad_().clone()), maps
    finally:
        handle.remove()


def _first(score: Tensor, maps: dict[int, Tensor], strides: list[int]) -> Float[np.ndarray, "h w"] | None:
    """What is positive of the gradient times the map, summed over channels, of the first stride on which the score depends."""
    for stride in strides:
        (gradient,) = torch.autograd.grad(score, [maps[stride]], allow_unused=True, retain_graph=True)
        if gradient is not None and gradient.isfinite().all():
            cam = (gradient * maps[stride].detach()).sum(1).clamp(min=0)[0]
            return np.asarray(cam.float().cpu().numpy())
    return None
