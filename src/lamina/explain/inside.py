"""The sections of the report that look into the network: filters, where mistakes come from, pictures as points.

Each is bounded in seconds and bytes: the report of a large network must not take minutes. Models that are more than one network,
and networks without convolutions, have none of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
import torch
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
from lamina.explain.seen import drawable
from lamina.explain.subject import About, Subject, fitting
from lamina.explain.watching import given_to
from lamina.networks import contract
from lamina.structures import draw

_HEATS, _HEAT_PX = 12, 150
_POINTS, _POINTS_IN = (
    1000,
    (4.2, 4.4),
)  # in inches as wide as a phone's page: letters are as large there as they are drawn
_SECONDS = 15.0  # of each section
_BATCH = 8  # pictures between two looks at the clock: 32 of a large network on a busy machine take half a minute
_BYTES = 1_000_000
_ODD = 8


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
            if time.perf_counter() - began > _SECONDS:
                return
            image = torch.from_numpy(subject.images[mistake.index])
            cams = cams_of(lens, image.repeat(2, 1, 1, 1), labels=[mistake.predicted, mistake.truth])
            labels = [subject.classes[label] for label in (mistake.predicted, mistake.truth)]
            sides = [
                _heat(image, cam, label).overlay(side_px=_HEAT_PX) for cam, label in zip(cams.maps, labels, strict=True)
            ]
            both = Image.new("RGB", (2 * sides[0].width + 4, sides[0].height), draw.PAPER)
            both.paste(sides[0], (0, 0))
            both.paste(sides[1], (sides[0].width + 4, 0))
            said, truth = map(escape, labels)
            yield (
                f'<figure><div class="picture" style="aspect-ratio:{both.width}/{both.height}">'
                f'<img src="{draw.data_url(both, side_px=max(both.size))}" alt="what speaks for {said}, and for {truth}" '
                f'decoding="async"><b class="said">{said}</b><b class="truth">{truth}</b></div></figure>'
            )

    pieces = fitting(tiles(), limit_bytes=_BYTES)
    if not pieces:
        return ""
    legend = (
        '<p class="quiet">The most confident mistakes. Light, at the left: what speaks for '
        '<span class="key"><b class="said">what the model said</b></span>, at the right: for '
        '<span class="key"><b class="truth">what it is</b></span> (Grad-CAM; the line is at half of the most).</p>'
    )
    columns = "grid-template-columns:repeat(auto-fill,minmax(min(15rem,100%),1fr))"
    return f'{legend}<div class="tiles" style="{columns}">{"".join(pieces)}</div>'


def _heat(image: torch.Tensor, cam: Any, label: str) -> Heat:
    window = Window(0.0, 0.0, float(image.shape[-2]), float(image.shape[-1]))
    return Heat(normalised(cam), draw.picture(image), window, label, 0.0, "Grad-CAM")


def as_points(subject: Subject) -> str:
    """The pictures as points, by what the class layer is given."""
    lens = lens_of(subject)
    if lens is None or subject.multi_label or len(subject.images) < 8:
        return ""
    layer = contract.class_layers(lens.net)[0]
    count = min(len(subject.images), _POINTS)
    rows = torch.arange(count) * len(subject.images) // count
    rows = rows[
        torch.randperm(count, generator=torch.Generator().manual_seed(0))
    ]  # so that a few are a fair sample too
    parts, used, began = [], 0, time.perf_counter()
    for start in range(0, count, _BATCH):
        images = torch.from_numpy(subject.images[rows[start : start + _BATCH].numpy()])
        parts.append(pooled(given_to(lens.net, lens.prepared(images), layer)))
        used += len(images)
        if time.perf_counter() - began > _SECONDS:
            break
    features, taken = np.concatenate(parts), rows[:used].numpy()
    labels = subject.labels[taken]
    points, explained = placed(features, "pca")
    odd = outlying(features, labels)[:_ODD]
    drawn = Embedding(points, features, labels, subject.classes, "pca", layer, odd, (), taken, (), explained)
    figure = Figure(figsize=_POINTS_IN, layout="constrained")
    drawn.scatter(figure.add_subplot(), below=True)
    scatter = figure_image(figure, "Pictures as points by class", dpi=180, css="width:100%;max-width:34rem")
    tiles = "".join(_numbered(subject, int(taken[row]), number) for number, row in enumerate(odd, 1))
    note = "Points that lie near one another are alike to the network. Numbered: the pictures farthest from others of their class."
    return f'<p class="quiet">{note}</p>{scatter}<div class="tiles odd">{tiles}</div>'


def _numbered(subject: Subject, row: int, number: int) -> str:
    """A picture with its number among the points, its class, and its file or index."""
    thumb = drawable(torch.from_numpy(subject.images[row])).numpy()
    name = escape(subject.classes[int(subject.labels[row])])
    path = str(subject.sources[row]) if len(subject.sources) else ""
    crisp = ' class="crisp"' if max(thumb.shape[1:]) <= 64 else ""
    return (
        f'<figure><div class="picture"><img{crisp} src="{draw.data_url(thumb)}" alt="{number}: {name}" decoding="async">'
        f'<b class="truth">{number}</b></div><figcaption title="{escape(path)}">{name}'
        f"<span>{escape(file_of(path)) or f'#{row}'}</span></figcaption></figure>"
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
