"""What a layer profile says: rows of layers, sums by kind, a table, a bar chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import nn
from torch.nn.modules import activation, conv, dropout, normalization, pooling

from lamina.explain.drawn import Drawn
from lamina.models.summary import counted, counted_bytes
from lamina.structures.draw import INK

CONVOLUTION, BETWEEN = "convolution", "between layers"
LITERATURE = (
    "literature, AlexNet: 95 % on a GPU, 89 % on a CPU "
    '(Jia 2014, "Learning Semantic Image Representations at a Large Scale")'
)
_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    (CONVOLUTION, (conv._ConvNd,)),
    ("linear", (nn.Linear, nn.Bilinear)),
    ("pooling", (pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd)),
    ("normalisation", (nn.modules.batchnorm._NormBase, normalization.LayerNorm, normalization.GroupNorm)),
    ("normalisation", (normalization.LocalResponseNorm, normalization.CrossMapLRN2d)),
    ("dropout", (dropout._DropoutNd,)),
    ("attention", (nn.MultiheadAttention,)),
)
_WORDS = (("norm", "normalisation"), ("pool", "pooling"), ("drop", "dropout"), ("conv", CONVOLUTION))
_SLOWEST = 15  # rows of the table
_BARS = 24
_HATCHES = {
    CONVOLUTION: "",
    "linear": "///",
    "normalisation": "...",
    "pooling": "xxx",
    "activation": "---",
    BETWEEN: "+++",
}
_SHADES = {
    CONVOLUTION: "#b4430f",
    "linear": "#8fa7bf",
    "normalisation": "#d8b365",
    "pooling": "#4f8a8b",
    "activation": "#c9c5be",
}


def kind_of(module: nn.Module) -> str:
    """The kind of a layer; what a module with layers inside does itself happens between them."""
    for kind, types in _KINDS:
        if isinstance(module, types):
            return kind
    name = type(module).__name__
    if any(True for _ in module.children()):
        return BETWEEN
    if type(module).__module__ == activation.__name__ or name.lower().endswith(("relu", "swish", "gelu")):
        return "activation"
    return next((kind for word, kind in _WORDS if word in name.lower()), name)


@dataclass(frozen=True)
class LayerTime:
    """One layer: seconds of a batch (medians), of all its `calls` in one pass, without the layers inside it.

    `backward_s` is None where the backward pass was not measured. `multiply_adds` and `activation_bytes` are of the batch, in the forward
    pass; `parameters` are the layer's own.
    """

    name: str
    kind: str
    calls: int
    forward_s: float
    backward_s: float | None
    multiply_adds: int
    activation_bytes: int
    parameters: int

    @property
    def seconds(self) -> float:
        """Forward and backward together."""
        return self.forward_s + (self.backward_s or 0.0)

    @property
    def rate(self) -> float | None:
        """Operations a second of the forward pass, a multiply-add being two; None where none were counted."""
        return 2 * self.multiply_adds / self.forward_s if self.multiply_adds and self.forward_s > 0 else None


@dataclass(frozen=True)
class Profile(Drawn):
    """What `profile` returns: a table in a terminal, a bar chart, a dict for JSON. Times are seconds of one batch.

    `forward_s` and `backward_s` are those of the network left alone, `autograd_s` what lies between the operations of the
    backward pass. `peak_rate`: operations a second of a large float32 matrix product. `memory_bytes`: the most that the device had
    in use, on a CPU what the process has; `held_bytes` what training holds until the backward pass.
    """

    network: str
    shape: tuple[int, ...]
    device: str
    rows: tuple[LayerTime, ...]
    forward_s: float
    backward_s: float | None
    autograd_s: float | None
    peak_rate: float
    parameter_bytes: int
    activation_bytes: int | None
    held_bytes: int | None
    memory_bytes: int | None

    @property
    def booked_s(self) -> float:
        """The sum of the layers, with what autograd took between them."""
        return sum(row.seconds for row in self.rows) + (self.autograd_s or 0.0)

    @property
    def total_s(self) -> float:
        """The network left alone, forward and backward."""
        return self.forward_s + (self.backward_s or 0.0)

    @property
    def overhead(self) -> float:
        """How much longer the layers took together than the network left alone, as a share of the latter."""
        return self.booked_s / self.total_s - 1

    @property
    def multiply_adds(self) -> int:
        """Of the forward pass of the batch."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def rate(self) -> float:
        """Operations a second of the forward pass."""
        return 2 * self.multiply_adds / self.forward_s

    def kinds(self) -> dict[str, tuple[float, float | None]]:
        """Seconds forward and backward (None: not measured) of each kind of layer, the slowest first."""
        sums: dict[str, tuple[float, float | None]] = {}
        for row in self.rows:
            forward, backward = sums.get(row.kind, (0.0, None))
            back = None if row.backward_s is None else (backward or 0.0) + row.backward_s
            sums[row.kind] = (forward + row.forward_s, back)
        return dict(sorted(sums.items(), key=lambda item: -(item[1][0] + (item[1][1] or 0.0))))

    def share(self, kind: str = CONVOLUTION, *, backward: bool = False) -> float:
        """The share of a kind of layer in the forward pass (of all layers, 0..1), or in the backward pass."""
        times = {name: (pair[1] or 0.0) if backward else pair[0] for name, pair in self.kinds().items()}
        whole = sum(times.values())
        return times.get(kind, 0.0) / whole if whole else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        kinds = [
            {"kind": kind, "forward_s": forward, "backward_s": backward, "share_of_forward": self.share(kind)}
            for kind, (forward, backward) in self.kinds().items()
        ]
        told = {"overhead": self.overhead, "rate": self.rate, "share_of_peak": self.rate / self.peak_rate}
        return {**asdict(self), "kinds": kinds, **told, "convolutions": self.share(), "literature": LITERATURE}

    def __str__(self) -> str:
        trained = self.backward_s is not None
        whole = sum(row.seconds for row in self.rows)
        size = " x ".join(map(str, self.shape))
        passes = f"forward {_ms(self.forward_s)}" + (f", backward {_ms(self.backward_s)}" if trained else "")
        images = f"{self.shape[0] / self.total_s:,.1f} images/s"
        lines = [f"{self.network}, {size}, float32 on {self.device}: {passes} ({images})", ""]
        head = ["kind", "forward", *(["backward"] if trained else []), "share"]
        table = [
            [kind, _ms(forward), *([_ms(backward)] if trained else []), _percent((forward + (backward or 0.0)) / whole)]
            for kind, (forward, backward) in self.kinds().items()
        ]
        lines += [*_aligned([head, *table]), ""]
        slowest = sorted(self.rows, key=lambda row: -row.seconds)[:_SLOWEST]
        chosen = [row for row in self.rows if any(row is other for other in slowest)]
        head = [
            "layer",
            "kind",
            "calls",
            "forward",
            *(["backward"] if trained else []),
            "share",
            "mult-adds",
            "of peak",
        ]
        table = [self._cells(row, whole) for row in chosen]
        rest = [row for row in self.rows if not any(row is other for other in slowest)]
        lines += _aligned([head, *table], left=2)
        if rest:
            spent = sum(row.seconds for row in rest)
            lines.append(f"and {len(rest)} more: {_ms(spent)}, {_percent(spent / whole)}")
        return "\n".join([*lines, "", *self.notes()])

    __repr__ = __str__

    def _cells(self, row: LayerTime, whole: float) -> list[str]:
        back = [] if row.backward_s is None else [_ms(row.backward_s)]
        peak = "-" if row.rate is None else _percent(row.rate / self.peak_rate)
        work = counted(row.multiply_adds) if row.multiply_adds else "-"
        return [
            _short(self._name(row)),
            row.kind,
            str(row.calls),
            _ms(row.forward_s),
            *back,
            _percent(row.seconds / whole),
            work,
            peak,
        ]

    def _name(self, row: LayerTime) -> str:
        return row.name or self.network

    def notes(self) -> list[str]:
        """What the figures mean, a line each."""
        lines = []
        if any(row.kind == CONVOLUTION for row in self.rows):
            back = (
                f", {_percent(self.share(backward=True))} of the backward pass" if self.backward_s is not None else ""
            )
            lines.append(f"Convolutions: {_percent(self.share())} of the forward pass{back}; {LITERATURE}.")
        if self.multiply_adds:
            lines.append(
                f"Arithmetic: {_rate(self.rate)} forward, {_percent(self.rate / self.peak_rate)} of this machine's "
                f"{_rate(self.peak_rate)} (a large float32 matrix product, measured now)."
            )
        memory = [f"parameters {counted_bytes(self.parameter_bytes)}"]
        if self.activation_bytes is not None:
            memory.append(f"activations {counted_bytes(self.activation_bytes)}")
        if self.held_bytes is not None:
            memory.append(f"held for the backward pass {counted_bytes(self.held_bytes)}")
        if self.memory_bytes is not None:
            what = "this process has" if self.device.startswith("cpu") else "most in use on the device"
            memory.append(f"{what} {counted_bytes(self.memory_bytes)}")
        lines.append(f"Memory: {', '.join(memory)}.")
        between = "operations that no layer owns stand at the module that calls them, as between layers"
        autograd = f"; autograd itself {_ms(self.autograd_s)}" if self.autograd_s is not None else ""
        alone = f"the layers' sum is {_ms(self.booked_s)}, {100 * self.overhead:+.1f} % to the network left alone"
        lines.append(f"Medians; {alone}{autograd}; {between}.")
        return lines

    def figure(self) -> Figure:
        """Bars by kind and by layer; what a kind is can be told by its hatching too."""
        shown = self._bars()
        figure = Figure(figsize=(9.2, max(2.6, 0.9 + 0.2 * len(shown))), layout="constrained")
        grid = figure.add_gridspec(1, 2, width_ratios=[1, 1.6])
        kinds = self.kinds()
        self._draw(
            figure.add_subplot(grid[0, 0]),
            [(kind, kind, forward, backward or 0.0) for kind, (forward, backward) in kinds.items()],
            "kind of layer",
        )
        left = len(self.rows) - len(shown)
        spent = sum(row.seconds for row in self.rows) or 1.0
        share = 1 - sum(forward + backward for *_, forward, backward in shown) / spent
        note = f", the {len(shown)} slowest (the other {left} take {_percent(max(share, 0.0))})" if left else ""
        self._draw(figure.add_subplot(grid[0, 1]), shown, f"layer{note}")
        trained = "forward and, paler, backward pass" if self.backward_s is not None else "forward pass"
        figure.suptitle(f"{self.network}, {' x '.join(map(str, self.shape))} on {self.device}: {trained}", fontsize=9)
        return figure

    def _bars(self) -> list[tuple[str, str, float, float]]:
        slowest = sorted(self.rows, key=lambda row: -row.seconds)[:_BARS]
        chosen = [row for row in self.rows if any(row is other for other in slowest)]
        return [(_short(self._name(row)), row.kind, row.forward_s, row.backward_s or 0.0) for row in chosen]

    def _draw(self, axes: Any, bars: Sequence[tuple[str, str, float, float]], title: str) -> None:
        places = np.arange(len(bars))
        whole = sum(row.seconds for row in self.rows) or 1.0
        for place, (_, kind, forward, backward) in zip(places, bars, strict=True):
            look = {
                "color": _SHADES.get(kind, "#8a857c"),
                "hatch": _HATCHES.get(kind, "ooo"),
                "edgecolor": "white",
                "linewidth": 0.3,
            }
            axes.barh(place, 1000 * forward, height=0.75, **look)
            if backward:
                axes.barh(place, 1000 * backward, left=1000 * forward, height=0.75, **{**look, "alpha": 0.55})
            ink = tuple(channel / 255 for channel in INK)
            axes.text(
                1000 * (forward + backward),
                place,
                f" {_percent((forward + backward) / whole)}",
                va="center",
                fontsize=7,
                color=ink,
            )
        axes.set_yticks(places, [name for name, *_ in bars], fontsize=7, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel("ms a batch", fontsize=8)
        axes.set_title(f"by {title}", fontsize=8)
        axes.tick_params(labelsize=7, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.margins(x=0.14)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:,.2f} ms" if seconds < 0.1 else f"{1000 * seconds:,.0f} ms"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _rate(operations: float) -> str:
    return f"{counted(int(operations))}FLOP/s" if operations >= 1000 else f"{operations:.0f} FLOP/s"


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"…{name[-33:]}"


def _aligned(rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
