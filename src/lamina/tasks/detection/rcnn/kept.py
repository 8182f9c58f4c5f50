"""What took long to work out, kept on the disk (or in memory) by what it was worked out from."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.files import replacing

_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Kept:
    """Tensors by a key: from the folder (or memory, where it is None) if they are there, else made, and kept.

    A damaged file is made anew. Processes that fill one folder at once do not disturb one another.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._held: dict[str, dict[str, Tensor]] = {}

    def get(self, key: str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of that key."""
        if self.folder is None:
            if key not in self._held:
                self._held[key] = dict(make())
            return self._held[key]
        path = self.folder / key[:2] / f"{key}.npz"
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        except _DAMAGED:
            made = dict(make())
        with replacing(path) as temporary, temporary.open("wb") as output:
            arrays_: dict[str, Any] = {name: value.numpy() for name, value in made.items()}
            np.savez(output, **arrays_)
        return made

    def holds(self, key: str) -> bool:
        """Whether a key was made before."""
        return key in self._held if self.folder is None else (self.folder / key[:2] / f"{key}.npz").exists()


def key_of(settings: Mapping[str, Any], *tensors: Tensor) -> str:
    """A text that differs where settings (for JSON), shapes, types or numbers differ."""
    found = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous()
        found.update(f"{values.dtype} {tuple(values.shape)}".encode())
        found.update(values.numpy().tobytes())
    return found.hexdigest()


def weights_of(net: nn.Module) -> str:
    """The same of a network's parameters and buffers."""
    state = net.state_dict()
    return key_of({"names": list(state)}, *(value.float() for value in state.values()))
