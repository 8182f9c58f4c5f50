"""What stands in an exported file beside the network: texts by name, for programs in any language."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from lamina.export.deployable import Deployable

FORMAT, VERSION = "lamina export", "1"
_TOLD = ("kind", "classes", "names", "multi_label", "mean", "std", "metrics")  # of the description, where it has them


def texts(deployable: Deployable, *, precision: str) -> dict[str, str]:
    """The texts by name: lists and numbers as JSON, words as they are.

    format, version, kind, precision; classes or names (in the order of the answers), preprocess (what the host has to do, see
    Preprocess.from_onnx), network, metrics, licence, versions: each where it is known.
    """
    described = deployable.description
    told: dict[str, Any] = {name: described[name] for name in _TOLD if described.get(name)}
    told["preprocess"] = None if deployable.preprocess is None else deployable.preprocess.to_dict()
    network = described.get("network", {})
    told["network"] = network.get("name") or network.get("module") or network.get("made_of")
    told["licence"] = described.get("began_with", {}).get("licence")
    told["versions"] = _versions()
    known = {name: value for name, value in told.items() if value not in (None, {}, [], "")}
    head = {"format": FORMAT, "version": VERSION, "precision": precision}
    return head | {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def _versions() -> Mapping[str, str]:
    from lamina import __version__

    return {"lamina": __version__, "torch": torch.__version__}
