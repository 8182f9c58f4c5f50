"""Networks beside one another: how many parameters, how much work and memory, how deep, how much of the picture they see."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from rich import box
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.models.summary import Summary, counted, counted_bytes, summarize
from lamina.networks import weights

_IMAGENET_PX, _CIFAR_PX, _DIGIT_PX = 224, 32, 28
_STANDING_PX, _STANDING_CLASSES = 320, 10  # of detectors and segmenters where nobody says
_COLUMNS = ("network", "input", "params", "mult-adds", "depth", "sees px", "memory", "training", "top-1 %")
# Where the terminal is narrow: first goes what is nearest to the others.
_FEWER = (range(9), (0, 1, 2, 3, 4, 5, 6, 8), (0, 2, 3, 4, 5, 6, 8), (0, 2, 3, 4, 6, 8), (0, 2, 3, 4, 8))


@dataclass(frozen=True)
class Size:
    """One network at one picture size. `depth` counts layers with weights on the longest way; `sees_px` is the receptive field
    (rows, columns) of its last map; bytes are of one picture in float32 (see `Summary`); `top1` is the published accuracy of
    its best known weights in percent, on the data set `measured_on`, for pictures of their own size.
    """

    network: str
    input_shape: tuple[int, int, int]
    parameters: int
    multiply_adds: int | None
    depth: int
    sees_px: tuple[int, int] | None
    activation_bytes: int | None
    training_bytes: int | None
    top1: float | None
    measured_on: str | None


@dataclass(frozen=True)
class Sizes:
    """What `compare` returns: a table in a terminal, a dict for JSON."""

    rows: tuple[Size, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {"networks": [asdict(row) for row in self.rows]}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | str]:
        endless = options.update(width=10_000)
        for columns in _FEWER:
            table = self._table(columns)
            if Measurement.get(console, endless, table).maximum <= options.max_width:
                break
        yield table
        yield self._caption(columns)

    def _table(self, columns: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for index in columns:
            justify: Literal["left", "right"] = "left" if index < 2 else "right"
            table.add_column(_COLUMNS[index], justify=justify, no_wrap=True, overflow="ellipsis")
        for row in self.rows:
            cells = _cells(row)
            table.add_row(*(cells[index] for index in columns))
        return table

    @property
    def caption(self) -> str:
        """What the columns mean."""
        return self._caption(range(len(_COLUMNS)))

    def _caption(self, columns: Sequence[int]) -> str:
        """What these columns mean, and which there was no room for."""
        measured = sorted({row.measured_on for row in self.rows if row.measured_on})
        meanings = {
            "depth": "layers with weights on the longest way",
            "memory": "activations of one picture in float32",
            "training": "what training holds of them",
            "top-1 %": f"of the best published weights, on {' and '.join(measured)}" if measured else "",
            "no room for": ", ".join(name for column, name in enumerate(_COLUMNS) if column not in columns),
        }
        shown = [_COLUMNS[column] for column in columns]
        told = [(name, text) for name, text in meanings.items() if text and (name in shown or name not in _COLUMNS)]
        return "; ".join(f"{name}: {text}" for name, text in told) + "."

    def __str__(self) -> str:
        stream = io.StringIO()
        width = shutil.get_terminal_size(fallback=(110, 40)).columns
        Console(file=stream, width=width, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())

    __repr__ = __str__


def compare(names: Sequence[str], *, size: int | None = None) -> Sizes:
    """The sizes of networks by name, for square pictures of `size` px, or each for the pictures that it was made for.

    Nothing is computed, and no weights are drawn. Raises UnknownNameError, and ShapeError for a size that a network cannot take.
    """
    if not names:
        raise LaminaError(
            "No network was named.", "One or more names were expected.", 'Try compare(["vgg16", "resnet50"]).'
        )
    if size is not None and size < 1:
        raise LaminaError(f"size is {size}.", "A number of pixels was expected.", "Pass 224.")
    return Sizes(tuple(_measured(name, size) for name in dict.fromkeys(names)))


def usual_shape(name: str) -> tuple[int, int, int]:
    """(channels, height, width) of the pictures that a named network was made for.

    They are those of its published weights; else 224 px for 1,000 classes, and 32 px in colour or 28 px in grey for few. Detectors
    and segmenters take any; 320 px are usual.
    """
    if networks.stands(name):
        return 3, _STANDING_PX, _STANDING_PX
    taken = networks.arguments(name)
    defaults = {argument: networks.default(name, argument) for argument in ("in_channels", "num_classes", "image_size")}
    channels = int(defaults["in_channels"] or 3)
    if "image_size" in taken and defaults["image_size"]:
        return channels, int(defaults["image_size"]), int(defaults["image_size"])
    if weights.names(name):
        return channels, *weights.get(name).preprocess.size
    few = defaults["num_classes"] is not None and int(defaults["num_classes"]) <= 100
    side = (_CIFAR_PX if channels == 3 else _DIGIT_PX) if few else _IMAGENET_PX
    return channels, side, side


def summary_of(name: str, shape: tuple[int, int, int]) -> Summary:
    """The summary of a named network for pictures of that shape, made without drawing its weights where that is possible."""
    with contextlib.nullcontext() if networks.stands(name) else torch.device("meta"):  # of anchors values are looked at
        net = created(name, shape)
    return summarize(net, [shape])


def created(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """A named network for pictures of that shape, with its own number of classes, or 10 where it has none."""
    if networks.stands(name):
        return networks.create(name, num_classes=_STANDING_CLASSES, in_channels=shape[0])
    image_size = shape[1] if "image_size" in networks.arguments(name) else None
    return networks.create(name, in_channels=shape[0], image_size=image_size)


def _measured(name: str, size: int | None) -> Size:
    channels, height, width = usual_shape(name)
    shape = (channels, size or height, size or width)
    summary = summary_of(name, shape)
    fields = [row.receptive_field for row in summary.rows if row.receptive_field is not None]
    maps = [(rows, columns) for rows, columns in fields if rows is not None and columns is not None]
    best = weights.get(name) if weights.names(name) else None
    return Size(
        name,
        shape,
        summary.parameters,
        summary.multiply_adds,
        summary.depth,
        maps[-1] if maps else None,
        summary.activation_bytes,
        summary.training_bytes,
        None if best is None else best.top1,
        None if best is None or best.top1 is None else best.trained_on,
    )


def _cells(row: Size) -> tuple[str, ...]:
    seen = "-" if row.sees_px is None else " x ".join(map(str, dict.fromkeys(row.sees_px)))
    return (
        row.network,
        "x".join(map(str, row.input_shape)),
        f"{row.parameters:,}",
        "-" if row.multiply_adds is None else counted(row.multiply_adds),
        str(row.depth),
        seen,
        "-" if row.activation_bytes is None else counted_bytes(row.activation_bytes),
        "-" if row.training_bytes is None else counted_bytes(row.training_bytes),
        "-" if row.top1 is None else f"{row.top1:.2f}",
    )
