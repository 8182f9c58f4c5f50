"""Safetensors files with texts in their header and a hash over everything: a change of one bit is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save_file
from torch import Tensor


def write(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Writes contiguous tensors in host memory, and texts into the header. Raises OSError, also where the disk is full.

    Unlike serialising to bytes first it needs no second copy of the tensors, and lets other threads run.
    """
    try:
        save_file(dict(tensors), path, metadata=dict(texts))
    except SafetensorError as error:
        raise OSError(str(error)) from error


def header_of(data: bytes) -> dict[str, str] | None:
    """The texts in a safetensors header: eight bytes of length, then JSON. None where it is none, or is damaged."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        return None
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else None


def tensors_of(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; raises ValueError where it is damaged.

    Tensors of safetensors point into the file's unaligned bytes; a clone has torch's alignment, on which bits depend.
    """
    try:
        return {name: value.clone() for name, value in parse(data).items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(str(error)) from error


def digest(version: str, text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a version, a text, and every tensor's name, type, shape and bytes, in hexadecimal."""
    hashed = hashlib.sha256(f"{version}\n{text}\n".encode())
    for name in sorted(tensors):
        value = tensors[name]
        hashed.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        hashed.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return hashed.hexdigest()
