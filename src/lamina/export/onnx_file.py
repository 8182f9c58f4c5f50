"""A deployable network as ONNX: uint8 pictures in, answers out, with all that stands between."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from lamina.core.errors import LaminaError, MissingExtraError
from lamina.export.deployable import Deployable
from lamina.export.program import program


def to_onnx(deployable: Deployable, *, any_size: bool = True) -> Any:
    """The network as an onnx.ModelProto in float32, convolutions and BatchNorms folded; see `program` for what is open.

    Raises MissingExtraError where the extra `export` is not installed, LaminaError for a network that ONNX cannot express.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("ONNX", "export") from None
    made = program(deployable, any_size=any_size)
    try:
        with _silent():
            told = torch.onnx.export(
                made,
                deployable.example,
                dynamo=True,
                optimize=True,
                verbose=False,
                input_names=list(deployable.inputs),
                output_names=list(deployable.answers),
            )
    except Exception as error:  # the exporter raises nearly anything
        raise LaminaError(
            f"ONNX has no way to express the network ({type(error).__name__}: {str(error).splitlines()[0]}).",
            "Operators that ONNX knows were expected.",
            "Export it as a torch program instead: a path that ends in .pt2.",
        ) from error
    assert told is not None
    return told.model_proto


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter prints, logs and warns of its own parts."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
