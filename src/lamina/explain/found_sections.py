"""The sections of a report on a detector: what it missed and what it saw wrongly, by picture, class, size and kind of error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np
import torch
from jaxtyping import Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lamina.explain import html
from lamina.explain.beside import USUAL_SCORE, FoundBeside
from lamina.explain.drawn import INK, TRAIN, VALIDATION, panel, percents, plain
from lamina.explain.html import counted
from lamina.explain.subject import Scene, fitting
from lamina.metrics.box_errors import KINDS
from lamina.metrics.coco import CocoScores
from lamina.metrics.coco_matching import AREAS
from lamina.structures import draw, drawing
from lamina.structures.annotation import Annotation
from lamina.structures.detections import brief_score

PICTURES_BYTES = 4_500_000
_NAMED = 12  # wrong boxes of a picture that are named; more names would hide it
_FIRST = 6  # pictures that are seen at once; the others unfold
_SIDE_PX = 560  # of a drawn picture's longer side
_RIGHT: drawing.Colour = (222, 222, 214)
_WRONG: drawing.Colour = (232, 90, 20)
FALSE = KINDS[1:-1]  # what is neither right nor left out
_DRAWN_CLASSES = 8  # whose curves are drawn: the best and the worst
_MEANING = {
    "right": "matched by COCO's rule: the class, and an overlap of at least 0.5",
    "poorly placed": "the class is right, the overlap with the object from 0.1 to below 0.5",
    "wrong class": "well placed, on an object of another class",
    "duplicate": "on an object that a more certain one has found",
    "wrong class and place": "overlaps an object of another class somewhat",
    "background": "where nothing is annotated",
    "missed": "objects that nothing found",
}


def headline(scene: Scene) -> str:
    """AP, large; what is missed and what is false; the hardest class."""
    beside: FoundBeside = scene.beside
    numbers, counts = beside.scores.numbers, beside.errors.counts
    false, truths = sum(counts[kind] for kind in FALSE), int(beside.scores.truths[:, 0].sum())
    facts = [
        ("AP50", _share(numbers["AP50"]), "a box counts from an overlap of 0.5"),
        ("AP75", _share(numbers["AP75"]), "from an overlap of 0.75"),
        ("Missed", f"{counts['missed']:,}", f"of {counted(truths, 'object')}"),
        ("False", f"{false:,}", f"beside {counts['right']:,} right ones"),
    ]
    known = {name: told["AP"] for name, told in beside.scores.per_class.items() if not math.isnan(told["AP"])}
    if len(known) > 1:
        hardest = min(known, key=lambda name: known[name])
        facts.append(("Hardest class", escape(hardest), f"AP {_share(known[hardest])}"))
    cards = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{note}</dd></div>" for name, value, note in facts)
    said = f"<b>{counted(counts['missed'] + false, 'error')}</b> in {counted(len(beside.rows), 'picture')}"
    return (
        f'<div class="headline"><p class="accuracy">{_share(numbers["AP"]).removesuffix(" %")}<small>% AP</small></p>'
        f'<p class="count">{said}</p></div>\n<dl class="cards">{cards}</dl>'
        f'<p class="quiet">AP: the mean of precision over recall, classes, and overlaps from 0.5 to 0.95, as COCO has it. Errors are those '
        f"of detections with a score of at least {USUAL_SCORE:g}, as predict shows them.{_left_out(beside)}</p>"
    )


def _left_out(beside: FoundBeside) -> str:
    if not beside.unreadable:
        return ""
    return f" {counted(len(beside.unreadable), 'picture')} could not be read: {escape(beside.unreadable[0])}"


def worst(scene: Scene) -> str:
    """The pictures with the most errors first: objects that were missed, and beside them detections that are wrong."""
    beside: FoundBeside = scene.beside
    missed, false = errors_by_picture(beside)
    order = [place for place in np.lexsort((-false, -(missed + false))).tolist() if missed[place] + false[place]]
    if not order:
        return '<p class="good">Everything was found, and nothing else.</p>'
    written = fitting(_pictures(scene, order[: scene.shown]), limit_bytes=PICTURES_BYTES)
    few = "" if len(written) == len(order) else f" The worst {len(written):,} of {len(order):,} are shown."
    legend = (
        '<p class="quiet">There is: what was missed is named and orange. Found: what is wrong is orange, with its score and why (of '
        f"the {_NAMED} most certain). What is right is pale on both sides.{few}</p>"
    )
    first, rest = "".join(written[:_FIRST]), written[_FIRST:]
    more = f"<details><summary>{counted(len(rest), 'more picture')}</summary>{''.join(rest)}</details>" if rest else ""
    return f"{legend}{first}{more}"


def errors_by_picture(beside: FoundBeside) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """How many objects are missed, and how many detections are wrong, in each picture."""
    count, errors = len(beside.rows), beside.errors
    of_found = np.repeat(np.arange(count), [len(each) for each in beside.found])
    of_truth = np.repeat(np.arange(count), [_objects(each) for each in beside.truths])
    wrong = np.isin(errors.kinds, [KINDS.index(kind) for kind in FALSE])
    return np.bincount(of_truth[errors.missed], minlength=count), np.bincount(of_found[wrong], minlength=count)


def _objects(truth: Annotation) -> int:
    return 0 if truth.boxes_xyxy is None else len(truth.boxes_xyxy)


def _pictures(scene: Scene, order: Sequence[int]) -> Iterator[str]:
    beside: FoundBeside = scene.beside
    ends_found = np.cumsum([0, *(len(each) for each in beside.found)])
    ends_truth = np.cumsum([0, *(_objects(each) for each in beside.truths)])
    for place in order:
        image = draw.picture(scene.data.picture(beside.rows[place])).convert("RGB")
        scale = min(_SIDE_PX / max(image.size), 4.0)
        shown = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
        kinds = [KINDS[kind] for kind in beside.errors.kinds[ends_found[place] : ends_found[place + 1]]]
        gone = beside.errors.missed
        missed = gone[(gone >= ends_truth[place]) & (gone < ends_truth[place + 1])] - ends_truth[place]
        truth, found = beside.truths[place], beside.found[place]
        told, count = set(missed.tolist()), _objects(truth)
        names = [beside.classes[int(truth.labels[row])] if row in told else "" for row in range(count)]  # type: ignore[index]
        left = _boxes(shown, truth.boxes_xyxy, names, [row in told for row in range(count)], scale, truth.crowd)
        seen = [row for row, kind in enumerate(kinds) if kind != KINDS[-1]]
        wrong = [kinds[row] != "right" for row in seen]
        named = sorted((row for row in seen if kinds[row] != "right"), key=lambda row: -found[row].score)[:_NAMED]
        labels = [
            f"{found[row].label} {brief_score(found[row].score)}: {kinds[row]}" if row in named else "" for row in seen
        ]
        right = _boxes(shown, torch.from_numpy(found.boxes_xyxy[seen]), labels, wrong, scale)
        said = Counter(kinds[row] for row in seen if kinds[row] != "right")
        parts = [f"{len(told):,} missed"] * bool(told) + [f"{number:,} {kind}" for kind, number in said.most_common()]
        yield figure(
            [("There is", draw.data_url(left, side_px=_SIDE_PX)), ("Found", draw.data_url(right, side_px=_SIDE_PX))],
            caption=f"{', '.join(parts)}; {count - len(told):,} of {counted(count, 'object')} found",
            name=beside.names[place],
            row=beside.rows[place],
        )


def _boxes(
    shown: draw.Picture, boxes: object, names: list[str], wrong: list[bool], scale: float, crowd: object = None
) -> draw.Picture:
    """The picture with its boxes, the wrong ones on top."""
    if boxes is None or not len(names):
        return shown
    order = torch.tensor(np.argsort(wrong, kind="stable"))
    corners = torch.as_tensor(boxes)[order] * scale
    told = Annotation(boxes_xyxy=corners, crowd=None if crowd is None else torch.as_tensor(crowd)[order])
    shades = [_WRONG if wrong[row] else _RIGHT for row in order.tolist()]
    return drawing.boxed(shown, told, classes=(), names=[names[row] for row in order.tolist()], shades=shades)


def figure(sides: Iterable[tuple[str, str]], *, caption: str, name: str, row: int) -> str:
    """Pictures of one scene side by side, each with its title, and a line below that names the file."""
    which = f'<span title="{escape(name)}">{escape(html.file_of(name))}</span>' if name else f"<span>#{row}</span>"
    shown = "".join(
        f'<div><p>{escape(title)}</p><img src="{url}" alt="{escape(title)}: {escape(caption)}" decoding="async"></div>'
        for title, url in sides
    )
    return f'<figure class="scene"><div class="sides">{shown}</div><figcaption>{escape(caption)}{which}</figcaption></figure>\n'


def kinds_of_error(scene: Scene) -> str:
    """What went wrong how often, in all and by class."""
    errors = scene.beside.errors
    columns = (*KINDS[:-1], "missed")
    told = {name: counts for name, counts in errors.per_class.items() if any(counts[kind] for kind in columns)}
    meaning = "".join(
        f'<tr><th scope="row">{_capital(kind)}</th><td>{errors.counts[kind]:,}</td><td>{escape(_MEANING[kind])}</td></tr>'
        for kind in columns
    )
    explained = html.table("figures meaning", "<th>Kind</th><th>Times</th><th></th>", meaning)
    if len(told) < 2:
        return explained
    head = "<th>Class</th>" + "".join(f"<th>{_capital(kind)}</th>" for kind in columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{counts[kind]:,}</td>" for kind in columns)}</tr>'
        for name, counts in sorted(told.items(), key=lambda each: each[1]["right"] - sum(each[1].values()))
    )
    return f"{explained}<details><summary>By class</summary>{html.table('figures', head, rows)}</details>"


def by_size(scene: Scene) -> str:
    """How well small, medium and large objects are found."""
    scores: CocoScores = scene.beside.scores
    limits = {"small": "up to 32 x 32 px", "medium": "up to 96 x 96 px", "large": "above"}
    rows = "".join(
        f'<tr><th scope="row">{_capital(size)}, {limits[size]}</th><td>{_share(scores[f"AP{size}"])}</td>'
        f"<td>{_share(scores[f'AR{size}'])}</td><td>{int(scores.truths[:, list(AREAS).index(size)].sum()):,}</td></tr>"
        for size in limits
    )
    legend = '<p class="quiet">Average recall: of at most 100 detections of a class in a picture, over all overlaps from 0.5 to 0.95.</p>'
    return legend + html.table("figures", "<th>Size</th><th>AP</th><th>Average recall</th><th>Objects</th>", rows)


def per_class(scene: Scene) -> str:
    """AP of each class, the worst first, and from which score on it is best told."""
    scores: CocoScores = scene.beside.scores
    told = scores.per_class
    order = [name for name in told if scores.truths[scores.classes.index(name), 0]]
    order.sort(key=lambda name: told[name]["AP"])
    columns = ("AP", "AP50", "AP75", "AR100")
    rows = []
    for name in order:
        index = scores.classes.index(name)
        cells = "".join(f"<td>{_share(told[name][column])}</td>" for column in columns)
        score, f1 = best_threshold(scores, index)
        best = f"<td>{score:.2f}</td><td>{_share(f1)}</td>" if f1 else "<td>&ndash;</td><td>&ndash;</td>"
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th>{cells}{best}<td>{int(scores.truths[index, 0]):,}</td></tr>'
        )
    head = (
        "<th>Class</th><th>AP</th><th>AP50</th><th>AP75</th><th>Average recall</th><th>Best threshold</th><th>F1 there</th>"
        "<th>Objects</th>"
    )
    absent = [name for name in told if name not in order]
    note = f'<p class="quiet">No object is of: {escape(", ".join(absent))}.</p>' if absent else ""
    return html.table("figures", head, "".join(rows)) + note


def best_threshold(scores: CocoScores, label: int) -> tuple[float, float]:
    """The score from which on F1 of a class is largest at an overlap of 0.5, and that F1; (NaN, 0) where nothing was found."""
    curve = scores.curve(label)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.nan_to_num(2 * curve.precision * curve.recall / (curve.precision + curve.recall))
    best = int(f1.argmax())
    return float(curve.scores[best]), float(f1[best])


def curves(scene: Scene) -> str:
    """Precision over recall, of all classes and of some."""
    scores: CocoScores = scene.beside.scores
    there = [index for index in range(len(scores.classes)) if scores.truths[index, 0]]
    if not there:
        return ""
    panels = panel("Classes", _class_curves(scores, there), note="at an overlap of 0.5")
    panels += panel("Overlaps", _overlap_curves(scores, there), note="mean of the classes")
    return f'<div class="panels">{panels}</div>'


def _class_curves(scores: CocoScores, there: Sequence[int]) -> Figure:
    figure, axes = _axes()
    ranked = sorted(there, key=lambda index: -scores.curve(index).precision.mean())
    if len(ranked) > _DRAWN_CLASSES:
        ranked = [*ranked[: _DRAWN_CLASSES // 2], *ranked[-_DRAWN_CLASSES // 2 :]]
    for number, index in enumerate(ranked):
        curve = scores.curve(index)
        dashes = ("solid", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))[number % 4]
        colour = INK if number < 4 else TRAIN
        axes.plot(curve.recall, curve.precision, color=colour, linestyle=dashes, lw=1.4, label=scores.classes[index])
    if len(there) > 1:
        mean = np.mean([scores.curve(index).precision for index in there], axis=0)
        axes.plot(curve.recall, mean, color=VALIDATION, lw=2.2, label="mean")
    figure.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=2.6, loc="outside lower center", ncols=3)
    return figure


def _overlap_curves(scores: CocoScores, there: Sequence[int]) -> Figure:
    figure, axes = _axes()
    for overlap, dashes, colour in ((0.5, "solid", VALIDATION), (0.75, (0, (5, 2)), INK), (0.9, (0, (1, 1.4)), TRAIN)):
        curves = [scores.curve(index, overlap=overlap) for index in there]
        mean = np.mean([curve.precision for curve in curves], axis=0)
        axes.plot(curves[0].recall, mean, color=colour, linestyle=dashes, lw=1.8, label=f"{overlap:g}")
    figure.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=2.6, loc="outside lower center", ncols=3)
    return figure


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("recall", fontsize=9, color=INK)
    axes.set_ylabel("precision", fontsize=9, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(percents))
    return figure, axes


def _share(value: float) -> str:
    return "&ndash;" if math.isnan(value) else f"{100 * value:.1f} %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
