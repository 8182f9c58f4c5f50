"""The model card: what a trained model is, what it learnt from, how good it was, and under which licence its weights stand.

After Mitchell et al. 2019, "Model Cards for Model Reporting"; what a person alone can say (intended use, limits) is left to them.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from lamina.core import export_texts
from lamina.core.errors import FileFormatError
from lamina.data import datasets
from lamina.data.preprocess import Preprocess
from lamina.models import file

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_FEW = 8  # classes that are named where there are many
_PIPELINES = {
    "classifier": "image-classification",
    "ensemble": "image-classification",
    "detector": "object-detection",
    "segmenter": "image-segmentation",
}
_KINDS = {
    "detector": "detector: which objects stand where, as boxes",
    "segmenter": "segmenter: the class of every pixel",
}
_MAIN = {"AP": "AP", "AP50": "AP50", "mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}  # what is told first


@dataclass(frozen=True)
class Card:
    """What the description of a model file says, with the number of its parameters and, if there is one, its file.

    `description` is that of the file's header; `size` in bytes; `digest` is the SHA-256 of its content.
    """

    description: Mapping[str, Any]
    parameters: int
    path: str = ""
    size: int = 0
    digest: str = ""

    @property
    def rows(self) -> dict[str, str]:
        """What is known, a line each, in words."""
        told = self.description
        named = {
            "kind": _kind(told),
            "format": told.get("export", ""),
            "network": _network(told) + (f", {self.parameters:,} parameters" if self.parameters else ""),
            "classes": _listed(told.get("classes", ())),
            "numbers": _listed(told.get("names", ())),
            "pictures": _prepared(told.get("preprocess")),
            "began with": _weights(told.get("began_with", {})),
            "learnt from": _data(told.get("learnt_from", {})),
            "held out": _held(told.get("split", {})),
            "figures": _figures(told.get("metrics", {}), told.get("epoch")),
            "calibrated": _calibrated(told),
            "licence": self.licence,
            "made with": ", ".join(f"{name} {version}" for name, version in told.get("versions", {}).items()),
            "file": f"{self.path}, {self.size / 1e6:,.1f} MB" if self.path else "",
            "sha256": self.digest,
        }
        return {name: text for name, text in named.items() if text}

    @property
    def licence(self) -> str:
        """What the weights that it began with, and the data that it learnt from, ask for; empty where nothing is known."""
        began, learnt = self.description.get("began_with", {}), self.description.get("learnt_from", {})
        asked = {"weights": began.get("licence", ""), "data": learnt.get("licence", "")}
        return "; ".join(f"{what}: {text}" for what, text in asked.items() if text)

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: the description, the number of parameters, and the file's path, size in bytes and SHA-256."""
        about = {"path": self.path, "bytes": self.size, "sha256": self.digest}
        return {**self.description, "parameters": self.parameters, **({"file": about} if self.path else {})}

    def to_markdown(self, *, title: str = "") -> str:
        """A page with the head that the Hugging Face Hub reads (licence, task, figures), and places for what a person adds."""
        name = title or Path(self.path).stem or _network(self.description)
        rows = "\n".join(f"| {name} | {_cell(text)} |" for name, text in self.rows.items() if name != "file")
        head = yaml.safe_dump(self._head(), sort_keys=False, allow_unicode=True)
        return (
            f"---\n{head}---\n\n# {name}\n\n{_kind(self.description).capitalize()}, made with Lamina.\n\n| | |\n| --- | --- |\n"
            f'{rows}\n\n## Use\n\n```python\nimport lamina\n\nmodel = lamina.load("model.safetensors")\n'
            'print(model.predict("picture.jpg"))\n```\n\n## For what it is meant, and what it cannot do\n\n'
            "(To be written by who publishes it: on which pictures it was meant to work, where it fails, who might be harmed.)\n"
        )

    def _head(self) -> dict[str, Any]:
        told = self.description
        head: dict[str, Any] = {"library_name": "lamina", "tags": ["lamina", "image"]}
        if told.get("kind") in _PIPELINES:
            head["pipeline_tag"] = _PIPELINES[told["kind"]]
        if self.licence:  # which is of weights and data; that of the model is for who publishes it to say
            head |= {"license": "other", "license_name": "see-card"}
        name = told.get("learnt_from", {}).get("name")
        if name in datasets.names():  # that of a folder would lead to whoever's data has that name on the Hub
            head["datasets"] = [name]
        return head

    def __str__(self) -> str:
        return "\n".join(f"{name:12s} {text}" for name, text in self.rows.items())

    def _repr_html_(self) -> str:
        lines = "".join(
            f'<tr><th style="text-align:left">{html.escape(name)}</th><td style="text-align:left">{html.escape(text)}</td></tr>'
            for name, text in self.rows.items()
        )
        return f"<table>{lines}</table>"


def read(path: str | os.PathLike[str]) -> Card:
    """The card of a model file. Raises FileFormatError for one that is damaged or foreign."""
    contents = file.read(path)
    described = {name: value for name, value in contents.description.items() if name != "parameters"}
    count = contents.description.get("parameters")  # which files of the first version do not tell
    if count is None:
        count = sum(value.numel() for name, value in contents.tensors.items() if not name.endswith(_STATISTICS))
    return Card(described, count, str(contents.path), os.stat(contents.path).st_size, contents.digest)


def is_export(path: str | os.PathLike[str]) -> bool:
    """Whether it is a file that `export` writes, by its ending and, of a .safetensors, what it says."""
    source = Path(path)
    if source.suffix != ".safetensors":
        return source.suffix in export_texts.FORMATS
    try:
        return bool(export_texts.read(source))
    except (OSError, ValueError):
        return False


def of_export(path: str | os.PathLike[str]) -> Card:
    """The card of an exported file (.onnx, .pt2, .safetensors), as far as its metadata tells.

    Raises FileFormatError for one that is not there, damaged, or not of `export`.
    """
    source, expected = Path(path), "A file that model.export wrote was expected."
    try:
        texts = export_texts.read(source)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FileFormatError(f"{source} cannot be read ({why}).", expected, "Check the path.") from error
    if not texts:
        raise FileFormatError(
            f"{source} does not say what is in it.", expected, "Ask the program that wrote it, or look with onnx."
        )
    told: dict[str, Any] = {}
    with file.understanding(source):
        for name, text in texts.items():
            told[name] = json.loads(text) if text[:1] in "[{" or text in ("true", "false") else text
        told["network"] = {"name": told.get("network", "network")}
        told["began_with"] = {"licence": told.pop("licence", "")}
        told["export"] = f"{export_texts.FORMATS[source.suffix]} in {told.get('precision', 'float32')}"
        made = Card(told, 0, str(source), source.stat().st_size, digest)
        str(made)  # whatever the texts are, they make a card
    return made


def told_of_data(dataset: Any) -> dict[str, Any]:
    """What a card tells of a training set: its name, how many pictures, and of each class; the licence of a named data set."""
    told: dict[str, Any] = {"name": getattr(dataset, "name", ""), "pictures": len(dataset)}
    labels, classes = getattr(dataset, "labels", None), getattr(dataset, "classes", ())
    if isinstance(labels, torch.Tensor) and not labels.is_floating_point() and classes:
        counts = labels.sum(0) if labels.dim() == 2 else torch.bincount(labels, minlength=len(classes))
        told["of_classes"] = counts.tolist()
    licence = next((entry["licence"] for entry in datasets.described() if entry["name"] == told["name"]), "")
    return {name: value for name, value in {**told, "licence": licence}.items() if value != ""}


def _kind(told: Mapping[str, Any]) -> str:
    kind = str(told.get("kind", "model"))
    kind = _KINDS.get(kind, kind)
    return "classifier, any number of labels a picture" if told.get("multi_label") else kind


def _network(told: Mapping[str, Any]) -> str:
    network = told.get("network", {})
    return str(network.get("name") or network.get("module") or network.get("made_of", "network"))


def _listed(names: Any) -> str:
    if not names:
        return ""
    more = f" ... and {len(names) - _FEW:,} more" if len(names) > _FEW + 1 else ""
    shown = names[:_FEW] if more else names
    return f"{len(names):,}: {', '.join(map(str, shown))}{more}"


def _prepared(told: Mapping[str, Any] | None) -> str:
    if not told:
        return ""
    made = Preprocess.from_dict(told)
    colours = "grey" if made.channels == 1 else "RGB"
    how = f"{made.resize} {made.crop:g}" if made.crop < 1 else made.resize
    mean, std = (", ".join(f"{value:.4g}" for value in numbers) for numbers in (made.mean, made.std))
    return f"{colours}, {made.size[0]} x {made.size[1]} px ({how}, {made.interpolation}); mean {mean}; std {std}"


def _weights(told: Mapping[str, Any]) -> str:
    trained = f", trained on {told['trained_on']}" if told.get("trained_on") else ""
    return f"{told['weights']}{trained}" if told.get("weights") else ""


def _data(told: Mapping[str, Any]) -> str:
    if not told:
        return ""
    counts = told.get("of_classes", ())
    spread = f", {min(counts):,} to {max(counts):,} a class" if counts and min(counts) != max(counts) else ""
    spread = f", {counts[0]:,} a class" if counts and not spread else spread
    return f"{told.get('name') or 'pictures without a name'}: {told.get('pictures', 0):,} pictures{spread}"


def _held(told: Mapping[str, Any]) -> str:
    return f"{100 * told['held_out']:g} % of {told['of']:,} pictures, by {told['by']}" if "held_out" in told else ""


def _figures(told: Mapping[str, Any], epoch: int | None) -> str:
    main = {f"val_{name}": f"validation {text}" for name, text in _MAIN.items()} | _MAIN
    names = [*(name for name in main if name in told), *(name for name in told if name not in main)]
    figures = ", ".join(f"{main.get(n, n)} {told[n]:.4g}" for n in names if isinstance(told[n], int | float))
    return f"{figures} (epoch {epoch})" if figures and epoch else figures


def _calibrated(told: Mapping[str, Any]) -> str:
    """The temperature, and what it does to the expected calibration error, where that was told."""
    temperature, how = told.get("temperature"), told.get("calibrated", {})
    if temperature is None:
        return ""
    error = ""
    if {"before", "after", "pictures"} <= how.keys():
        before, after = (f"{100 * how[name]:.2f} %" for name in ("before", "after"))
        error = f"; expected calibration error {before} -> {after} on {how['pictures']:,} pictures, each half by the other's"
    return f"temperature {temperature:.3f}{error}"


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;").replace("\n", " ")
