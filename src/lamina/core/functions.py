"""Functions that people bring along, called the way this library calls them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def outputs_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one of (outputs, targets). One whose parameters are Keras's (y_true, y_pred) gets them in that order."""
    try:
        names = list(inspect.signature(function).parameters)[:2]
    except (TypeError, ValueError):  # a builtin
        return function
    if names != ["y_true", "y_pred"]:
        return function

    @functools.wraps(function)
    def swapped(outputs: Any, targets: Any) -> Any:
        return function(targets, outputs)

    return swapped
