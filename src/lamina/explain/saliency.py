"""Where in a picture an answer comes from: Grad-CAM, by gradients, and occlusion, by covering parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.autograd.graph import GradientEdge

from lamina.core import progress
from lamina.core.errors import DataError, LaminaError
from lamina.data.pictures import Picture
from lamina.explain import located, watching
from lamina.explain.heat import Heat, normalised
from lamina.explain.lens import Lens, Looked, first_output

_BATCH = 32  # covered pictures that are answered at once
_ENDINGS = ("SoftmaxBackward0", "LogSoftmaxBackward0", "SigmoidBackward0")


@dataclass(frozen=True, eq=False)
class Cams:
    """Grad-CAM of several pictures: maps (B h w) as the layer has them, not normalised, and what was answered."""

    maps: Float[np.ndarray, "B h w"]
    layer: str
    places: tuple[int, ...]  # of the answers that the maps are about
    answers: Float[np.ndarray, "B K"]


def grad_cam(model: Any, picture: Picture, *, label: int | str | None = None, layer: str | None = None) -> Heat:
    """Where in the picture an answer comes from, by Grad-CAM (Selvaraju 2017, arXiv:1610.02391, eqs. 1 and 2).

    The gradient of the answer's score (before a softmax or sigmoid), averaged over each channel of a layer's map, is the
    channel's weight; the heat is what is positive of the weighted sum, by its largest value. `label` is a class or number by
    name or place; None is the most probable class, of several numbers the first. `layer` is by default the last map before
    the class layer. Of a detector it is what speaks for the class in its surest box, or its surest of that class.

    `model` is a Model, Classifier, Regressor ..., or what its `deployable()` gave: kept, one picture costs one forward pass and
    the backward pass behind the layer. Nothing in the model changes, and other threads may use it meanwhile. Raises LaminaError
    for a network without maps, UnknownNameError for a layer or class that is not there, DataError for what is no picture.
    """
    lens = Lens.of(model, picture)
    looked = lens.look(picture)
    if lens.is_boxes:
        return _of_box(lens, looked, label, layer)
    cams = cams_of(lens, looked.image, labels=None if label is None else [label], layer=layer)
    return _heat(lens, looked, cams.maps[0], cams.answers[0], cams.places[0], method="Grad-CAM", layer=cams.layer)


def _of_box(lens: Lens, looked: Looked, label: int | str | None, layer: str | None) -> Heat:
    if layer is not None:
        raise LaminaError(
            f"The layer {layer} came with a detector.",
            "Its boxes are explained at the map of its trunk that fits their size.",
            "Leave the layer out.",
        )
    if located.standing(lens) is None:
        raise watching.no_maps(lens.net)
    box, place, score = located.surest(lens, looked.image, label)
    cam = located.box_cam(lens, looked.image, box, place)
    if cam is None:
        raise watching.no_maps(lens.net)
    answers = np.zeros(place + 1, np.float32)
    answers[place] = score
    return _heat(lens, looked, cam, answers, place, method="Grad-CAM of a box")


def cams_of(
    lens: Lens, images: UInt8[Tensor, "B C H W"], *, labels: Sequence[int | str] | None = None, layer: str | None = None
) -> Cams:
    """Grad-CAM of pictures as the network takes them, for a label each (None: the most probable), in one pass for all."""
    net, inputs = lens.net, lens.prepared(images)
    maps, kept = watching.Maps(net), list[Tensor]()
    if layer is not None:
        watching.found_layer(net, layer)

    def leave(name: str, module: torch.nn.Module, result: Any) -> Any:
        if layer is None:
            maps.note(name, module, result)
        elif name == layer:
            kept.append(watching.first_tensor(result, name))
            # What works in place behind it gets a copy, so that the map stays what the layer gave.
            return kept[-1].clone() if isinstance(result, Tensor) else None
        return None

    with torch.inference_mode(False), torch.enable_grad(), watching.hooked(net, leave):
        # Gradients start at the picture, so that they reach the map in a network whose weights are all frozen, too.
        output = first_output(net(inputs.clone().requires_grad_().clone()))
        answers = lens.answers(output)
        if not answers.isfinite().all():
            raise LaminaError(
                "The network's answer is not finite.",
                "Numbers were expected.",
                "Training has probably diverged: train again with a lower learning rate.",
            )
        if labels is None:
            places = [lens.place(None, row) for row in answers]
        else:
            places = [lens.place(label, row) for label, row in zip(labels, answers, strict=True)]
        if layer is None:
            name, chosen = maps.last(net)
        elif not kept:
            raise watching.unused(layer)
        else:
            name, chosen = layer, kept[-1]
        if chosen.dim() != 4:
            raise LaminaError(
                f"The layer {name} gives {tuple(chosen.shape[1:])} for a picture.",
                "Maps (channels, height, width) were expected.",
                f"Name a layer before it: {', '.join(name for name, _ in watching.maps_of(net, inputs[:1]).found[-4:])}.",
            )
        gradient = _gradient(output, places, chosen)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # eq. 1
    cam = (weights * chosen.detach()).sum(dim=1).clamp(min=0)  # eq. 2
    return Cams(cam.float().cpu().numpy(), name, tuple(places), answers.numpy())


def _gradient(output: Tensor, places: Sequence[int], chosen: Tensor) -> Tensor:
    """Of the score at each picture's place by the map. The score is what a last softmax or sigmoid was given."""
    scores: Tensor | GradientEdge = output
    direction = torch.zeros_like(output)
    direction[range(len(places)), list(places)] = 1
    ending = output.grad_fn
    if ending is not None and ending.name() in _ENDINGS:
        node, number = ending.next_functions[0]
        if node is not None:
            scores = GradientEdge(node, number)
    (gradient,) = torch.autograd.grad(scores, [chosen], grad_outputs=direction, allow_unused=True)
    if gradient is None:
        raise LaminaError(
            "The answer does not depend on that layer.",
            "A layer on the way to the answer was expected.",
            "Name another one.",
        )
    found: Tensor = gradient
    return found


def occlusion(
    model: Any,
    picture: Picture,
    patch_px: int | None = None,
    stride_px: int | None = None,
    *,
    label: int | str | None = None,
) -> Heat:
    """Where in the picture an answer comes from, by covering it: how far the answer falls (Zeiler & Fergus 2014, section 4.2).

    A grey square of `patch_px` moves over the network's input in steps of `stride_px`, to its edges (None: a seventh of the
    shorter side, and half of that). The heat of a pixel is the mean fall of the probability under the squares that covered it, by the
    largest; of a number it is how far it changes. It takes any network, and as many answers as there are places. Raises
    DataError for sizes that do not fit, and as `grad_cam` does.
    """
    lens = Lens.of(model, picture)
    if lens.is_boxes:
        raise LaminaError(
            "A detector came.",
            "Occlusion asks for answers about whole pictures.",
            "Take Grad-CAM, which explains a box.",
        )
    looked = lens.look(picture)
    height, width = looked.image.shape[-2:]
    patch = max(1, min(height, width) // 7) if patch_px is None else patch_px
    stride = max(1, patch // 2) if stride_px is None else stride_px
    for name, value in (("patch_px", patch), ("stride_px", stride)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= min(height, width):
            raise DataError(
                f"{name} is {value!r}.",
                f"Pixels of the network's input, which is {height} x {width}, were expected: 1 to {min(height, width)}.",
                f"Pass for example {name}={max(1, min(height, width) // 7)}.",
            )
    whole = lens.answer(looked.image)[0]
    place = lens.place(label, whole)
    tops, lefts = _steps(height, patch, stride), _steps(width, patch, stride)
    corners = [(top, left) for top in tops for left in lefts]
    falls = np.empty(len(corners), np.float32)
    for start in range(0, len(corners), _BATCH):
        progress.step(f"covering parts of the picture: {start:,} of {len(corners):,}")
        some = corners[start : start + _BATCH]
        falls[start : start + len(some)] = (
            float(whole[place]) - _covered(lens, looked.image, some, patch)[:, place].numpy()
        )
    if not lens.is_classes and lens.names:
        falls = np.abs(falls)
    total, covers = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for (top, left), fall in zip(corners, falls, strict=True):
        total[top : top + patch, left : left + patch] += fall
        covers[top : top + patch, left : left + patch] += 1
    method = f"Occlusion, {patch} px every {stride} px"
    return _heat(lens, looked, total / np.maximum(covers, 1), whole.numpy(), place, method=method)


def _covered(lens: Lens, image: Tensor, corners: Sequence[tuple[int, int]], patch: int) -> Tensor:
    """The answers where a square with each of these corners is covered, by what the network takes for nothing: its mean."""
    images = lens.prepared(image).repeat(len(corners), 1, 1, 1)
    nothing = 0.0 if lens.preprocess is not None else float(images[0].mean())
    for row, (top, left) in enumerate(corners):
        images[row, :, top : top + patch, left : left + patch] = nothing
    with torch.no_grad():
        return lens.answers(first_output(lens.net(images)))


def _steps(length: int, patch: int, stride: int) -> list[int]:
    """Where squares begin, the last at the edge."""
    return sorted({*range(0, length - patch + 1, stride), length - patch})


def _heat(
    lens: Lens,
    looked: Looked,
    values: Float[np.ndarray, "h w"],
    answers: Float[np.ndarray, " K"],
    place: int,
    *,
    method: str,
    layer: str = "",
) -> Heat:
    return Heat(
        normalised(values),
        looked.shown,
        looked.window,
        lens.name(place),
        float(answers[place]),
        method,
        layer,
        is_number=not lens.is_classes,
    )
