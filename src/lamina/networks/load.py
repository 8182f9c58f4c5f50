"""Fills a network from published parameter files, without running any code that such a file may hold."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import FileFormatError

# What numpy itself needs to rebuild an array, under the names of its versions 1 and 2. Nothing else is ever looked up.
_NUMPY = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}

_BOOK = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc1", "fc2")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NUMPY[module, name]
        except KeyError:
            raise FileFormatError(
                f"The pickle asks for {module}.{name}.",
                "Only dicts of numpy arrays are admitted: anything else could run code.",
                "Do not open this file with pickle either, unless you trust its author.",
            ) from None


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The numpy arrays of a pickled dict. Raises FileFormatError for anything else, before any of it runs."""
    source = Path(path)
    try:
        content = _ArrayUnpickler(io.BytesIO(source.read_bytes()), encoding="latin1").load()
    except FileNotFoundError:
        raise FileFormatError(
            f"There is no file {source}.", "A parameter file was expected.", "Check the path."
        ) from None
    except FileFormatError:
        raise
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise FileFormatError(
            f"{source} cannot be read as a pickle ({error}).",
            "It is damaged, cut short, or no pickle.",
            "Copy it anew.",
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise FileFormatError(
            f"{source} holds {type(content).__name__}, not named arrays.",
            "A dict of numpy arrays was expected.",
            "Pass the parameter file itself.",
        )
    return content


def book_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A state for DeepConvNet from the parameter file of "Deep Learning from Scratch", chapter 8.

    The book's affine weights are (in, out), torch's (out, in). Its dropout is not inverted: at test time it halves what it let
    pass, so the input of the last layer is halved. Ours is inverted, and fc2's weight is halved instead. (The halving of the
    logits themselves changes no class; to keep the book's probabilities too, weight and bias are halved once more.)
    """
    arrays = read_arrays(path)
    missing = [f"{kind}{i}" for i in range(1, 9) for kind in "Wb" if f"{kind}{i}" not in arrays]
    if missing:
        raise FileFormatError(
            f"{path} lacks {', '.join(missing)}; it holds {', '.join(sorted(arrays)[:8])}.",
            "The book's file has W1 .. W8 and b1 .. b8.",
            "Pass deep_convnet_params.pkl of the book's repository.",
        )
    state = {}
    for index, layer in enumerate(_BOOK, start=1):
        weight, bias = (torch.from_numpy(arrays[f"{kind}{index}"].copy()).float() for kind in "Wb")
        if layer.startswith("fc"):
            weight = weight.T.contiguous()
        if layer == "fc2":
            weight, bias = weight / 4, bias / 2
        state[f"{layer}.weight"], state[f"{layer}.bias"] = weight, bias
    return state
