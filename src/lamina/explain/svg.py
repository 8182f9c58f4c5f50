"""Figures as part of a page: inline SVG in the page's own letters and colours, light or dark."""

from __future__ import annotations

import io
import re
import warnings
from html import escape

import matplotlib
from matplotlib.figure import Figure

from lamina.explain import curves

# The page's names for the colours of figures, so that they follow the light and the dark scheme.
_THEME = {curves.INK: "--ink", curves.RULE: "--rule", curves.TRAIN: "--muted", curves.VALIDATION: "--wrong"}


def inline(figure: Figure, *, label: str) -> str:
    """The figure as an `<svg>` to stand in a page; `label` says what it shows to who cannot see it.

    Drawn in `curves.INK`, RULE, TRAIN and VALIDATION it follows the page's colours; its paper is see-through.
    """
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the letters are the browser's
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = stream.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)  # inline in HTML they are implied
    for color, name in _THEME.items():
        svg = svg.replace(color, f"var({name})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def panel(title: str, figure: Figure, *, note: str = "", label: str = "") -> str:
    """A figure with its title and a quiet line above it; several stand side by side in a `<div class="panels">`."""
    drawn = inline(figure, label=label or title)
    return f'<div class="panel"><h3>{escape(title)}</h3><p class="quiet">{escape(note)}</p>{drawn}</div>'
