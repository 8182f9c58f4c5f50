"""What tells one data set from another, in milliseconds: a resumed run must not go on with other samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_BYTES = 1 << 20  # of each tensor, evenly spread over its samples
_FEW = 1 << 24  # numbers that are looked at whole for their least and greatest


def fingerprint(batches: Iterable[Any] | None) -> dict[str, Any]:
    """Sizes, types, the range of integer targets, and a hash over some samples; numbers, strings and lists of them.

    `batches` with tensors (`inputs`, `targets`, `weights`, `sample_by`) are looked at; others may have a method `fingerprint()` that
    gives such a dict; of all else only the number of samples and batches is known.
    """
    if batches is None:
        return {}
    own = getattr(batches, "fingerprint", None)
    if callable(own):
        told: dict[str, Any] = own()
        return told
    samples = getattr(batches, "samples", None)
    told = {"samples": samples} if samples is not None else {"batches": _length(batches)}
    held = {name: _tensors(getattr(batches, name, None)) for name in ("inputs", "targets", "weights", "sample_by")}
    for name, tensors in held.items():
        if tensors:
            told[name] = [_told(value, ranged=name == "targets") for value in tensors]
            told[f"content of {name}"] = _hash(tensors)
    return {name: value for name, value in told.items() if value is not None}


def _told(value: Tensor, *, ranged: bool) -> str:
    shape = "x".join(map(str, value.shape[1:])) or "scalar"
    text = f"{str(value.dtype).removeprefix('torch.')} {shape}"
    if ranged and not value.is_floating_point() and not value.is_complex() and 0 < value.numel() <= _FEW:
        least, greatest = torch.aminmax(value)
        text += f", {int(least)} to {int(greatest)}"
    return text


def _hash(tensors: tuple[Tensor, ...]) -> str:
    hashed = hashlib.sha256()
    for value in tensors:
        if not len(value) or not value.numel():
            continue
        size = value[0].numel() * value.element_size()
        rows = spread(len(value), size)
        some = value.detach()[rows.to(value.device)].cpu().contiguous().reshape(-1).view(torch.uint8)
        hashed.update(some.numpy().data)
    return hashed.hexdigest()[:16]


def spread(samples: int, size: int) -> Tensor:
    """Which of the samples, of `size` bytes each, are hashed."""
    count = min(samples, max(_BYTES // size, 1))
    return torch.arange(count) * samples // count


def _tensors(value: Any) -> tuple[Tensor, ...]:
    listed = (value,) if isinstance(value, Tensor) else tuple(value) if isinstance(value, tuple | list) else ()
    return listed if all(isinstance(entry, Tensor) for entry in listed) else ()


def _length(batches: Iterable[Any]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return None
