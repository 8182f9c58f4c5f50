"""The report: one HTML file that shows what a model gets wrong, for the desk, the phone and the printer."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.core.errors import LaminaError
from lamina.core.files import replacing
from lamina.explain import html
from lamina.explain.answers import Labelled, arrays, checked, class_probs, named
from lamina.explain.confusion import confusion_matrix, most_confused
from lamina.explain.curves import learning_curves
from lamina.explain.mistakes import find_mistakes
from lamina.explain.scores import class_scores, top_accuracy
from lamina.models.summary import Summary


def report(
    model: Any,
    data: Labelled,
    *,
    path: str | os.PathLike[str] = "report.html",
    history: Any = None,
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
    shown: int = 300,
) -> Path:
    """Writes the report of `model` on `data` and returns its path; the file needs nothing but itself.

    `model` answers `predict_probs` or `predict`; `history` is as for `learning_curves`; `settings` are noted under "How it
    was made"; at most `shown` mistakes are drawn. Raises DataError or ShapeError where model and data do not fit.
    """
    if getattr(model, "multi_label", False):
        raise LaminaError(
            f"{getattr(model, 'name', type(model).__name__)} gives several labels to a picture.",
            "The report is about models that give one class to each: mistakes and confusion mean nothing here.",
            "Use model.evaluate(data), with the metrics of your choice by compile.",
        )
    if hasattr(model, "memorised"):  # a classifier reads a path, a folder or a named data set itself
        data = model.memorised(data)
    images, labels, classes = arrays(data)
    sources = getattr(data, "sources", ())
    probs, labels = checked(class_probs(model, data), labels)
    classes = named(classes, probs.shape[1])
    counts = confusion_matrix(probs, labels)
    scores = class_scores(counts, classes=classes)
    confused = [pair for pair in most_confused(counts) if pair.count > 1]
    wrong = find_mistakes(probs, labels, limit=shown)
    curves = learning_curves(history) if history is not None else ()
    summary = _summary(model, images.shape[1:])

    sections = [
        ("", html.headline(scores, confused=confused, top5=top_accuracy(probs, labels) if len(classes) > 10 else None)),
        ("Mistakes", html.mistakes_grid(images, wrong, classes=classes, total=scores.mistakes, sources=sources)),
        ("Confusion matrix", html.confusion_block(counts, classes=classes, confused=confused)),
        ("Per class", html.score_table(scores)),
    ]
    if curves:
        panels = "".join(html.curve_panel(curve) for curve in curves)
        sections.append(("Learning curves", f'<div class="panels">{panels}</div>'))
    if summary is not None:
        sections.append(("Layers", html.layer_table(summary)))
    sections.append(("How it was made", html.facts(_made(images, classes, settings or {}))))

    model_name = str(getattr(model, "name", "") or type(model).__name__)
    data_name = str(getattr(data, "name", ""))
    heading = title or (f"{model_name} on {data_name}" if data_name else model_name)
    subtitle = f"{scores.count:,} samples, {len(classes):,} classes · {datetime.now().astimezone():%d %B %Y}"
    target = Path(path)
    with replacing(target) as temporary:
        temporary.write_text(html.document(heading, subtitle=subtitle, sections=sections), encoding="utf-8")
    return target


def _made(images: np.ndarray, classes: tuple[str, ...], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings first, then data and versions: what somebody needs to get the same numbers again."""
    try:
        version = importlib.metadata.version("lamina")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that nobody installed
        version = "not installed"
    plain = {
        name: json.dumps(value, default=str) if isinstance(value, Mapping) else value
        for name, value in settings.items()
    }
    return {
        **plain,
        "images": f"{len(images):,} of {' x '.join(str(size) for size in images.shape[1:])}",
        "classes": len(classes),
        "report written": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "lamina": version,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "Python": ".".join(str(part) for part in sys.version_info[:3]),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _summary(model: Any, image_shape: tuple[int, ...]) -> Summary | None:
    """The table of the model's layers, None where there is none to be had: the report is about its answers."""
    if not hasattr(model, "summary"):
        return None
    for arguments in ((), (image_shape,)):  # a model that wraps a torch module does not know its input's shape
        with contextlib.suppress(LaminaError):
            summary = model.summary(*arguments, show=False)
            return summary if isinstance(summary, Summary) else None
    return None
