"""The arguments of layers checked where they are given, so that an error names the layer and not a line of torch."""

from __future__ import annotations

from typing import Any, NoReturn

from lamina.core.errors import LaminaError
from lamina.layers.layer import Layer

Pair = tuple[int, int]
Padding = str | int | Pair


def refuse(layer: Layer, argument: str, value: Any, expected: str, remedy: str) -> NoReturn:
    """Raises the error for an argument that makes no sense."""
    raise LaminaError(f"{type(layer).__name__} got {argument}={value!r}.", expected, remedy)


def is_count(value: Any, least: int = 1) -> bool:
    """Whether `value` is an integer of at least `least` (True and False are none)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def positive(layer: Layer, **counts: Any) -> None:
    """Each argument must be a positive integer."""
    for argument, value in counts.items():
        if not is_count(value):
            refuse(layer, argument, value, "A positive integer is expected.", f"Write for example {argument}=32.")


def fraction(layer: Layer, **rates: Any) -> None:
    """Each argument must be a number from 0 to 1."""
    for argument, value in rates.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
            refuse(layer, argument, value, "A number from 0 to 1 is expected.", f"Write for example {argument}=0.5.")


def pair(layer: Layer, argument: str, value: Any, *, least: int = 1) -> Pair:
    """One integer for both axes, or one for rows and one for columns."""
    if is_count(value, least):
        return (value, value)
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(is_count(entry, least) for entry in value):
        return (value[0], value[1])
    return refuse(
        layer,
        argument,
        value,
        f"An integer of at least {least} is expected, or two of them (rows, columns).",
        f"Write for example {argument}={max(least, 2)}.",
    )


def padding(layer: Layer, value: Any) -> str | Pair:
    """ "same", "valid", or the zeros on each side as one integer or two."""
    if isinstance(value, str):
        if value.lower() in ("same", "valid"):
            return value.lower()
        refuse(layer, "padding", value, '"same", "valid" or a number is expected.', 'Write for example padding="same".')
    return pair(layer, "padding", value, least=0)
