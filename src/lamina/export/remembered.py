"""Which engine was the fastest for a network on this machine: kept in the cache, so that later processes need not measure."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lamina.core.download import home
from lamina.core.files import replacing
from lamina.export.deployable import Deployable

_PACKAGES = {"torch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino", "onnxscript": "onnxscript"}


def path(key: str) -> Path:
    """The file of a choice, which may not be there: one each, so that processes need not wait for one another."""
    return home() / "engines" / f"{key}.json"


def key(deployable: Deployable, *, batch: int, precision: str, engines: Sequence[str], threads: int | None) -> str:
    """What tells one choice from another: architecture and input shape, not weights; machine; versions of the engines."""
    net = deployable.net
    facts = {
        "architecture": [repr(net), [[name, list(value.shape)] for name, value in net.state_dict().items()]],
        "around": [type(deployable.prepare).__name__, type(deployable.finish).__name__],
        "inputs": [[str(value.dtype), list(value.shape[1:])] for value in deployable.example],
        "asked": [batch, precision, list(engines), threads],
        "machine": [platform.system(), platform.machine(), _processor(), _cores(), torch.get_num_threads()],
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def versions() -> dict[str, str]:
    """The engines' versions; those that are not installed are left out."""
    there = {name: package for name, package in _PACKAGES.items() if importlib.util.find_spec(name) is not None}
    return {name: metadata.version(package) for name, package in there.items()}


def recall(key: str) -> dict[str, Any] | None:
    """What was kept: engine, precision, and the seconds that it took to build. None where nothing, or nothing whole, is there."""
    try:
        entry = json.loads(path(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {"engine": str, "precision": str, "build_s": int | float}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), kind) for name, kind in wanted.items()):
        return None
    return entry


def keep(key: str, entry: Mapping[str, Any]) -> None:
    """Writes what `recall` gives. Where the cache cannot be written it is not kept, and measured again."""
    with contextlib.suppress(OSError), replacing(path(key)) as temporary:
        temporary.write_text(json.dumps(entry, indent=1), encoding="utf-8")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
