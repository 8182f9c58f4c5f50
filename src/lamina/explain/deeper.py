"""The sections of the report that look at single pictures inside the network: its maps, what excites channels, what is covered.

They are bounded in seconds as those of `inside` are, and there for models of one network with maps alone.
"""

from __future__ import annotations

import time
from html import escape

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from lamina.explain import watching
from lamina.explain.excitement import exciting
from lamina.explain.inside import figure_image, lens_of
from lamina.explain.maps import feature_maps
from lamina.explain.mistakes import find_mistakes
from lamina.explain.saliency import occlusion
from lamina.explain.subject import Numbers, Subject
from lamina.structures import draw

_TRIED = 16  # pictures by which the seconds are told
_MOST = 256  # pictures that channels are excited by
_CHANNELS, _SHOWN = 3, 6
_COVERED, _COVERED_PX = 4, 180
_SECONDS = 15.0  # of each section


def maps(subject: Subject | Numbers) -> str:
    """What three depths of the network give for one picture: the most confident mistake, where answers are classes."""
    lens = lens_of(subject)
    if lens is None or not len(subject.images):
        return ""
    wrong = _mistakes(subject, 1)
    found = feature_maps(subject.model, subject.images[wrong[0] if wrong else 0])
    about = "the most confident mistake" if wrong else "the first picture"
    note = (
        f"Edges, then textures, then parts: the strongest channels of three depths for {about}, each scaled by itself."
    )
    return f'<p class="quiet">{note}</p>{_wide(found.figure(), "Maps of three depths of the network")}'


def excited(subject: Subject | Numbers) -> str:
    """The pictures that excite some channels of the last map most: those channels that answer to few pictures and strongly."""
    lens = lens_of(subject)
    if lens is None or len(subject.images) < _SHOWN:
        return ""
    layer, tops, began = "", list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]](), time.perf_counter()
    rows = np.linspace(0, len(subject.images) - 1, min(len(subject.images), _MOST)).round().astype(int)
    for start in range(0, len(rows), _TRIED):
        images = torch.from_numpy(subject.images[rows[start : start + _TRIED]])
        layer = layer or watching.maps_of(lens.net, lens.prepared(images[:1])).last(lens.net)[0]
        value = watching.layer_output(lens.net, lens.prepared(images), layer)
        tops.append(value.flatten(2).amax(2).float().cpu().numpy())
        if time.perf_counter() - began > _SECONDS / (1 + _CHANNELS):  # each channel's figure looks at them again
            break
    strongest = np.concatenate(tops)
    apart = (strongest.max(0) - strongest.mean(0)) / (strongest.std(0) + 1e-6)
    some = torch.from_numpy(subject.images[rows[: len(strongest)]])
    figures = []
    for channel in np.argsort(-apart, kind="stable")[:_CHANNELS].tolist():
        found = exciting(subject.model, some, layer, channel, count=_SHOWN, limit=len(some))
        figures.append(_wide(found.figure(), f"Pictures that excite channel {channel} of {layer} most"))
    note = f"Channels of {escape(layer)} that answer to few pictures and strongly, and the part of each picture that they answer to."
    return f'<p class="quiet">{note}</p>{"".join(figures)}'


def covered(subject: Subject) -> str:
    """Where the most confident mistakes come from, by covering parts of the picture."""
    if lens_of(subject) is None or subject.multi_label:
        return ""
    tiles, began = list[str](), time.perf_counter()
    for row in _mistakes(subject, min(_COVERED, subject.shown)):
        if time.perf_counter() - began > _SECONDS:
            break
        said = subject.classes[int(subject.probs[row].argmax())]
        heat = occlusion(subject.model, subject.images[row], label=said).overlay(side_px=_COVERED_PX)
        tiles.append(_tile(heat, said, subject.classes[int(subject.labels[row])]))
    if not tiles:
        return ""
    note = "Light: where covering the picture takes the most from what the model said (occlusion, Zeiler &amp; Fergus 2014)."
    return f'<p class="quiet">{note}</p><div class="tiles">{"".join(tiles)}</div>'


def _wide(figure: Figure, what: str) -> str:
    """A figure that scrolls on a phone, where its letters would be too small to read."""
    return f'<div style="overflow-x:auto">{figure_image(figure, what, dpi=100, css="min-width:38rem;max-width:100%")}</div>'


def _tile(heat: Image.Image, said: str, truth: str) -> str:
    said, truth = escape(said), escape(truth)
    return (
        f'<figure><div class="picture"><img src="{draw.data_url(heat, side_px=max(heat.size))}" '
        f'alt="where {said} comes from, by covering; it is {truth}" decoding="async">'
        f'<b class="said">{said}</b><b class="truth">{truth}</b></div></figure>'
    )


def _mistakes(subject: Subject | Numbers, count: int) -> list[int]:
    """The places of the most confident ones, where answers are one class each."""
    if not isinstance(subject, Subject) or subject.multi_label:
        return []
    return [mistake.index for mistake in find_mistakes(subject.probs, subject.labels, limit=count)]
