"""Where a network begins: the shape, the kind of numbers and the layout of its input."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from typing import Any

import torch

from lamina.core.errors import LaminaError, ShapeError, unknown_name
from lamina.layers.layer import Layer
from lamina.layers.symbol import TO_CHANNELS_FIRST, Call, DataFormat, Shape, Symbol, shown

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}


@dataclass(frozen=True, eq=False, repr=False)
class InputLayer(Layer):
    """An input of a network. `Input` makes it and returns its symbol."""

    shape: Shape
    dtype: str = "float32"
    data_format: DataFormat | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("shape", _checked_shape(self.shape))
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        if self.data_format not in (None, "channels_first", "channels_last"):
            raise unknown_name("data format", self.data_format, ("channels_first", "channels_last"))
        if self.data_format is None and looks_channels_last(self.shape):
            raise channels_last_error("Input", self.shape)
        name = self.given_name
        if name is not None and (not str(name).isidentifier() or keyword.iskeyword(name) or name in ("self", "torch")):
            raise LaminaError(
                f"The input is called {name!r}.",
                "The name of an input becomes an argument of the network's forward, so it must be a Python name.",
                "Use letters, digits and underscores, such as name='image'.",
            )

    def symbol(self) -> Symbol:
        """A new symbol of this input."""
        sizes: Shape = self.shape
        if self.data_format == "channels_last" and len(sizes) == 3:
            sizes = tuple(sizes[axis - 1] for axis in TO_CHANNELS_FIRST[1:])
        data_format = self.data_format or "channels_first"
        return Symbol(Call(self, (), (), None), None, sizes=sizes, dtype=DTYPES[self.dtype], data_format=data_format)


def Input(  # noqa: N802  (Keras's name)
    shape: Shape, dtype: str = "float32", *, name: str | None = None, data_format: DataFormat | None = None
) -> Symbol:
    """The symbol of a network's input, of that shape without the batch; None is an open size.

    Images are (C, H, W); with data_format="channels_last" (H, W, C), as in Keras, and then axes count as there.
    Raises ShapeError for a shape that looks like (H, W, C) without saying so.
    """
    return InputLayer(shape, dtype, data_format, name=name).symbol()


def first_input(layer: Layer, shape: Shape) -> Symbol:
    """The input that a chain beginning with `layer` takes: of that shape, and of the numbers that the layer reads."""
    return Input(shape, str(layer.input_dtype).removeprefix("torch."))


def looks_channels_last(shape: Shape) -> bool:
    """Whether an image shape read as (C, H, W) is probably meant as (H, W, C): last entry 1 or 3, the others large."""
    return len(shape) == 3 and shape[2] in (1, 3) and all(size is None or size >= 8 for size in shape[:2])


def channels_last_error(where: str, shape: Shape) -> ShapeError:
    """The error for a shape that looks like (H, W, C), with both remedies."""
    height, width, channels = shape
    return ShapeError(
        f"{where} has shape {shown(shape)}, which looks like (height, width, channels).",
        "Shapes are torch's, (channels, height, width), unless the input says otherwise.",
        f"Write {shown((channels, height, width))} and give the images in that order, or keep Keras's order by "
        f'layers.Input(shape={shown(shape)}, data_format="channels_last"). (If it is channels first, say '
        'data_format="channels_first".)',
    )


def _checked_shape(shape: Any) -> Shape:
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else None
    wrong = sizes is None or any(
        size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1) for size in sizes
    )
    if sizes is None or wrong:
        raise ShapeError(
            f"Input has shape {shape!r}.",
            "A tuple of positive integers is expected, without the batch; None stands for an open size.",
            "Write for example shape=(784,) or shape=(1, 28, 28).",
        )
    return sizes
