"""The sections of a report on a model that gives several labels to a picture: scores, thresholds and the worst answers of each label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lamina.explain import html
from lamina.explain.drawn import INK, TRAIN, VALIDATION, panel, percents, plain
from lamina.explain.ranking import means, rankings
from lamina.explain.sections import LIKELY
from lamina.explain.subject import Subject, fitting
from lamina.structures import draw
from lamina.structures.results import percent

THRESHOLDS = np.arange(1, 100) / 100
WORST_BYTES = 3_000_000
_WORST = 6  # pictures of a label that were missed, and that had it wrongly
_LABELS = 200  # whose pictures are looked for


@dataclass(frozen=True, eq=False)
class ThresholdCurves:
    """Precision, recall and F1 of each label at each of THRESHOLDS (K M); NaN where there is nothing to divide by."""

    precision: Float[np.ndarray, "K M"]
    recall: Float[np.ndarray, "K M"]
    f1: Float[np.ndarray, "K M"]


def threshold_curves(probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, "N K"]) -> ThresholdCurves:
    """What each threshold, 0.01 to 0.99, would give: a label counts as given where its probability is at least the threshold."""
    called, hits = (np.empty((probs.shape[1], len(THRESHOLDS)), np.int64) for _ in range(2))
    for number in range(probs.shape[1]):
        scores = np.sort(probs[:, number])
        true = np.sort(probs[labels[:, number] == 1, number])
        called[number] = len(scores) - np.searchsorted(scores, THRESHOLDS.astype(scores.dtype), side="left")
        hits[number] = len(true) - np.searchsorted(true, THRESHOLDS.astype(scores.dtype), side="left")
    support = labels.sum(axis=0)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return ThresholdCurves(hits / called, hits / support, 2 * hits / (called + support))


def headline(subject: Subject) -> str:
    """The mean average precision, large; how many labels, and how many pictures, are right at the usual threshold."""
    given, labels = subject.probs >= LIKELY, subject.labels.astype(bool)
    ranked = rankings(subject.probs, subject.labels, classes=subject.classes)
    mean = means(ranked).average_precision
    wrong = int((given != labels).sum())
    facts = [
        ("Labels right", percent(1 - wrong / labels.size), f"of {labels.size:,}, at a threshold of {LIKELY}"),
        ("Pictures all right", percent(float((given == labels).all(axis=1).mean())), f"of {len(labels):,}"),
    ]
    there = [one for one in ranked if one.support]
    if there:
        worst = min(there, key=lambda one: one.average_precision)
        note = f"average precision {percent(worst.average_precision)}, {html.counted(worst.support, 'picture')}"
        facts.append(("Hardest label", escape(worst.name), note))
    cards = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{note}</dd></div>" for name, value, note in facts)
    large = "&ndash;" if math.isnan(mean) else percent(mean).removesuffix(" %")
    return (
        f'<div class="headline"><p class="accuracy">{large}<small>%</small></p><p class="count">mean average precision, '
        f"<b>{html.counted(wrong, 'wrong label')}</b></p></div>\n"
        f'<dl class="cards">{cards}</dl>'
    )


def worst(subject: Subject) -> str:
    """Of each label the pictures that have it and were given the least of it, and those that have it not and were given the most."""
    ranked = rankings(subject.probs, subject.labels, classes=subject.classes)
    order = sorted((k for k, one in enumerate(ranked) if one.support), key=lambda k: ranked[k].average_precision)
    written = fitting((_of_label(subject, k) for k in order[:_LABELS]), limit_bytes=WORST_BYTES)
    legend = "The labels of lowest average precision first. Below each picture: the probability that it was given."
    left = len(order) - len(written)
    more = f" {html.counted(left, 'more label')} would make this page too large." if left else ""
    return f'<p class="quiet">{legend}{more}</p>{"".join(written)}' if written else ""


def per_label(subject: Subject) -> str:
    """Scores of each label, the worst first, and what thresholds would give."""
    ranked = rankings(subject.probs, subject.labels, classes=subject.classes)
    curves = threshold_curves(subject.probs, subject.labels)
    usual = int(np.abs(THRESHOLDS - LIKELY).argmin())
    head = (
        "<th>Label</th><th>Average precision</th><th>Area under ROC</th><th>Precision</th><th>Recall</th><th>F1</th>"
        "<th>Best threshold</th><th>F1 there</th><th>Samples</th>"
    )
    rows = []
    for k in sorted(
        range(len(ranked)), key=lambda k: (math.isnan(ranked[k].average_precision), ranked[k].average_precision)
    ):
        one, best = ranked[k], int(np.nan_to_num(curves.f1[k], nan=-1.0).argmax())
        shares = (
            one.average_precision,
            one.auc,
            *(each[k, usual] for each in (curves.precision, curves.recall, curves.f1)),
        )
        cells = "".join(f"<td>{_share(value)}</td>" for value in shares)
        at = f"{THRESHOLDS[best]:.2f}" if one.support else "&ndash;"
        rows.append(
            f'<tr><th scope="row">{escape(one.name)}</th>{cells}<td>{at}</td>'
            f"<td>{_share(curves.f1[k, best] if one.support else math.nan)}</td><td>{one.support:,}</td></tr>"
        )
    legend = (
        f"Precision, recall and F1 at a threshold of {LIKELY}. The best threshold is chosen on these pictures, so what it gives here "
        "flatters it."
    )
    drawn = panel("Thresholds", thresholds_figure(curves), note="means of the labels")
    return f'<p class="quiet">{legend}</p>{html.table("figures", head, "".join(rows))}<div class="panels">{drawn}</div>'


def thresholds_figure(curves: ThresholdCurves) -> Figure:
    """Precision, recall and F1 over the threshold, means of the labels that have a picture."""
    figure = Figure(figsize=(4.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    there = np.isfinite(curves.recall[:, 0])
    lines = (
        (curves.precision, TRAIN, (0, (1.2, 1.6))),
        (curves.recall, INK, (0, (6, 2))),
        (curves.f1, VALIDATION, "solid"),
    )
    for name, (values, color, dashes) in zip(("precision", "recall", "F1"), lines, strict=True):
        rows = np.nan_to_num(values[there], nan=1.0)  # where nothing is called so, nothing is called so wrongly
        if len(rows):
            axes.plot(THRESHOLDS, rows.mean(axis=0), color=color, linestyle=dashes, linewidth=1.6, label=name)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.set_xlabel("threshold", fontsize=9, color=INK)
    axes.yaxis.set_major_formatter(FuncFormatter(percents))
    plain(axes)
    if there.any():
        figure.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=2.6, loc="outside lower center", ncols=3)
    return figure


def _of_label(subject: Subject, number: int) -> str:
    own, scores = subject.labels[:, number] == 1, subject.probs[:, number]
    missed = [i for i in np.flatnonzero(own)[np.argsort(scores[own], kind="stable")] if scores[i] < LIKELY]
    wrongly = [i for i in np.flatnonzero(~own)[np.argsort(-scores[~own], kind="stable")] if scores[i] >= LIKELY]
    name = escape(subject.classes[number])
    parts = []
    for said, found in (("has it and was not given it", missed), ("was given it and has it not", wrongly)):
        if found:
            tiles = "".join(_tile(subject, int(i), number) for i in found[:_WORST])
            parts.append(
                f'<p class="quiet">{html.counted(len(found), "picture")}: {said}</p><div class="tiles wide">{tiles}</div>'
            )
    if not parts:
        return ""
    count = html.counted(len(missed) + len(wrongly), "mistake")
    return f"<details><summary>{name}: {count}</summary>{''.join(parts)}</details>"


def _tile(subject: Subject, index: int, number: int) -> str:
    image, name = subject.images[index], escape(subject.classes[number])
    crisp = ' class="crisp"' if max(image.shape[1:]) <= 64 else ""
    path = subject.sources[index] if len(subject.sources) else ""
    which = f'<span title="{escape(path)}">{escape(html.file_of(path))}</span>' if path else f"<span>#{index}</span>"
    has = "has" if subject.labels[index, number] else "has not"
    return (
        f'<figure><div class="picture"><img{crisp} src="{draw.data_url(image)}" alt="{has} {name}" decoding="async"></div>'
        f"<figcaption>{100 * float(subject.probs[index, number]):.1f} %{which}</figcaption></figure>\n"
    )


def _share(value: float) -> str:
    return "&ndash;" if math.isnan(value) else f"{100 * value:.2f}"
