"""The sections of the report that look into the network: filters, where mistakes come from, pictures as points.

Each is bounded in seconds and bytes: the report of a large network must not take minutes. Models that are more than one network,
and networks without convolutions, have none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from lamina.core.errors import LaminaError
from lamina.data.geometry import Window
from lamina.explain.drawn import png_url
from lamina.explain.embedding import Embedding, outlying, placed, pooled
from lamina.explain.first_layer import Filters, filters
from lamina.explain.heat import Heat, normalised
from lamina.explain.html import file_of
from lamina.explain.lens import Lens
from lamina.explain.mistakes import find_mistakes
from lamina.explain.saliency import cams_of
from lamina.explain.sections import LIKELY
from lamina.explain.seen import NO_LABEL, drawable, first_of
from lamina.explain.subject import About, Subject, fitting
from lamina.explain.watching import given_to
from lamina.networks import contract
from lamina.structures import draw

_HEATS, _HEAT_PX = 12, 150
_OF_ONE = 2  # labels of one picture
_POINTS, _POINTS_IN = (
    1000,
    (4.2, 4.4),
)  # in inches as wide as a phone's page: letters are as large there as they are drawn
SECONDS = 15.0  # of each section
BATCH = 8  # pictures between two looks at the clock: 32 of a large network on a busy machine take half a minute
BYTES = 1_000_000
_ODD, FEWEST = 8, 8  # pictures


def first_filters(subject: About) -> str:
    """The filters of the first convolution, and where the run's seed tells it, what they were."""
    net = getattr(subject.model, "net", None)
    if not isinstance(net, nn.Module) or not _has_maps(net):
        return ""
    found = _with_beginning(subject)
    note = "Each by itself, from its least value to its largest."
    if found.change is not None:
        change = sorted(found.change.tolist())
        note += f" In training they moved by {100 * change[len(change) // 2]:.0f} % of their length (median)."
    return f'<p class="quiet">{escape(note)}</p>{figure_image(found.figure(), "Filters of the first convolution", dpi=110)}'


def _with_beginning(subject: About) -> Filters:
    """With the initial values, where the settings tell a seed and the network did not begin with weights from elsewhere."""
    seed = subject.settings.get("seed")
    borrowed = any(subject.settings.get(name) for name in ("pretrained", "weights")) or bool(
        getattr(subject.model, "began_with", {})
    )
    if isinstance(seed, int) and not borrowed:
        try:
            return filters(subject.model, before=seed)
        except LaminaError:  # a network that no name describes
            pass
    return filters(subject.model)


def sources_of_mistakes(subject: Subject) -> str:
    """Grad-CAM of the most confident mistakes: for what was answered, and beside it for what is true."""
    lens = lens_of(subject)
    if lens is None or subject.multi_label:
        return ""
    wrong = find_mistakes(subject.probs, subject.labels, limit=min(_HEATS, subject.shown))
    if not wrong:
        return ""

    def tiles() -> Iterator[str]:
        began = time.perf_counter()
        for mistake in wrong:
            if time.perf_counter() - began > SECONDS:
                return
            image = torch.from_numpy(subject.images[mistake.index])
            cams = cams_of(lens, image.repeat(2, 1, 1, 1), labels=[mistake.predicted, mistake.truth])
            labels = [subject.classes[label] for label in (mistake.predicted, mistake.truth)]
            sides = [
                _heat(image, cam, label).overlay(side_px=_HEAT_PX) for cam, label in zip(cams.maps, labels, strict=True)
            ]
            both = side_by_side(*sides)
            said, truth = map(escape, labels)
            yield (
                f'<figure><div class="picture" style="aspect-ratio:{both.width}/{both.height}">'
                f'<img src="{draw.data_url(both, side_px=max(both.size))}" alt="what speaks for {said}, and for {truth}" '
                f'decoding="async"><b class="said">{said}</b><b class="truth">{truth}</b></div></figure>'
            )

    pieces = fitting(tiles(), limit_bytes=BYTES)
    if not pieces:
        return ""
    legend = (
        '<p class="quiet">The most confident mistakes. Light, at the left: what speaks for '
        '<span class="key"><b class="said">what the model said</b></span>, at the right: for '
        '<span class="key"><b class="truth">what it is</b></span> (Grad-CAM; the line is at half of the most).</p>'
    )
    columns = "grid-template-columns:repeat(auto-fill,minmax(min(15rem,100%),1fr))"
    return f'{legend}<div class="tiles" style="{columns}">{"".join(pieces)}</div>'


def sources_of_labels(subject: Subject) -> str:
    """Grad-CAM of the labels that are most surely wrong, of several labels a picture: given and not there, or missed."""
    lens = lens_of(subject)
    wrong = (subject.probs >= LIKELY) != subject.labels.astype(bool)
    if lens is None or not wrong.any():
        return ""
    apart = np.where(wrong, np.abs(subject.probs - subject.labels), -1.0)
    worst, order = list[tuple[int, int]](), np.argsort(-apart, axis=None, kind="stable")[: int(wrong.sum())]
    for row, label in (divmod(int(cell), apart.shape[1]) for cell in order):
        if sum(row == other for other, _ in worst) < _OF_ONE:
            worst.append((row, label))
        if len(worst) == min(_HEATS, subject.shown):
            break

    def tiles() -> Iterator[str]:
        began = time.perf_counter()
        for row, label in worst:
            if time.perf_counter() - began > SECONDS:
                return
            image, name = torch.from_numpy(subject.images[row]), subject.classes[label]
            heat = _heat(image, cams_of(lens, image[None], labels=[label]).maps[0], name).overlay(side_px=_HEAT_PX)
            missed = bool(subject.labels[row, label])
            told = f"{'missed' if missed else 'not there'}, given {100 * float(subject.probs[row, label]):.1f} %"
            path = str(subject.sources[row]) if len(subject.sources) else ""
            yield (
                f'<figure><div class="picture"><img src="{draw.data_url(heat, side_px=max(heat.size))}" '
                f'alt="what speaks for {escape(name)}" decoding="async"><b class="{"truth" if missed else "said"}">{escape(name)}</b></div>'
                f'<figcaption title="{escape(path)}">{told}<span>{escape(file_of(path)) or f"#{row}"}</span></figcaption></figure>'
            )

    legend = (
        '<p class="quiet">The labels that are most surely wrong. Light: what speaks for the label, which was '
        '<span class="key"><b class="said">given and is not there</b></span> or <span class="key"><b class="truth">missed</b></span> '
        "(Grad-CAM; the line is at half of the most).</p>"
    )
    pieces = fitting(tiles(), limit_bytes=BYTES)
    return f'{legend}<div class="tiles">{"".join(pieces)}</div>' if pieces else ""


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one size with a little paper between."""
    both = Image.new("RGB", (left.width + right.width + 4, left.height), draw.PAPER)
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4, 0))
    return both


def _heat(image: torch.Tensor, cam: Any, label: str) -> Heat:
    window = Window(0.0, 0.0, float(image.shape[-2]), float(image.shape[-1]))
    return Heat(normalised(cam), draw.picture(image), window, label, 0.0, "Grad-CAM")


def as_points(subject: Subject) -> str:
    """The pictures as points, by what the class layer is given; of several labels with the first of each as its class."""
    lens = lens_of(subject)
    if lens is None or len(subject.images) < FEWEST:
        return ""
    layer = contract.class_layers(lens.net)[0]
    rows = sampled(len(subject.images))
    parts, used, began = [], 0, time.perf_counter()
    for start in range(0, len(rows), BATCH):
        images = torch.from_numpy(subject.images[rows[start : start + BATCH]])
        parts.append(pooled(given_to(lens.net, lens.prepared(images), layer)))
        used += len(images)
        if time.perf_counter() - began > SECONDS:
            break
    taken = rows[:used]
    labels, classes, own = subject.labels[taken], subject.classes, "their class"
    note = "Points that lie near one another are alike to the network."
    if subject.multi_label:
        labels = first_of(labels)
        classes, own = (*classes, NO_LABEL), "those with the same"
        note = f"Each picture is marked by the first of its labels. {note}"
    note += f" Numbered: the pictures farthest from others of {own}."

    def tile(row: int, number: int) -> str:
        place = int(taken[row])
        path = str(subject.sources[place]) if len(subject.sources) else ""
        return numbered(torch.from_numpy(subject.images[place]), classes[int(labels[row])], path, place, number)

    return points(np.concatenate(parts), labels, classes, layer, taken, tile=tile, note=note)


def sampled(count: int) -> Int64[np.ndarray, " n"]:
    """At most so many places as are drawn, evenly over the data and in no order, so that a few are a fair sample too."""
    some = min(count, _POINTS)
    rows = torch.arange(some) * count // some
    return np.asarray(rows[torch.randperm(some, generator=torch.Generator().manual_seed(0))].numpy())


def points(
    features: Float[np.ndarray, "N D"],
    labels: Int64[np.ndarray, " N"],
    classes: tuple[str, ...],
    layer: str,
    places: Int64[np.ndarray, " N"],
    *,
    tile: Callable[[int, int], str],
    note: str,
) -> str:
    """The features in two dimensions, and `tile(row, number)` of those that lie farthest out."""
    spots, explained = placed(features, "pca")
    odd = outlying(features, labels)[:_ODD]
    drawn = Embedding(spots, features, labels, classes, "pca", layer, odd, (), places, (), explained)
    figure = Figure(figsize=_POINTS_IN, layout="constrained")
    drawn.scatter(figure.add_subplot(), below=True)
    scatter = figure_image(figure, "Pictures as points by class", dpi=180, css="width:100%;max-width:34rem")
    tiles = "".join(tile(row, number) for number, row in enumerate(odd, 1))
    return f'<p class="quiet">{note}</p>{scatter}<div class="tiles odd">{tiles}</div>'


def numbered(picture: draw.Picture, name: str, path: str, place: int, number: int) -> str:
    """A picture with its number among the points, its class, and its file or index."""
    thumb = draw.picture(drawable(picture) if isinstance(picture, torch.Tensor) else picture)
    crisp = ' class="crisp"' if max(thumb.size) <= 64 else ""
    return (
        f'<figure><div class="picture"><img{crisp} src="{draw.data_url(thumb)}" alt="{number}: {escape(name)}" decoding="async">'
        f'<b class="truth">{number}</b></div><figcaption title="{escape(path)}">{escape(name)}'
        f"<span>{escape(file_of(path)) or f'#{place}'}</span></figcaption></figure>"
    )


def lens_of(subject: About) -> Lens | None:
    """The lens of one network that takes pictures and gives maps; None for any other."""
    model = subject.model
    net = getattr(model, "net", None)
    if not hasattr(model, "deployable") or getattr(model, "preprocess", None) is None:
        return None
    return Lens.of(model) if isinstance(net, nn.Module) and _has_maps(net) else None


def _has_maps(net: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in net.modules())


def figure_image(figure: Figure, what: str, *, dpi: int, css: str = "max-width:100%") -> str:
    url = png_url(figure, dpi=dpi, transparent=True)
    return f'<img class="figure" src="{url}" alt="{escape(what)}" style="{css};height:auto">'
