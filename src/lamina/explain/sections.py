"""The sections of the report that are made from answers and histories: each takes a Subject and gives HTML, or "" for none."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from lamina.core.errors import LaminaError
from lamina.explain import html
from lamina.explain.calibrated import calibration as calibrated
from lamina.explain.calibrated import fit_temperature
from lamina.explain.cells import cell_panels
from lamina.explain.confusion import confusion_matrix, most_confused
from lamina.explain.curves import learning_curves
from lamina.explain.drawn import panel
from lamina.explain.gradients import draw_by_depth, draw_by_step, gradient_norms
from lamina.explain.mistakes import find_mistakes
from lamina.explain.ranking import means, rankings
from lamina.explain.ranking_figures import precision_recall_figure, roc_figure
from lamina.explain.reliability import reliability_figure, sureness_figure
from lamina.explain.scores import class_scores, top_accuracy
from lamina.explain.subject import About, Subject
from lamina.models.summary import Summary
from lamina.structures.results import percent
from lamina.training.gradient_norms import GRADIENTS

LIKELY = 0.5  # what a label's own probability has to be
_FEWEST = 20  # pictures from which a temperature is told
_ENTRIES = 2_000_000  # probabilities that it is fitted to


def headline(subject: Subject) -> str:
    """The accuracy, large, and where the trouble lies."""
    counts = confusion_matrix(subject.probs, subject.labels)
    confused = [pair for pair in most_confused(counts) if pair.count > 1]
    top5 = top_accuracy(subject.probs, subject.labels) if len(subject.classes) > 10 else None
    return html.headline(class_scores(counts, classes=subject.classes), confused=confused, top5=top5)


def mistakes(subject: Subject) -> str:
    """The pictures that were taken for something else, the most confident first."""
    wrong = find_mistakes(subject.probs, subject.labels)
    return html.mistakes_grid(
        subject.images,
        wrong[: subject.shown],
        classes=subject.classes,
        total=len(wrong),
        sources=subject.sources,
    )


def confusion(subject: Subject) -> str:
    """What is taken for what."""
    counts = confusion_matrix(subject.probs, subject.labels)
    confused = [pair for pair in most_confused(counts) if pair.count > 1]
    panels, linked = cell_panels(
        subject.images, subject.probs, subject.labels, classes=subject.classes, sources=subject.sources
    )
    return html.confusion_block(counts, classes=subject.classes, confused=confused, linked=linked) + panels


def calibration(subject: Subject) -> str:
    """Whether it is as often right as it says, and what a temperature would do."""
    said = calibrated(subject.probs, subject.labels)
    by_count = calibrated(subject.probs, subject.labels, by="count")
    figures = {
        "says": percent(said.confidence),
        "is right": percent(said.accuracy),
        "expected calibration error": percent(said.ece),
        "with bins of equal count": percent(by_count.ece),
        "largest error of a bin": percent(said.mce),
        "error class by class": percent(said.classwise) if said.classwise == said.classwise else "",
        "Brier score": f"{said.brier:.4f}",
        "log-likelihood": f"{-said.nll:.4f} nats",
    }
    legend = (
        "Of the answers that a model gives with 80 % confidence 80 % should be right. Vertical lines: 95 % intervals. "
        "The second panel: the same "
        "on logarithmic axes, where the sure answers can be told apart."
    )
    panels = panel("Reliability", reliability_figure(said), note="bins of equal width") + panel(
        "Mistakes where it is sure", sureness_figure(by_count), note="bins of as many answers each"
    )
    told = f'<p class="quiet">{legend}</p><div class="panels">{panels}</div>{html.facts(figures)}'
    return told + _temperature(subject)


def _temperature(subject: Subject) -> str:
    """What a temperature does to pictures that it was not fitted to; nothing where there is no mistake to learn from."""
    most = max(_ENTRIES // subject.probs.shape[1], _FEWEST)
    some = np.random.default_rng(0).permutation(len(subject.labels))[:most]
    probs, labels = subject.probs[some], subject.labels[some]
    wrong = (probs > LIKELY) != labels if subject.multi_label else probs.argmax(axis=1) != labels
    if len(labels) < _FEWEST or not wrong.any():
        return ""
    fitted = fit_temperature(probs, labels)
    if fitted.after.ece >= fitted.before.ece:
        return (
            f'<p class="quiet">A temperature does not help: {fitted.value:.3f}, the likeliest one, would have brought the expected '
            f"calibration error from {percent(fitted.before.ece)} to {percent(fitted.after.ece)}, measured on each half of these "
            "pictures with the temperature of the other half.</p>"
        )
    verb = "less" if fitted.value > 1 else "more"
    return (
        f'<p class="quiet">Logits divided by {fitted.value:.3f} ({verb} confident answers) would have brought the expected '
        f"calibration error from {percent(fitted.before.ece)} to {percent(fitted.after.ece)}, with no other class: measured on "
        "each half of these pictures with the temperature of the other half. model.calibrate(held_out) keeps it; take pictures that are "
        "neither trained on nor measured on.</p>"
    )


def ranking(subject: Subject) -> str:
    """ROC and precision-recall curves of each class against the rest."""
    ranked = rankings(subject.probs, subject.labels, classes=subject.classes)
    every = means(ranked)
    if not np.isfinite(every.average_precision):
        return ""
    legend = (
        "Each class against the rest, at every threshold. Grey: between the best and the worst class at each place. "
        "The horizontal axis of the ROC curve is logarithmic, and axes begin near the curves."
    )
    panels = panel("ROC", roc_figure(ranked), note=f"mean area {_area(every.auc)}") + panel(
        "Precision and recall",
        precision_recall_figure(ranked),
        note=f"mean average precision {_area(every.average_precision)}",
    )
    return f'<p class="quiet">{legend}</p><div class="panels">{panels}</div>{html.ranking_table(ranked)}'


def _area(value: float) -> str:
    return f"{value:.5f}" if np.isfinite(value) else "unknown"


def per_class(subject: Subject) -> str:
    """Precision, recall and F1 of each class."""
    return html.score_table(class_scores(confusion_matrix(subject.probs, subject.labels), classes=subject.classes))


def curves(subject: About) -> str:
    """Loss and metrics over the epochs."""
    drawn = learning_curves(subject.history) if subject.history is not None else ()
    panels = "".join(html.curve_panel(curve) for curve in drawn)
    return f'<div class="panels">{panels}</div>' if panels else ""


def gradients(subject: About) -> str:
    """Gradient norms by depth, where the run has them."""
    if subject.run is None or not (subject.run / GRADIENTS).is_file():
        return ""
    record = gradient_norms(subject.run / GRADIENTS)
    if not len(record.steps) or not record.layers:
        return ""
    by_depth, by_step = (Figure(figsize=(4.0, 3.2), layout="constrained") for _ in range(2))
    draw_by_depth(by_depth.add_subplot(), record)
    draw_by_step(by_step.add_subplot(), record)
    panels = panel("By depth", by_depth, note="medians of the first, middle and last tenth of training")
    panels += panel("By step", by_step, note="the first, the middle and the last layer")
    legend = "The Euclidean norm of the gradient of each layer's weights. Norms that shrink layer by layer towards the input vanish."
    return f'<p class="quiet">{legend}</p><div class="panels">{panels}</div>'


def layers(subject: Subject) -> str:
    """The network's layers."""
    return layers_of(subject.model, subject.images.shape[1:])


def layers_of(model: Any, image_shape: tuple[int, ...]) -> str:
    """The layers of a model for pictures of this shape (C H W)."""
    summary = _summary(model, image_shape)
    return "" if summary is None else html.layer_table(summary)


def made(subject: Subject) -> str:
    """Settings, data and versions."""
    images = f"{len(subject.images):,} of {' x '.join(str(size) for size in subject.images.shape[1:])}"
    return html.facts(made_of(images, subject.classes, subject.settings))


def made_of(images: str, classes: tuple[str, ...], settings: Mapping[str, Any]) -> dict[str, Any]:
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
        "images": images,
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
