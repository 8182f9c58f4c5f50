"""Reads files of weights of any usual kind as tensors by name, without running code that such a file may hold.

The kind is told by a file's first bytes, not by its ending: safetensors (also a model saved by lamina), .npz, what torch.save
writes (.pth, .pt, .th, .tar), and pickled arrays (the parameters of "Deep Learning from Scratch").
"""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import FileFormatError
from lamina.core.sealed import digest, header_of, tensors_of

_TORCH_LEGACY = (
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6 began with a pickled number of its own
)
_WRAPPED = ("state_dict", "model_state_dict", "model", "net")  # under which training scripts keep the state
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, and of torch.compile
_BOOK = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc1", "fc2")

# What numpy itself needs to rebuild an array, under the names of its versions 1 and 2. Nothing else is ever looked up.
_NUMPY = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file by name, in host memory.

    A state that a script has wrapped ("state_dict", "model") is unwrapped, and the prefixes of DataParallel and torch.compile
    are taken off. Raises FileFormatError, which says whether the file is damaged, foreign, or would run code.
    """
    source = Path(path)
    if not source.is_file():
        raise FileFormatError(
            f"{source} is {'a folder' if source.is_dir() else 'not there'}.",
            "A file of weights was expected.",
            "Name the file in it." if source.is_dir() else "Check the path.",
        )
    with source.open("rb") as stream:
        head = stream.read(512)
    if head[:2] == b"PK":
        return _of_zip(source)
    if head.startswith(_TORCH_LEGACY):
        return _of_torch(source)
    if (
        head[:1] == b"\x80" and head[8:9] != b"{"
    ):  # in one file of 32 a safetensors length begins so, but a brace follows
        arrays = read_arrays(source)
        return _book(arrays) if set(arrays) == set(_book_keys()) else _tensors(arrays, source)
    if head[8:9] == b"{":
        return _of_safetensors(source)
    raise _foreign(source, head)


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
    missing = [key for key in _book_keys() if key not in arrays]
    if missing:
        raise FileFormatError(
            f"{path} lacks {', '.join(missing)}; it holds {', '.join(sorted(arrays)[:8])}.",
            "The book's file has W1 .. W8 and b1 .. b8.",
            "Pass deep_convnet_params.pkl of the book's repository.",
        )
    return _book(arrays)


def _book_keys() -> list[str]:
    return [f"{kind}{index}" for index in range(1, 9) for kind in "Wb"]


def _book(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    state = {}
    for index, layer in enumerate(_BOOK, start=1):
        weight, bias = (torch.from_numpy(arrays[f"{kind}{index}"].copy()).float() for kind in "Wb")
        if layer.startswith("fc"):
            weight = weight.T.contiguous()
        if layer == "fc2":
            weight, bias = weight / 4, bias / 2
        state[f"{layer}.weight"], state[f"{layer}.bias"] = weight, bias
    return state


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


def _of_safetensors(source: Path) -> dict[str, Tensor]:
    data = source.read_bytes()
    header = header_of(data)
    try:
        tensors = tensors_of(data)
    except ValueError as error:
        raise _damaged(source, str(error)) from error
    header = header or {}
    if header.get("format") == "lamina checkpoint":
        raise FileFormatError(
            f"{source} is a checkpoint: it holds what a run needs to go on.",
            "A file of weights, or a model file, was expected.",
            "Take best.safetensors or last.safetensors beside it.",
        )
    sealed = header.get("format") == "lamina"
    if sealed and digest(header.get("version", ""), header.get("model", ""), tensors) != header.get("sha256"):
        raise _damaged(source, "its content does not give the hash that its header holds")
    return tensors if sealed else _unwrapped(tensors, source)


def _of_zip(source: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _damaged(source, str(error)) from error
    if any(entry.endswith("/constants.pkl") for entry in entries) and any("/code/" in entry for entry in entries):
        raise FileFormatError(
            f"{source} is a TorchScript archive: a program, not a state.",
            "Tensors by name were expected.",
            "If you trust it: torch.save(torch.jit.load(path).state_dict(), 'state.pth'), and pass that file.",
        )
    if entries and all(entry.endswith(".npy") for entry in entries):
        try:
            with np.load(source, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # a damaged one fails in any way it likes
            raise _damaged(source, str(error)) from error
        return _tensors(arrays, source)
    return _of_torch(source)


def _of_torch(source: Path) -> dict[str, Tensor]:
    try:
        with source.open("rb") as stream:
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None and "WeightsUnpickler" not in str(error):
            raise _damaged(source, str(error).splitlines()[0]) from error
        raise FileFormatError(
            f"{source} holds more than tensors{f' ({named[1]})' if named else ''}: reading it would run code that it names.",
            "The state of a network, as torch.save(net.state_dict(), path) writes it, was expected.",
            "If you trust its author: net = torch.load(path, weights_only=False), and save net.state_dict() to a new file.",
        ) from error
    except Exception as error:  # a damaged one fails in any way it likes
        raise _damaged(source, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return _unwrapped(content, source)


def _unwrapped(content: Any, source: Path) -> dict[str, Tensor]:
    """The state inside: out of the dict that a training script kept it in, and without the prefixes that wrappers put on."""
    while isinstance(content, Mapping):
        inner = next((name for name in _WRAPPED if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    named = content if isinstance(content, Mapping) else {}
    state = {key: value.detach() for key, value in named.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not state or len(state) < len(named):
        others = ", ".join(str(key) for key in named if key not in state)[:200]
        raise FileFormatError(
            f"{source} holds {'a dict with ' + others if others else type(content).__name__}, not tensors by name.",
            "The state of a network was expected, alone or under 'state_dict' or 'model'.",
            "Save net.state_dict() alone to a new file.",
        )
    while prefix := next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _tensors(arrays: Mapping[str, np.ndarray[Any, Any]], source: Path) -> dict[str, Tensor]:
    try:
        state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    except TypeError as error:
        raise FileFormatError(
            f"{source} holds arrays that are no numbers ({error}).",
            "Tensors by name were expected.",
            "Pass a file of weights.",
        ) from error
    return _unwrapped(state, source)


def _damaged(source: Path, why: str) -> FileFormatError:
    return FileFormatError(
        f"{source} is damaged or was cut short ({why}).", "A whole file was expected.", "Fetch or copy it anew."
    )


def _foreign(source: Path, head: bytes) -> FileFormatError:
    start = head.lstrip().lower()
    found, remedy = "no file of weights that is known", "Convert it, for example by torch.save(state, 'weights.pth')."
    if not head:
        found, remedy = "empty", "Fetch or copy it anew."
    elif start.startswith((b"<!doctype html", b"<html")):
        found, remedy = "a web page", "Fetch the file itself: where the page asks to log in or to agree, do so."
    elif start.startswith(b"version https://git-lfs"):
        found, remedy = "a pointer of git LFS, not what it points to", "Fetch the content: git lfs pull."
    return FileFormatError(
        f"{source} is {found}.", "Safetensors, .npz or a state written by torch.save (.pth) was expected.", remedy
    )
