"""The sections of a report on a segmenter: which pixels it takes for what, by picture and by class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lamina.explain import html
from lamina.explain.beside import MappedBeside
from lamina.explain.found_sections import figure
from lamina.explain.html import counted
from lamina.explain.subject import Scene, fitting
from lamina.structures import draw
from lamina.structures.annotation import IGNORED
from lamina.structures.drawing import colour
from lamina.structures.segmentation import SegmentationMap

PICTURES_BYTES = 4_500_000
_FIRST = 8  # pictures that are seen at once; the others unfold
_SIDE_PX = 400  # of a drawn picture's longer side
_WRONG = (232, 90, 20)
_DIM = 0.6  # of their light is left to pixels that are right
_PAIRS = 12  # of classes that are confused most


def headline(scene: Scene) -> str:
    """The mean IoU, large; how many pixels are right; the hardest class."""
    beside: MappedBeside = scene.beside
    scores = beside.scores
    facts = [
        ("Pixels right", _share(scores.pixel_accuracy), f"of {_millions(int(scores.confusion.sum()))} labelled ones"),
        ("Mean accuracy", _share(scores.mean_accuracy), "each class counts as much"),
    ]
    known = np.flatnonzero(~np.isnan(scores.iou))
    if len(known) > 1:
        hardest = int(known[scores.iou[known].argmin()])
        facts.append(("Hardest class", escape(scores.classes[hardest]), f"IoU {_share(float(scores.iou[hardest]))}"))
    cards = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{note}</dd></div>" for name, value, note in facts)
    notes = []
    if scores.absent:
        notes.append(f"No pixel is of {escape(', '.join(scores.absent))}, which the mean leaves out.")
    if beside.unreadable:
        notes.append(f"{counted(len(beside.unreadable), 'picture')} could not be read: {escape(beside.unreadable[0])}")
    return (
        f'<div class="headline"><p class="accuracy">{_share(scores.mean_iou).removesuffix(" %")}<small>%</small></p>'
        f'<p class="count"><b>mean IoU</b> in {counted(len(beside.rows), "picture")}</p></div>\n<dl class="cards">{cards}</dl>'
        '<p class="quiet">IoU, intersection over union: of the pixels that are of a class or were taken for it, those that are both. '
        f"The mean is over classes, of all pixels together. {' '.join(notes)}</p>"
    )


def worst(scene: Scene) -> str:
    """The pictures of the lowest mean IoU first: truth, answer and difference side by side."""
    beside: MappedBeside = scene.beside
    order = [place for place in np.argsort(beside.mean_iou, kind="stable").tolist() if beside.wrong[place] > 0]
    if not order:
        return '<p class="good">Every labelled pixel is right.</p>'
    written = fitting(_pictures(scene, order[: scene.shown]), limit_bytes=PICTURES_BYTES)
    few = "" if len(written) == len(order) else f" The worst {len(written):,} of {len(order):,} are shown."
    key = "".join(
        f'<span><i style="background:rgb{colour(number)}"></i>{escape(name)}</span>'
        for number, name in enumerate(beside.classes)
    )
    legend = (
        f'<p class="quiet">The lowest mean IoU first. Difference: what is wrong is orange, pixels without a label are black.{few}</p>'
        f'<p class="legend">{key}</p>'
    )
    first, rest = "".join(written[:_FIRST]), written[_FIRST:]
    more = f"<details><summary>{counted(len(rest), 'more picture')}</summary>{''.join(rest)}</details>" if rest else ""
    return f"{legend}{first}{more}"


def _pictures(scene: Scene, order: Sequence[int]) -> Iterator[str]:
    beside: MappedBeside = scene.beside
    for place in order:
        picture, annotation = scene.data[beside.rows[place]]
        found: SegmentationMap = scene.model.predict([picture], engine="torch")[0]
        truth = annotation.class_map.numpy()
        sides = {
            "Truth": SegmentationMap(truth, beside.classes, image=picture).overlay(),
            "Answer": found.overlay(),
            "Difference": difference(picture, truth, found.class_map),
        }
        yield figure(
            [(title, draw.data_url(shown, side_px=_SIDE_PX)) for title, shown in sides.items()],
            caption=f"Mean IoU {_share(float(beside.mean_iou[place]))}, {_share(float(beside.wrong[place]))} of its pixels wrong",
            name=beside.names[place],
            row=beside.rows[place],
        )


def difference(picture: draw.Picture, truth: UInt8[np.ndarray, "H W"], found: UInt8[np.ndarray, "H W"]) -> Image.Image:
    """The picture, dim and grey where the answer is right, orange where it is wrong, black where nothing is labelled."""
    grey = np.asarray(draw.picture(picture).convert("L")).astype(np.float32)
    pixels = np.repeat(grey[..., None] * _DIM, 3, axis=-1)
    wrong = (truth != found) & (truth != IGNORED)
    pixels[wrong] = 0.3 * grey[wrong][:, None] * np.array(_WRONG) / 255 + 0.7 * np.array(_WRONG)
    pixels[truth == IGNORED] = 0
    return Image.fromarray(pixels.round().astype(np.uint8))


def per_class(scene: Scene) -> str:
    """IoU and accuracy of each class, the worst first."""
    scores = scene.beside.scores
    true = scores.confusion.sum(1)
    order = [int(index) for index in np.argsort(scores.iou, kind="stable") if true[index]]
    rows = "".join(
        f'<tr><th scope="row"><i class="swatch" style="background:rgb{colour(index)}"></i>{escape(scores.classes[index])}</th>'
        f"<td>{_share(float(scores.iou[index]))}</td><td>{_share(float(scores.accuracy[index]))}</td>"
        f"<td>{_share(true[index] / true.sum())}</td></tr>"
        for index in order
    )
    head = "<th>Class</th><th>IoU</th><th>Accuracy</th><th>Of the pixels</th>"
    note = f'<p class="quiet">No pixel is of: {escape(", ".join(scores.absent))}.</p>' if scores.absent else ""
    return html.table("figures", head, rows) + note


def confusion(scene: Scene) -> str:
    """Which class is taken for which, in per cent of its pixels, and the pairs that cost most."""
    scores = scene.beside.scores
    matrix = scores.confusion
    true = matrix.sum(1)
    if len(matrix) < 2:
        return ""
    percents = (100 * matrix / np.maximum(true, 1)[:, None]).round().astype(np.int64)
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    pairs = [divmod(int(cell), len(matrix)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]]
    rows = "".join(
        f"<tr><td>{escape(scores.classes[is_])}</td><td>{escape(scores.classes[said])}</td>"
        f"<td>{_share(wrong[is_, said] / true[is_])}</td><td>{_share(wrong[is_, said] / max(wrong.sum(), 1))}</td></tr>"
        for is_, said in pairs
        if wrong[is_, said]
    )
    listed = (
        '<div class="scroll"><table class="figures pairs"><caption>What costs most pixels</caption><thead><tr><th>Is</th>'
        f"<th>Taken for</th><th>Of class</th><th>Of all errors</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
    legend = (
        '<p class="quiet">Rows: what it is. Columns: what the model said. Per cent of the pixels of the row, rounded. '
        "Grey: right. Orange: wrong, the deeper the larger its share.</p>"
    )
    drawn = f'<div class="matrix">{html.matrix(percents, scores.classes)}</div>'
    return f'{legend}<div class="split stacked">{drawn}{listed if rows else ""}</div>'


def _share(value: float) -> str:
    return "&ndash;" if math.isnan(value) else f"{100 * value:.1f} %"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1_000_000 else f"{count:,}"
