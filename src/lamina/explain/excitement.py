"""Which pictures excite one channel of a layer most, and where in them (after Zeiler & Fergus 2014, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from lamina.core import progress
from lamina.core.errors import DataError, LaminaError
from lamina.explain import watching
from lamina.explain.drawn import Drawn
from lamina.explain.lens import Lens
from lamina.explain.seen import Seen, drawable, file_name, seen
from lamina.structures import draw

# Where these are flat no gradient comes through, though what is given to them matters.
_FLAT = (nn.ReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Threshold)


@dataclass(frozen=True, eq=False)
class Excited:
    """One picture: its place in the data, how strong the channel's strongest place is, and the pixels on which that depends.

    `image` is the picture as the network sees it (uint8 C H W), `box` (left, top, right, bottom) lies in it.
    """

    index: int
    value: float
    image: UInt8[np.ndarray, "C H W"]
    box: tuple[int, int, int, int]
    source: str = ""
    label: str = ""

    @property
    def patch(self) -> UInt8[np.ndarray, "C h w"]:
        """The part of the picture that the strongest place sees."""
        left, top, right, bottom = self.box
        return self.image[:, top:bottom, left:right]


@dataclass(frozen=True, eq=False)
class Exciting(Drawn):
    """The pictures that excite a channel most, the strongest first, of `looked_at` that were tried."""

    layer: str
    channel: int
    pictures: tuple[Excited, ...]
    looked_at: int

    def __repr__(self) -> str:
        return f"Exciting({self.layer}, channel {self.channel}: {len(self.pictures)} of {self.looked_at:,} pictures)"

    def figure(self) -> Figure:
        """The pictures with a frame around what excites, and below each the part within the frame."""
        columns = min(len(self.pictures), 6)
        rows = -(-len(self.pictures) // columns)
        ratio = self.pictures[0].image.shape[1] / self.pictures[0].image.shape[2]
        figure = Figure(figsize=(1.25 * columns, (2.5 * ratio + 0.3) * rows + 0.3), layout="constrained")
        figure.suptitle(
            f"{self.layer}, channel {self.channel}: the strongest of {self.looked_at:,} pictures", fontsize=8
        )
        for place, one in enumerate(self.pictures):
            row, column = divmod(place, columns)
            left, top, right, bottom = one.box
            axes = figure.add_subplot(2 * rows, columns, 2 * row * columns + column + 1)
            axes.imshow(draw.picture(one.image), cmap="gray", vmin=0, vmax=255)
            for color, width in (("black", 2.4), ("white", 1.0)):  # seen on any ground
                corner, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
                axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=width, clip_on=False))
            name = draw_name(one)
            axes.set_title(f"{name}{one.value:.3g}", fontsize=6, parse_math=False, pad=2)
            axes.set_axis_off()
            axes = figure.add_subplot(2 * rows, columns, (2 * row + 1) * columns + column + 1)
            axes.imshow(draw.picture(one.patch), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
        return figure


def draw_name(one: Excited) -> str:
    """What stands above a picture: its class, or its file, shortened."""
    told = one.label or one.source
    return f"{told[:15]}{'…' if len(told) > 15 else ''} " if told else ""


def exciting(
    model: Any, data: Any, layer: str | None = None, channel: int = 0, *, count: int = 12, limit: int = 2000
) -> Exciting:
    """The `count` pictures of the data in which one channel of a layer is strongest, and where in them.

    The frame holds the pixels on which the strongest place depends, found by its gradient: its receptive field, or what of it
    reached the place; activations that are flat there (a ReLU below 0, a ReLU6 above 6) count as if they were not. `data` is
    whatever the model's `predict` takes; at most `limit` pictures of it are looked at, evenly. `layer` is by default the last map
    before the class layer. Raises UnknownNameError, which
    lists the layers, DataError for a channel that is not there.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise LaminaError(f"count is {count!r}.", "A number of pictures was expected.", "Pass 12.")
    lens = Lens.of(model, _one(data))
    if layer is not None:
        watching.found_layer(lens.net, layer)
    some = seen(model, lens, data, limit=limit)
    if layer is None:
        layer = watching.maps_of(lens.net, lens.prepared(some.images[:1])).last(lens.net)[0]
    strongest: list[tuple[float, int]] = []
    for start, images in some.batches():
        progress.step(f"looking at pictures: {start:,} of {len(some):,}")
        value = watching.layer_output(lens.net, lens.prepared(images), layer)
        _check(channel, value, layer)
        tops = value[:, channel].reshape(len(value), -1).amax(1).tolist()
        strongest = sorted(
            [*strongest, *((top, start + row) for row, top in enumerate(tops))], key=lambda pair: -pair[0]
        )
        strongest = strongest[:count]
    found = tuple(_excited(lens, some, row, value, layer, channel) for value, row in strongest)
    return Exciting(layer, channel, found, len(some))


def _one(data: Any) -> Any:
    return data[0] if isinstance(data, np.ndarray | Tensor) and data.ndim == 4 and len(data) else None


def _check(channel: int, value: Tensor, layer: str) -> None:
    if (
        value.dim() < 2
        or isinstance(channel, bool)
        or not isinstance(channel, int)
        or not 0 <= channel < value.shape[1]
    ):
        raise DataError(
            f"channel is {channel!r}.",
            f"{layer} has {value.shape[1] if value.dim() > 1 else 'no'} channels, counted from 0.",
            "Pass one of these.",
        )


def _excited(lens: Lens, some: Seen, row: int, value: float, layer: str, channel: int) -> Excited:
    image = some.images[row]
    label = ""
    if some.labels is not None and some.classes:
        label = some.classes[int(some.labels[row])]
    return Excited(
        int(some.places[row]),
        float(value),
        drawable(image).numpy(),
        _field(lens, image, layer, channel),
        file_name(some.sources, row),
        label,
    )


def _field(lens: Lens, image: Tensor, layer: str, channel: int) -> tuple[int, int, int, int]:
    """The smallest box around the pixels on which the channel's strongest place depends; the whole picture where none does."""
    kept: list[Tensor] = []
    handles = []
    for module in lens.net.modules():
        if isinstance(module, _FLAT):
            module.inplace = False  # of the lens's twin
            handles.append(module.register_forward_hook(_with_slope))
    handles.append(  # the last one, so that it is given what the others made
        watching.found_layer(lens.net, layer).register_forward_hook(
            lambda _, __, result: kept.append(watching.first_tensor(result, layer).clone())
        )
    )
    inputs = lens.prepared(image[None]).clone().requires_grad_()
    try:
        with torch.enable_grad():
            lens.net(inputs.clone())
            places = kept[-1][0, channel].reshape(-1)
            # One place, where several are equally strong.
            (gradient,) = torch.autograd.grad([places[places.argmax()]], [inputs], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    height, width = image.shape[-2:]
    if gradient is None:
        return 0, 0, width, height
    touched = (gradient[0] != 0).any(dim=0)
    rows, columns = touched.any(dim=1).nonzero().flatten(), touched.any(dim=0).nonzero().flatten()
    if not len(rows):
        return 0, 0, width, height
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _with_slope(_: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> Tensor:
    """The same values, with a gradient of 1 by what the activation was given."""
    return result.detach() + (inputs[0] - inputs[0].detach())
