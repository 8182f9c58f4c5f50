"""The pictures behind each cell of a confusion matrix: hidden in the page until a link of the matrix leads to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from jaxtyping import Float, Int64, UInt8

from lamina.explain import html
from lamina.explain.mistakes import Mistake
from lamina.explain.subject import fitting

_SHOWN = 12  # pictures of a cell
_CELLS = 400
CELLS_BYTES = 2_500_000


def cell_panels(
    images: UInt8[np.ndarray, "N C H W"],
    probs: Float[np.ndarray, "N K"],
    labels: Int64[np.ndarray, " N"],
    *,
    classes: Sequence[str],
    sources: Sequence[str] = (),
) -> tuple[str, frozenset[tuple[int, int]]]:
    """The panels as HTML, and the cells (truth, predicted) that have one: those of most mistakes first, as many as find room."""
    predicted = probs.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    pairs, number, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]]), axis=1, return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:_CELLS]

    def panels() -> Iterator[str]:
        for place in order:
            members = wrong[number.reshape(-1) == place]
            sure = probs[members, predicted[members]]
            best = members[np.argsort(-sure, kind="stable")[:_SHOWN]]
            found = [Mistake(int(i), int(predicted[i]), int(labels[i]), float(probs[i, predicted[i]])) for i in best]
            yield _panel(images, found, int(counts[place]), classes, sources)

    written = fitting(panels(), limit_bytes=CELLS_BYTES)
    linked = frozenset((int(pairs[0, place]), int(pairs[1, place])) for place in order[: len(written)])
    return f'<div class="cells">{"".join(written)}</div>' if written else "", linked


def _panel(
    images: UInt8[np.ndarray, "N C H W"],
    found: Sequence[Mistake],
    count: int,
    classes: Sequence[str],
    sources: Sequence[str],
) -> str:
    truth, predicted = found[0].truth, found[0].predicted
    tiles = "".join(html.tile(images[m.index], m, classes, sources[m.index] if len(sources) else "") for m in found)
    small = max(len(classes[truth]), len(classes[predicted])) <= 4 and max(images.shape[2:]) <= 64
    shown = "" if count == len(found) else f", the {len(found)} most confident of them"
    return (
        f'<div class="cell" id="{html.cell_id(truth, predicted)}"><p><b>{escape(classes[truth])}</b> taken for '
        f"<b>{escape(classes[predicted])}</b>: {html.counted(count, 'picture')}{shown} "
        f'<a href="#confusion-matrix">close</a></p>'
        f'<div class="tiles{"" if small else " wide"}">{tiles}</div></div>\n'
    )
