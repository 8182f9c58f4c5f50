"""What the layers of a network see in a picture: edges first, then textures, then parts of things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.data.pictures import Picture
from lamina.explain import watching
from lamina.explain.drawn import Drawn, mosaic, stretched
from lamina.explain.lens import Lens

_DEPTHS = ("edges", "textures", "parts")
_IN_ROW = 8


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """The map of one layer (C h w), and its channels by strength, the strongest first: the mean of what is absolute."""

    layer: str
    stride: int
    maps: Float[np.ndarray, "C h w"]

    def __repr__(self) -> str:
        channels, height, width = self.maps.shape
        return f"LayerMaps({self.layer}, stride {self.stride}: {channels} channels of {height} x {width})"

    @property
    def strength(self) -> Float[np.ndarray, " C"]:
        """How strong each channel is."""
        return np.asarray(np.abs(self.maps).mean(axis=(1, 2)))

    @property
    def strongest(self) -> list[int]:
        """The channels, the strongest first."""
        return [int(channel) for channel in np.argsort(-self.strength, kind="stable")]


@dataclass(frozen=True, eq=False)
class FeatureMaps(Drawn):
    """What layers of a network gave for one picture; `seen` is the picture as the network takes it."""

    layers: tuple[LayerMaps, ...]
    seen: Image.Image
    names: tuple[str, ...] = ()  # what each layer is about, where they are an overview
    channels: int = 16

    def __repr__(self) -> str:
        return f"FeatureMaps({', '.join(map(repr, self.layers))})"

    def __getitem__(self, layer: str) -> LayerMaps:
        return next(each for each in self.layers if each.layer == layer)

    def figure(self) -> Figure:
        """The picture, and of each layer the strongest channels, each scaled by itself, light where it is strong."""
        several = len(self.layers) > 1
        columns = _IN_ROW if several else min(_IN_ROW, max(1, round((self.channels * 1.3) ** 0.5)))
        per_layer = columns if several else self.channels
        rows = [-(-min(per_layer, len(each.maps)) // columns) for each in self.layers]
        ratio = self.seen.height / self.seen.width
        height = sum(rows) * 0.85 * ratio + 0.35 * len(rows)
        figure = Figure(figsize=(2.0 + 0.85 * columns, max(height, 2.0 * ratio + 0.3)), layout="constrained")
        grid = figure.add_gridspec(len(rows), 2, width_ratios=[2.0, 0.85 * columns], height_ratios=rows)
        axes = figure.add_subplot(grid[:, 0])
        axes.imshow(self.seen, cmap="gray", vmin=0, vmax=255)
        axes.set_title("the picture", fontsize=8)
        axes.set_axis_off()
        for row, each in enumerate(self.layers):
            axes = figure.add_subplot(grid[row, 1])
            shown = each.strongest[:per_layer]
            small = max(each.maps.shape[1:]) < 16
            mosaic(
                axes,
                list(stretched(each.maps[shown])),
                columns=columns,
                names=[f"{k}" for k in shown],
                smooth=not small,
            )
            about = f"{self.names[row]}: " if self.names else ""
            size = f"{each.maps.shape[1]} x {each.maps.shape[2]}"
            axes.set_title(f"{about}{each.layer}, {len(shown)} of {len(each.maps)} channels of {size}", fontsize=8)
        return figure


def feature_maps(model: Any, picture: Picture, layer: str | int | None = None, *, channels: int = 16) -> FeatureMaps:
    """The maps that a layer gives for a picture, the strongest channels first.

    `layer` is a name, or a stride: the last map of that resolution. None is an overview of three depths, which show edges, textures
    and parts. Raises UnknownNameError, which lists the names, and LaminaError for a layer or network without maps.
    """
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise LaminaError(f"channels is {channels!r}.", "A number of at least 1 was expected.", "Pass 16.")
    lens = Lens.of(model, picture)
    looked = lens.look(picture)
    inputs = lens.prepared(looked.image)
    maps = watching.maps_of(lens.net, inputs)
    seen = (
        looked.shown.resize((inputs.shape[-1], inputs.shape[-2])) if lens.preprocess is None else _seen(looked.image[0])
    )
    if layer is None:
        chosen = overview(maps, inputs)
        if not chosen:
            raise watching.no_maps(lens.net)
        names = _DEPTHS if len(chosen) == len(_DEPTHS) else ()
        return FeatureMaps(tuple(_maps(name, value, inputs) for name, value in chosen), seen, names, channels)
    if isinstance(layer, int) and not isinstance(layer, bool):
        strides = maps.by_stride(inputs)
        if layer not in strides:
            raise UnknownNameError(
                f"The network has no map of stride {layer}.",
                f"It has: {', '.join(f'{stride} ({name})' for stride, (name, _) in strides.items()) or 'none'}.",
                "Use one of these, or a layer's name.",
            )
        return FeatureMaps((_maps(*strides[layer], inputs),), seen, (), channels)
    value = watching.layer_output(lens.net, inputs, str(layer))
    if value.dim() != 4:
        raise LaminaError(
            f"The layer {layer} gives {tuple(value.shape[1:])} for a picture.",
            "Maps (channels, height, width) were expected.",
            f"These give some: {', '.join(name for name, _ in maps.found) or 'none'}.",
        )
    return FeatureMaps((_maps(str(layer), value, inputs),), seen, (), channels)


def overview(maps: watching.Maps, inputs: Tensor) -> list[tuple[str, Tensor]]:
    """Three maps by depth: the first resolution's, the middle one's and the last; fewer where a network has fewer."""
    ends = list(maps.by_stride(inputs).values())
    chosen = ends if len(ends) >= len(_DEPTHS) else maps.found
    if len(chosen) <= len(_DEPTHS):
        return list(chosen)
    return [chosen[0], chosen[(len(chosen) - 1) // 2], chosen[-1]]


def _maps(name: str, value: Tensor, inputs: Tensor) -> LayerMaps:
    return LayerMaps(name, watching.stride_of(value, inputs), value[0].float().cpu().numpy())


def _seen(image: Tensor) -> Image.Image:
    pixels = image.numpy()
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
