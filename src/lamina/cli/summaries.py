"""What `lamina summary` shows: the layer table of whatever was named, of an ensemble that of each member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from lamina.cli import opening
from lamina.core.errors import UnknownNameError
from lamina.models import Model, sizes
from lamina.models.summary import Summary
from lamina.tasks import Ensemble

_COLOURS = (1, 3, 4)
_SIDE = 16  # pixels: what has two such sides in front, and colours behind, has its channels last


@dataclass(frozen=True)
class Members:
    """The tables of an ensemble's members, each under its name."""

    tables: tuple[tuple[str, Summary], ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {"members": [{"name": name, **table.to_dict()} for name, table in self.tables]}

    def __rich_console__(self, *_: Any) -> Iterator[Text | Summary]:
        for name, table in self.tables:
            yield Text(name)
            yield table


def summary(named: str, input_shape: str | None, *, model: str | None = None) -> Summary | Members:
    """The layer table of a named network, a model file, a run, or a function that makes a network; of an ensemble one a member.

    `model` (FILE.py:function) makes the network of a file that cannot describe it.
    """
    shape = None if input_shape is None else _shape(input_shape)
    if Path(named).exists() and not named.endswith(".py"):
        opened = opening.open_model(Path(named), model)
        if not isinstance(opened, Ensemble):
            return _table(opened, shape)
        return Members(
            tuple((name, _table(member, shape)) for name, member in zip(opened.names, opened.members, strict=True))
        )
    if model is not None:
        raise UnknownNameError(
            f"--model {model} came, and {named} is no file.",
            "It makes the network of a model file that cannot describe it.",
            f"Leave it out, or look at that alone: lamina summary {model}.",
        )
    made = opening.any_network(named, in_channels=lambda: (shape or (1,))[0])
    if not isinstance(made, str):
        return _table(made if isinstance(made, Model) else Model(made), shape)
    channels, height, width = _of_a_picture(shape or sizes.usual_shape(made))
    return sizes.summary_of(made, (channels, height, width))


def _table(model: Any, shape: tuple[int, ...] | None) -> Summary:
    if getattr(model, "graph", None) is None:  # a network of Keras's kind may well take its channels last
        _refuse_channels_last(shape)
    told: Summary = model.summary(shape, show=False)
    return told


def _shape(text: str) -> tuple[int, ...]:
    sizes_told = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in sizes_told):
        raise UnknownNameError(
            f"--input-shape {text!r} is no shape.", "Channels, height and width were expected.", "Use 1,28,28."
        )
    return tuple(map(int, sizes_told))


def _of_a_picture(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise UnknownNameError(
            f"--input-shape {','.join(map(str, shape))} came.",
            "Channels, height and width of one picture were expected.",
            "Use 3,224,224.",
        )
    _refuse_channels_last(shape)
    return shape


def _refuse_channels_last(shape: tuple[int, ...] | None) -> None:
    if shape is not None and len(shape) == 3 and shape[2] in _COLOURS and min(shape[:2]) >= _SIDE:
        height, width, channels = shape
        raise UnknownNameError(
            f"--input-shape {height},{width},{channels} came.",
            f"Channels come first: it names {height} channels of {width} x {channels} pixels.",
            f"Use {channels},{height},{width}.",
        )
