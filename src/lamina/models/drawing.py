"""A picture of a layer graph: SVG text, one box per use of a layer, data flowing downwards."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.layers.inputs import InputLayer
from lamina.layers.symbol import Call, shown
from lamina.models.graph import Graph, Nested

_BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 40, 28, 30, 16
_CHARACTER = 7.2  # px of the 12 px monospace font
_FILLS = {"input": "#e8f0fe", "output": "#e6f4ea", "layer": "#ffffff", "merge": "#fef7e0"}


@dataclass(frozen=True)
class Drawing:
    """SVG text that a notebook shows; `str` gives it."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.svg


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def draw(graph: Graph) -> Drawing:
    """The drawing of a graph: boxes say name, kind and output shape; every box stands below all that it depends on."""
    rows = _rows(graph)
    texts = {call: _texts(graph, call) for call in graph.calls}
    widths = {call: max(len(line) for line in texts[call]) * _CHARACTER + 20 for call in graph.calls}
    boxes, total = _placed(rows, widths)
    height = len(rows) * (_BOX_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    outputs = {x.call for x in graph.outputs}
    level = {call: place for place, row in enumerate(rows) for call in row}
    parts = [_arrow(boxes, x.call, call, level=level, total=total) for call in graph.calls for x in call.inputs]
    for call in graph.calls:
        kind = "input" if isinstance(call.layer, InputLayer) else "output" if call in outputs else "layer"
        kind = "merge" if kind == "layer" and len(call.inputs) > 1 else kind
        parts.append(_box(boxes[call], texts[call], _FILLS[kind]))
    style = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px"
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#5f6368"/></marker></defs>'
    )
    size = f'width="{total:.0f}" height="{height}" viewBox="0 0 {total:.0f} {height}"'
    ground = f'<rect width="{total:.0f}" height="{height}" fill="#ffffff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{style}">'
    return Drawing(f"{head}{marker}{ground}{''.join(parts)}</svg>")


def _rows(graph: Graph) -> list[list[Call]]:
    """Calls by the longest way from an input, each row ordered by where its inputs stand (one sweep of barycentres)."""
    level: dict[Call, int] = {}
    for call in graph.calls:
        level[call] = 1 + max((level[x.call] for x in call.inputs), default=-1)
    rows: list[list[Call]] = [[] for _ in range(1 + max(level.values()))]
    for call in graph.calls:
        rows[level[call]].append(call)
    place: dict[Call, float] = {}
    for row in rows:
        row.sort(key=lambda call: sum(place[x.call] for x in call.inputs) / max(len(call.inputs), 1))
        for position, call in enumerate(row):
            place[call] = position - (len(row) - 1) / 2
    return rows


def _placed(rows: Sequence[Sequence[Call]], widths: dict[Call, float]) -> tuple[dict[Call, _Box], float]:
    spans = [sum(widths[call] for call in row) + _GAP_X * (len(row) - 1) for row in rows]
    total = max(spans) + 2 * _MARGIN + (_GAP_X * 2 if len(rows) > 2 else 0)
    boxes: dict[Call, _Box] = {}
    for number, (row, span) in enumerate(zip(rows, spans, strict=True)):
        x = (total - span) / 2
        for call in row:
            boxes[call] = _Box(x, _MARGIN + number * (_BOX_HEIGHT + _GAP_Y), widths[call])
            x += widths[call] + _GAP_X
    return boxes, total


def _arrow(boxes: dict[Call, _Box], source: Call, target: Call, *, level: dict[Call, int], total: float) -> str:
    """A straight arrow to the next row; one that skips rows goes round the boxes between, on the nearer side."""
    begin, end = boxes[source], boxes[target]
    top, bottom = begin.y + _BOX_HEIGHT, end.y
    if level[target] - level[source] == 1:
        path = f"M{begin.middle:.1f} {top:.1f}L{end.middle:.1f} {bottom:.1f}"
    else:
        between = [box for call, box in boxes.items() if level[source] < level[call] < level[target]]
        right = max([box.x + box.width for box in between] + [begin.middle, end.middle]) + _GAP_X / 2
        left = min([box.x for box in between] + [begin.middle, end.middle]) - _GAP_X / 2
        side = right if begin.middle >= total / 2 else left
        path = (
            f"M{begin.middle:.1f} {top:.1f}C{begin.middle:.1f} {top + _GAP_Y:.1f} {side:.1f} {top:.1f} "
            f"{side:.1f} {top + _GAP_Y:.1f}L{side:.1f} {bottom - _GAP_Y:.1f}"
            f"C{side:.1f} {bottom:.1f} {end.middle:.1f} {bottom - _GAP_Y:.1f} {end.middle:.1f} {bottom:.1f}"
        )
    return f'<path d="{path}" fill="none" stroke="#5f6368" stroke-width="1.2" marker-end="url(#tip)"/>'


def _box(box: _Box, lines: Sequence[str], fill: str) -> str:
    frame = (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{_BOX_HEIGHT}" rx="5" '
        f'fill="{fill}" stroke="#5f6368"/>'
    )
    words = "".join(
        f'<text x="{box.middle:.1f}" y="{box.y + 17 + 15 * number:.1f}" text-anchor="middle" '
        f'fill="{"#202124" if number == 0 else "#5f6368"}">{html.escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return frame + words


def _texts(graph: Graph, call: Call) -> tuple[str, str]:
    layer = call.layer
    kind = "Input" if isinstance(layer, InputLayer) else "Model" if isinstance(layer, Nested) else type(layer).__name__
    symbols = {x: None for other in graph.calls for x in other.inputs if x.call is call}
    symbols.update({x: None for x in graph.outputs if x.call is call})
    shapes = ", ".join(dict.fromkeys(shown(x.shape) for x in symbols))
    return f"{graph.names[layer]}: {kind}", shapes
