"""The pieces of the report's page: each function turns figures into HTML. No script, no request."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from matplotlib.figure import Figure
from PIL import Image

from lamina.explain.confusion import LABELLED_CLASSES, Confusion, most_confused, shading
from lamina.explain.curves import Curve, draw_curve, is_share
from lamina.explain.drawn import panel
from lamina.explain.mistakes import Mistake
from lamina.explain.ranking import Ranking
from lamina.explain.scores import ClassScore, Scores
from lamina.explain.subject import fitting
from lamina.models.summary import Row, Summary
from lamina.structures import draw
from lamina.structures.results import percent

_FIRST_TILES, _FIRST_WIDE_TILES = 60, 20  # seen at once; the others unfold
_FIRST_RANKED = 10
_FIRST_CLASSES = 30  # of the table; with more the weakest come first, and all unfold
_FEW_CLASSES = 4  # whose cells are drawn larger
_MOST_LAYERS = 30  # that are seen at once; of more those with the most work, and all unfold
_FIRST_LAYERS = 12
_BESIDE_CLASSES = 12  # up to here the matrix leaves room for the list of pairs beside it
_MATRIX_SIDE_PX = 400
MISTAKES_BYTES = 3_500_000


def document(title: str, *, subtitle: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole page. `sections`: heading and content; one without a heading opens the page.

    The policy in its head forbids every request, so a browser would refuse what this file must not contain.
    """
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    links = " ".join(f'<a href="#{_slug(heading)}">{escape(heading)}</a>' for heading, _ in sections if heading)
    body = _unbroken(
        "\n".join(
            f'<section id="{_slug(heading)}"><details open class="part"><summary><h2>{escape(heading)}</h2></summary>\n'
            f"{content}</details></section>"
            if heading
            else content
            for heading, content in sections
        )
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<p class="brand"><span class="mark" aria-hidden="true"><i></i><i></i><i></i></span>Lamina report</p>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(subtitle)}</p>
</header>
<nav aria-label="Sections">{links}</nav>
{body}
</main>
</body>
</html>
"""


def _unbroken(content: str) -> str:
    """Numbers with their per cent sign on one line."""
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", content)


def headline(scores: Scores, *, confused: Sequence[Confusion], top5: float | None) -> str:
    """The accuracy, large; the number of mistakes; how sure one can be; where the trouble lies."""
    low, high = scores.interval
    names = [row.name for row in scores.classes]
    facts = [
        (
            "95 % interval",
            f"{100 * low:.2f} to {100 * high:.2f} %",
            f"as sure as {counted(scores.count, 'sample')} can make it",
        )
    ]
    if top5 is not None:
        facts.append(("Top-5 accuracy", percent(top5), "the truth is among the best five"))
    if confused:
        worst = confused[0]
        pair = f"{escape(names[worst.truth])} <span>taken for</span> {escape(names[worst.predicted])}"
        facts.append(("Most often confused", pair, f"{times(worst.count)}, {percent(worst.share)} of that class"))
    if scores.mistakes:
        hardest = min((row for row in scores.classes if row.support), key=lambda row: row.recall)
        equals = sum(row.recall == hardest.recall for row in scores.classes) - 1
        name = escape(hardest.name) + (f" <span>and {equals:,} more</span>" if equals else "")
        facts.append(("Hardest class", name, f"{percent(hardest.recall)} of its {hardest.support:,} found"))
    cards = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{note}</dd></div>" for name, value, note in facts)
    wrong = f"<b>{counted(scores.mistakes, 'mistake')}</b>" if scores.mistakes else "<b>Not one mistake</b>"
    return (
        f'<div class="headline"><p class="accuracy">{percent(scores.accuracy).removesuffix(" %")}<small>%</small></p>'
        f'<p class="count">{wrong} in {counted(scores.count, "sample")}</p></div>\n<dl class="cards">{cards}</dl>'
    )


def mistakes_grid(
    images: UInt8[np.ndarray, "N C H W"],
    mistakes: Sequence[Mistake],
    *,
    classes: Sequence[str],
    total: int,
    sources: Sequence[str] = (),
) -> str:
    """The pictures: predicted class at the upper left, true class at the lower right, confidence and file below.

    `sources` are the files of all images; without them a picture is named by its index.
    """
    if not mistakes:
        return '<p class="good">Every picture was classified right.</p>'
    tiles = fitting(
        (tile(images[m.index], m, classes, sources[m.index] if len(sources) else "") for m in mistakes),
        limit_bytes=MISTAKES_BYTES,
    )
    longest = max(len(classes[k]) for mistake in mistakes for k in (mistake.predicted, mistake.truth))
    wide, first = ("", _FIRST_TILES) if longest <= 4 and max(images.shape[2:]) <= 64 else (" wide", _FIRST_WIDE_TILES)
    shown = "" if len(tiles) == total else f" The {len(tiles)} most confident of {total:,} are shown."
    if len(tiles) < len(mistakes):
        shown += " More would make this page too large."
    legend = (
        '<p class="quiet">The most confident mistakes first. <span class="key"><b class="said">what the model said</b> '
        f'<b class="truth">what it is</b></span> Below: its confidence, and the '
        f"{'name of its file (point at it for the folder)' if len(sources) else 'index of the picture'}.{shown}</p>"
    )
    grid = f'<div class="tiles{wide}">{"".join(tiles[:first])}</div>'
    rest = tiles[first:]
    if not rest:
        return legend + grid
    return (
        f"{legend}{grid}<details><summary>{counted(len(rest), 'more mistake')}</summary>"
        f'<div class="tiles{wide}">{"".join(rest)}</div></details>'
    )


def tile(image: UInt8[np.ndarray, "C H W"], mistake: Mistake, classes: Sequence[str], path: str) -> str:
    """One picture with what the model said, what it is, the confidence, and its file or index."""
    said, truth = escape(classes[mistake.predicted]), escape(classes[mistake.truth])
    file = escape(file_of(path))
    which = f'<span title="{escape(path)}">{file}</span>' if path else f"<span>#{mistake.index}</span>"
    crisp = ' class="crisp"' if max(image.shape[1:]) <= 64 else ""
    return (
        f'<figure><div class="picture"><img{crisp} src="{draw.data_url(image)}" alt="{truth}, taken for {said}" '
        f'decoding="async"><b class="said" title="said: {said}">{said}</b>'
        f'<b class="truth" title="is: {truth}">{truth}</b>'
        f"</div><figcaption>{100 * mistake.confidence:.1f} %{which}</figcaption></figure>\n"
    )


def confusion_block(
    counts: Int64[np.ndarray, "K K"],
    *,
    classes: Sequence[str],
    confused: Sequence[Confusion],
    linked: Collection[tuple[int, int]] = (),
) -> str:
    """The matrix, as a table as long as it can be read and as a picture beyond, below which all linked pairs unfold; beside it the most
    confused pairs.

    The cells (truth, predicted) in `linked` are links to the pictures behind them, see cells.py.
    """
    listed = _pairs(confused, "Most often confused", classes, linked)
    legend = (
        '<p class="quiet">Rows: what it is. Columns: what the model said. Grey: right. '
        "Orange: wrong, the deeper the larger its share of the row."
        f"{' A number that is underlined leads to its pictures.' if linked else ''}</p>"
    )
    more = ""
    if len(counts) > LABELLED_CLASSES and len(linked) > len(confused):  # a picture of a matrix has no links
        every = _pairs(most_confused(counts, limit=len(linked)), "Confused pairs with pictures", classes, linked)
        more = f"<details><summary>{counted(len(linked), 'confused pair')} with pictures</summary>{every}</details>"
    stacked = "" if len(counts) <= _BESIDE_CLASSES else " stacked"
    return f'{legend}<div class="split{stacked}"><div class="matrix">{matrix(counts, classes, linked)}</div>{listed}</div>{more}'


def _pairs(
    confused: Sequence[Confusion], caption: str, classes: Sequence[str], linked: Collection[tuple[int, int]]
) -> str:
    rows = "".join(
        f"<tr><td>{escape(classes[pair.truth])}</td><td>{escape(classes[pair.predicted])}</td><td>"
        f"{_linked(f'{pair.count:,}', pair.truth, pair.predicted, linked)}</td><td>{percent(pair.share)}</td></tr>"
        for pair in confused
    )
    head = "<th>Is</th><th>Taken for</th><th>Times</th><th>Of class</th>"
    return table("figures pairs", head, rows, caption=caption) if rows else ""


def matrix(counts: Int64[np.ndarray, "K K"], classes: Sequence[str], linked: Collection[tuple[int, int]] = ()) -> str:
    """The matrix alone: a table as long as it can be read, and beyond that a picture."""
    return _matrix_table(counts, classes, linked) if len(counts) <= LABELLED_CLASSES else _matrix_image(counts)


def _linked(text: Any, truth: int, predicted: int, linked: Collection[tuple[int, int]]) -> str:
    return f'<a href="#{cell_id(truth, predicted)}">{text}</a>' if (truth, predicted) in linked else str(text)


def cell_id(truth: int, predicted: int) -> str:
    """Where the pictures of class `truth` that were taken for `predicted` stand in the page."""
    return f"cell-{truth}-{predicted}"


def _matrix_table(
    counts: Int64[np.ndarray, "K K"], classes: Sequence[str], linked: Collection[tuple[int, int]] = ()
) -> str:
    shades = shading(counts)
    upright = len(counts) <= _BESIDE_CLASSES and max(map(len, classes)) <= 3
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in classes)
    rows = []
    for row, name in enumerate(classes):
        cells = []
        for column, count in enumerate(counts[row]):
            kind = ' class="right"' if row == column else ""
            shade = f' style="--s:{shades[row, column]:.2f}"' if count else ""
            cells.append(f"<td{kind}{shade}>{_linked(count or '', row, column, linked)}</td>")
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    kind = (
        "confusion"
        + ("" if upright else " turned")
        + (" few" if len(counts) <= _FEW_CLASSES else "" if len(counts) <= _BESIDE_CLASSES else " many")
    )
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _matrix_image(counts: Int64[np.ndarray, "K K"]) -> str:
    """Shade is opacity, so one picture serves both colour schemes; where it shrinks, the worst of a block is kept."""
    size = len(counts)
    block = -(-size // _MATRIX_SIDE_PX)
    side = -(-size // block)
    diagonal = np.eye(size, dtype=bool)
    shades = shading(counts)
    padded = np.zeros((2, side * block, side * block))
    padded[0, :size, :size] = np.where(diagonal, 0, shades)
    padded[1, :size, :size] = np.where(diagonal, shades, 0) * 0.45
    wrong, right = padded.reshape(2, side, block, side, block).max(axis=(2, 4))
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = np.where((wrong >= right)[..., None], (214, 84, 26), (128, 128, 128))
    pixels[..., 3] = (np.maximum(wrong, right) * 255).round()
    pixels[pixels[..., 3] == 0] = 0
    url = draw.encoded(Image.fromarray(pixels), "PNG")
    return f'<img class="crisp" src="{url}" alt="confusion matrix of {size} classes, first class at the upper left">'


def score_table(scores: Scores) -> str:
    """Precision, recall, F1 and samples of each class, in per cent; the worst of each column is marked."""
    rows = [row for row in scores.classes if row.support or not math.isnan(row.f1)]
    if len(rows) <= _FIRST_CLASSES:
        return _scores(rows, worst_of=rows)
    weakest = sorted(rows, key=lambda row: row.f1)[:_FIRST_CLASSES]
    return (
        f'<p class="quiet">The {_FIRST_CLASSES} weakest of {len(rows):,} classes by F1.</p>'
        f"{_scores(weakest, worst_of=rows)}"
        f"<details><summary>All {len(rows):,} classes</summary>{_scores(rows, worst_of=rows)}</details>"
    )


def _scores(rows: Sequence[ClassScore], *, worst_of: Sequence[ClassScore]) -> str:
    columns = ("precision", "recall", "f1")
    worst = {}
    for name in columns:
        values = [value for row in worst_of if not math.isnan(value := getattr(row, name))]
        lowest = min(values, default=math.nan)
        worst[name] = lowest if values.count(lowest) <= 3 and len(set(values)) > 1 else math.nan
    body = []
    for row in rows:
        cells = []
        for name in columns:
            value = getattr(row, name)
            mark = ' class="worst"' if value == worst[name] else ""
            cells.append(f"<td{mark}>{'&ndash;' if math.isnan(value) else f'{100 * value:.2f}'}</td>")
        body.append(f'<tr><th scope="row">{escape(row.name)}</th>{"".join(cells)}<td>{row.support:,}</td></tr>')
    head = "<th>Class</th><th>Precision</th><th>Recall</th><th>F1</th><th>Samples</th>"
    return table("figures", head, "".join(body))


def ranking_table(ranked: Sequence[Ranking]) -> str:
    """Areas of each class, the worst average precision first."""
    there = sorted((one for one in ranked if one.support), key=lambda one: one.average_precision)
    head = "<th>Class</th><th>Average precision</th><th>Area under ROC</th><th>Samples</th>"
    rows = [
        f'<tr><th scope="row">{escape(one.name)}</th><td>{100 * one.average_precision:.2f}</td>'
        f"<td>{'&ndash;' if math.isnan(one.auc) else f'{100 * one.auc:.3f}'}</td><td>{one.support:,}</td></tr>"
        for one in there
    ]
    few = table("figures", head, "".join(rows[:_FIRST_RANKED]))
    if len(rows) <= _FIRST_RANKED:
        return few
    return (
        f"{few}<details><summary>All {len(rows):,} classes</summary>{table('figures', head, ''.join(rows))}</details>"
    )


def curve_panel(curve: Curve) -> str:
    """One learning curve as inline SVG in the page's own letters and colours."""
    figure = Figure(figsize=(4.0, 2.6), layout="constrained")
    draw_curve(figure.add_subplot(), curve)
    note = ""
    if curve.best is not None:
        epoch, value = curve.best
        kind = "validation" if np.isfinite(curve.validation).any() else "training"
        note = f"best {kind} {percent(value) if is_share(curve.name) else f'{value:.4f}'}, epoch {epoch}"
    return panel(_titled(curve.name), figure, note=note, label=f"{curve.name} over the epochs")


def layer_table(summary: Summary) -> str:
    """The layers of the network with shapes, parameters, multiply-adds and receptive fields; the totals above."""
    titles = ("Layer", "Kind", "Output", "Parameters", "Multiply-adds", "Sees, px")
    head = "".join(f"<th>{title}</th>" for title in titles)
    lines = []
    for row in summary.rows:
        shapes = ", ".join(
            " x ".join("?" if size is None else str(size) for size in shape) for shape in row.output_shape
        )
        cells = (row.name, row.kind, shapes, _cell(row.parameters or ""), _cell(row.multiply_adds or ""), _field(row))
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*map(escape, cells[:3]), *cells[3:]))}</tr>")
    caption, whole = escape(summary.caption), table("figures layers", head, "".join(lines))
    if len(lines) <= _MOST_LAYERS:
        return f'<p class="quiet">{caption}</p>{whole}'
    work = sorted(range(len(lines)), key=lambda place: -(summary.rows[place].multiply_adds or 0))[:_FIRST_LAYERS]
    few = table("figures layers", head, "".join(lines[place] for place in sorted(work)))
    return (
        f'<p class="quiet">{caption}. The {_FIRST_LAYERS} layers with the most work:</p>{few}'
        f"<details><summary>All {len(lines):,} layers</summary>{whole}</details>"
    )


def _field(row: Row) -> str:
    if row.receptive_field is None:
        return _cell("")
    sizes = ["all" if size is None else str(size) for size in row.receptive_field]
    return sizes[0] if sizes[0] == sizes[1] else " x ".join(sizes)


def facts(pairs: Mapping[str, Any]) -> str:
    """Names and values, one beside the other."""
    items = "".join(f"<div><dt>{escape(str(name))}</dt><dd>{_cell(value)}</dd></div>" for name, value in pairs.items())
    return f'<dl class="facts">{items}</dl>'


def table(kind: str, head: str, body: str, *, caption: str = "") -> str:
    told = f"<caption>{caption}</caption>" if caption else ""
    written = f'<table class="{kind}">{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{written}</div>'


def file_of(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[/\\]", path)[-1]


def counted(count: int, noun: str) -> str:
    """`1 mistake`, `1,203 mistakes`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def times(count: int) -> str:
    """`once`, `twice`, `14 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "&ndash;"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(str(value))


def _titled(name: str) -> str:
    if name in ("mae", "mse", "rmse", "r2"):
        return name.upper().replace("R2", "R\N{SUPERSCRIPT TWO}")
    words = name.replace("_", " ").replace("iou", "IoU")
    return words[:1].upper() + words[1:]


def _slug(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")
