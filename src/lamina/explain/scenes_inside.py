"""The sections of a report on a detector or a segmenter that look into its network: where errors come from, pictures as points.

They are bounded in seconds and bytes as those of `inside` are, and there for networks that stand on a trunk's maps alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lamina.data.geometry import Window
from lamina.explain import html, inside, located
from lamina.explain.beside import FoundBeside, MappedBeside
from lamina.explain.found_sections import FALSE, errors_by_picture
from lamina.explain.heat import Heat, normalised
from lamina.explain.lens import Lens, Looked
from lamina.explain.subject import Scene, fitting
from lamina.metrics.box_errors import KINDS
from lamina.structures import draw, drawing
from lamina.structures.annotation import IGNORED, Annotation

_HEATS, _SIDE_PX = 12, 260
_LIGHT: drawing.Colour = (255, 255, 255)


def sources_of_boxes(scene: Scene) -> str:
    """Of the pictures with the most errors the surest wrong box, or an object that was missed, and what speaks for its class."""
    lens = _lens(scene)
    beside: FoundBeside = scene.beside
    missed, false = errors_by_picture(beside)
    worst = [place for place in np.lexsort((-false, -(missed + false))).tolist() if missed[place] + false[place]]
    if lens is None or not worst:
        return ""

    def tiles() -> Iterator[str]:
        began = time.perf_counter()
        for place in worst[: min(_HEATS, scene.shown)]:
            if time.perf_counter() - began > inside.SECONDS:
                return
            box, label, kind = _strongest(beside, place)
            looked = lens.look(draw.picture(scene.data.picture(beside.rows[place])))
            cam = located.box_cam(lens, looked.image, _seen_box(box, looked), label)
            if cam is None:
                continue
            name = beside.classes[label]
            shown = _heat(looked, cam, name).overlay(side_px=_SIDE_PX)
            scale = max(shown.size) / max(looked.shown.size)
            marked = drawing.boxed(
                shown, Annotation(boxes_xyxy=box[None] * scale), classes=(), names=[""], shades=[_LIGHT]
            )
            css = "truth" if kind == "missed" else "said"
            yield _tile(
                marked,
                f'<b class="{css}">{escape(name)}</b>',
                f"{name}: {kind}",
                beside.names[place],
                beside.rows[place],
            )

    legend = (
        "Light: what speaks for the class in the box that is drawn, which is "
        '<span class="key"><b class="said">the surest wrong one</b></span> or <span class="key"><b class="truth">an object that was missed'
        "</b></span> (Grad-CAM, place by place, at the maps that the detector stands on; the line is at half of the most). Dark all over: "
        "nothing there speaks for it."
    )
    return _tiles(legend, tiles())


def sources_of_pixels(scene: Scene) -> str:
    """Of the worst pictures the pixels of one class that were taken for another most often: what speaks for either class in them."""
    lens = _lens(scene)
    beside: MappedBeside = scene.beside
    worst = [place for place in np.argsort(beside.mean_iou, kind="stable").tolist() if beside.wrong[place] > 0]
    if lens is None or not worst:
        return ""

    def tiles() -> Iterator[str]:
        began = time.perf_counter()
        for place in worst[: min(_HEATS, scene.shown)]:
            if time.perf_counter() - began > inside.SECONDS:
                return
            picture, annotation = scene.data[beside.rows[place]]
            looked = lens.look(draw.picture(picture))
            share = 0.0

            def choose(
                found: UInt8[np.ndarray, "H W"], window: Window = looked.window, known: Annotation = annotation
            ) -> tuple[list[int], Tensor] | None:
                nonlocal share
                assert known.class_map is not None
                truth = _seen_map(known.class_map.numpy(), window, (found.shape[0], found.shape[1]))
                wrong = (truth != found) & (truth != IGNORED)
                if not wrong.any():  # in pixels of the picture's own alone
                    return None
                counts = np.zeros((len(beside.classes),) * 2, np.int64)
                np.add.at(counts, (truth[wrong], found[wrong]), 1)
                is_, taken = divmod(int(counts.argmax()), len(beside.classes))
                where = wrong & (truth == is_) & (found == taken)
                share = float(where.mean())
                return [taken, is_], torch.from_numpy(where)

            labels, cams = located.pixels_cams(lens, looked.image, choose)
            names = [beside.classes[label] for label in labels]
            sides = [_heat(looked, cam, name).overlay(side_px=_SIDE_PX) for cam, name in zip(cams, names, strict=True)]
            if len(sides) == 2:
                badges = f'<b class="said">{escape(names[0])}</b><b class="truth">{escape(names[1])}</b>'
                told = f"{100 * share:.1f} % of the picture"
                yield _tile(inside.side_by_side(*sides), badges, told, beside.names[place], beside.rows[place])

    legend = (
        "Of the pixels in which the worst pictures are wrong, those of the commonest confusion. Light, at the left: what speaks for "
        '<span class="key"><b class="said">what the model said</b></span> of them, at the right: for <span class="key"><b class="truth">'
        "what they are</b></span> (Grad-CAM, summed over these pixels, place by place; the line is at half of the most)."
    )
    return _tiles(legend, tiles())


def as_points(scene: Scene) -> str:
    """The pictures as points, by the coarsest map of the trunk, with what stands in each as its class."""
    lens = _lens(scene)
    rows = scene.beside.rows
    if lens is None or len(rows) < inside.FEWEST:
        return ""
    assert lens.preprocess is not None
    order = inside.sampled(len(rows))
    parts, labels, taken, began = (
        list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]](),
        list[int](),
        list[int](),
        time.perf_counter(),
    )
    classes = (*scene.beside.classes, "nothing")
    usual = _usual(scene)
    for start in range(0, len(order), inside.BATCH):
        places = order[start : start + inside.BATCH].tolist()
        pairs = [scene.data[rows[place]] for place in places]
        parts.append(located.features(lens, lens.preprocess.stack([picture for picture, _ in pairs])))
        labels += [_class_of(annotation, len(classes) - 1, usual) for _, annotation in pairs]
        taken += places
        if time.perf_counter() - began > inside.SECONDS:
            break

    def tile(row: int, number: int) -> str:
        place = taken[row]
        picture = draw.picture(scene.data[rows[place]][0])
        return inside.numbered(picture, classes[labels[row]], scene.beside.names[place], rows[place], number)

    means = (
        "the class that it has most more of than the others" if usual is not None else "the class of its largest object"
    )
    note = (
        f"Each picture is marked by {means}. Points that lie near one another are alike to the network. Numbered: the farthest from "
        "others so marked."
    )
    return inside.points(
        np.concatenate(parts), np.array(labels), classes, "the head", np.array(taken), tile=tile, note=note
    )


def _usual(scene: Scene) -> Int64[np.ndarray, " K"] | None:
    """The share of each class among all labelled pixels; None of a detector."""
    if not isinstance(scene.beside, MappedBeside):
        return None
    pixels = scene.beside.confusion.sum(1)
    return np.asarray(pixels / max(pixels.sum(), 1))


def _class_of(annotation: Annotation, nothing: int, usual: Int64[np.ndarray, " K"] | None) -> int:
    """By what a picture is marked: see as_points."""
    if usual is not None:
        assert annotation.class_map is not None
        counts = np.bincount(annotation.class_map.numpy().ravel(), minlength=256)[: len(usual)]
        return int((counts / counts.sum() - usual).argmax()) if counts.sum() else nothing
    boxes, labels = annotation.boxes_xyxy, annotation.labels
    if boxes is None or labels is None or not len(boxes):
        return nothing
    return int(labels[(boxes[:, 2:] - boxes[:, :2]).prod(1).argmax()])


def _strongest(beside: FoundBeside, place: int) -> tuple[Tensor, int, str]:
    """Of a picture with errors the wrong box of the highest score, else the largest object that was missed: box, class, kind."""
    first = sum(len(each) for each in beside.found[:place])
    found, kinds = beside.found[place], beside.errors.kinds[first : first + len(beside.found[place])]
    wrong = [row for row, kind in enumerate(kinds.tolist()) if KINDS[kind] in FALSE]
    if wrong:
        row = max(wrong, key=lambda row: float(found.scores[row]))
        return torch.from_numpy(found.boxes_xyxy[row]), int(found.labels[row]), KINDS[kinds[row]]
    before = sum(0 if each.boxes_xyxy is None else len(each.boxes_xyxy) for each in beside.truths[:place])
    truth = beside.truths[place]
    assert truth.boxes_xyxy is not None
    assert truth.labels is not None
    missed = [row - before for row in beside.errors.missed.tolist() if before <= row < before + len(truth.boxes_xyxy)]
    sides = truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]
    row = max(missed, key=lambda row: float(sides[row].prod()))
    return truth.boxes_xyxy[row].float(), int(truth.labels[row]), "missed"


def _seen_box(box: Tensor, looked: Looked) -> Tensor:
    """A box of the picture in pixels of the network's input."""
    window, (height, width) = looked.window, looked.image.shape[-2:]
    shift = box.new_tensor([window.left, window.top] * 2)
    return (box - shift) * box.new_tensor([width / window.width, height / window.height] * 2)


def _seen_map(
    truth: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], window: Window, size: tuple[int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A map of the picture's pixels at those of the network's input; where there is no picture, no class."""
    rows = np.floor(window.top + (np.arange(size[0]) + 0.5) / size[0] * window.height).astype(int)
    columns = np.floor(window.left + (np.arange(size[1]) + 0.5) / size[1] * window.width).astype(int)
    seen = truth[rows.clip(0, truth.shape[0] - 1)][:, columns.clip(0, truth.shape[1] - 1)].copy()
    seen[(rows < 0) | (rows >= truth.shape[0])] = IGNORED
    seen[:, (columns < 0) | (columns >= truth.shape[1])] = IGNORED
    return np.asarray(seen)


def _lens(scene: Scene) -> Lens | None:
    lens = inside.lens_of(scene)
    return lens if lens is not None and located.standing(lens) is not None else None


def _heat(looked: Looked, cam: np.ndarray[tuple[int, ...], np.dtype[np.float32]], label: str) -> Heat:
    return Heat(normalised(cam), looked.shown, looked.window, label, 0.0, "Grad-CAM")


def _tile(shown: draw.Picture, badges: str, told: str, name: str, row: int) -> str:
    image = draw.picture(shown)
    which = escape(html.file_of(name)) if name else f"#{row}"
    return (
        f'<figure><div class="picture" style="aspect-ratio:{image.width}/{image.height}"><img src='
        f'"{draw.data_url(image, side_px=max(image.size))}" alt="{escape(told)}: what speaks for it" decoding="async">{badges}</div>'
        f'<figcaption title="{escape(name)}">{escape(told)}<span>{which}</span></figcaption></figure>'
    )


def _tiles(legend: str, tiles: Iterator[str]) -> str:
    pieces = fitting(tiles, limit_bytes=inside.BYTES)
    columns = "grid-template-columns:repeat(auto-fill,minmax(min(15rem,100%),1fr))"
    return (
        f'<p class="quiet">{legend}</p><div class="tiles" style="{columns}">{"".join(pieces)}</div>' if pieces else ""
    )
