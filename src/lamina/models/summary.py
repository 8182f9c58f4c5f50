"""The table of a network: shapes, parameters, multiply-adds, memory and receptive fields, layer by layer."""

from __future__ import annotations

import copy
import html
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from rich import box
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from torch import Tensor, nn

from lamina.core.errors import LaminaError, ShapeError
from lamina.layers import probe
from lamina.layers.layer import Layer
from lamina.layers.symbol import TO_CHANNELS_FIRST, Shape, shown
from lamina.layers.torch_module import Torch
from lamina.models.graph import Graph, Nested
from lamina.models.measure import Field, Measure, field_of, mark, training_bytes

# What open sizes are: results that differ between the two are open as well, and multiply-adds are not reported.
_OPEN_SIZES = (256, 384)

_TITLES = ("layer", "kind", "output shape", "parameters", "multiply-adds", "activations", "sees (px)")
_SHORT_TITLES = ("layer", "kind", "output", "params", "mult-adds", "memory", "sees px")


@dataclass(frozen=True)
class Row:
    """One layer. Shapes are without the batch; multiply-adds are of one sample, None where a size is open.

    `activation_bytes` are those that its results take in float32, for one sample; 0 where it works in place or gives a view.
    `receptive_field` is (rows, columns) in pixels of the input; None in it is the whole image, None alone no image.
    """

    name: str
    kind: str
    output_shape: tuple[Shape, ...]
    parameters: int
    multiply_adds: int | None
    receptive_field: tuple[int | None, int | None] | None
    activation_bytes: int | None = None


@dataclass(frozen=True)
class Summary:
    """What `summary()` returns: a table in a terminal, HTML in a notebook, a dict for JSON.

    `activation_bytes` are of all results of the forward pass of one sample in float32, also those that no layer of the table
    gives, such as sums; `training_bytes` what is held of them until the backward pass, None where that cannot be known.
    `depth` counts the convolutions and linear layers on the longest way through the network.
    """

    rows: tuple[Row, ...]
    parameters: int
    trainable_parameters: int
    multiply_adds: int | None
    activation_bytes: int | None = None
    training_bytes: int | None = None
    depth: int = 0

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return asdict(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        every = range(len(_TITLES))
        roomy = [self._table(_TITLES, every), self._table(_SHORT_TITLES, every)]
        fewer = (every, (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4), (0, 2, 3, 4))
        tight = [self._table(_SHORT_TITLES, columns, lines=False) for columns in fewer]
        endless = options.update(width=10_000)
        widths = [Measurement.get(console, endless, table).maximum for table in (*roomy, *tight)]
        fitting = (table for table, width in zip((*roomy, *tight), widths, strict=True) if width <= options.max_width)
        yield next(fitting, None) or self._table(
            _SHORT_TITLES, fewer[-1], lines=False, too_wide=widths[-1] - options.max_width
        )

    def _table(self, titles: Sequence[str], columns: Sequence[int], *, lines: bool = True, too_wide: int = 0) -> Table:
        """A line a row in any case: where it would be so many characters `too_wide`, names lose their ends."""
        table = Table(
            caption=self.caption + _not_shown(columns),
            caption_justify="left",
            box=box.HEAVY_HEAD if lines else box.SIMPLE_HEAD,
            pad_edge=lines,
        )
        cells = [titles, *map(_cells, self.rows)]
        for column in columns:
            justify: Literal["left", "right"] = "left" if column < 3 else "right"
            width = max(len(row[column]) for row in cells)
            width = width if column else max(width - too_wide, 4)
            table.add_column(titles[column], justify=justify, no_wrap=True, overflow="ellipsis", width=width)
        for row in cells[1:]:
            table.add_row(*(row[column] for column in columns))
        return table

    @property
    def caption(self) -> str:
        """The totals in words."""
        frozen = self.parameters - self.trainable_parameters
        held = f", {frozen:,} of them not trained" if frozen else ""
        work = "" if self.multiply_adds is None else f"; {counted(self.multiply_adds)} multiply-adds per sample"
        space = (
            ""
            if self.activation_bytes is None
            else f"; {counted_bytes(self.activation_bytes)} of activations per sample"
        )
        kept = "" if self.training_bytes is None else f", {counted_bytes(self.training_bytes)} held in training"
        return f"{self.parameters:,} parameters{held}{work}{space}{kept}"

    def __str__(self) -> str:
        stream = io.StringIO()
        width = shutil.get_terminal_size(fallback=(110, 40)).columns
        Console(file=stream, width=width, color_system=None).print(self)
        return stream.getvalue().rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in _TITLES)
        lines = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in self.rows
        ]
        body = "".join(lines)
        caption = html.escape(self.caption)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{caption}</p>"


def summarize(net: nn.Module, input_shapes: Sequence[Sequence[int | None]], *, graph: Graph | None = None) -> Summary:
    """The summary of a network for inputs of these shapes, without the batch, in the user's data format.

    With `graph` one row per use of a layer, else one per torch module without children. Nothing is computed: copies
    without storage run on the meta device (on zeros where a module cannot). Raises ShapeError if a shape does not fit.
    """
    shapes = [tuple(shape) for shape in input_shapes]
    wanted = [x.shape for x in graph.inputs] if graph is not None else shapes
    if len(wanted) != len(shapes):
        raise ShapeError(
            f"{len(shapes)} input shapes came.", f"The network has {len(wanted)} inputs.", "Give one shape for each."
        )
    is_open = any(size is None for shape in shapes for size in shape)
    try:
        with torch.no_grad():
            runs = [
                _graph_rows(graph, sizes) if graph is not None else _module_rows(net, sizes)
                for sizes in ([_closed(shape, size) for shape in shapes] for size in _OPEN_SIZES[: 1 + is_open])
            ]
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, LaminaError):
            raise
        came = ", ".join(shown(shape) for shape in shapes)
        is_picture = len(shapes) == 1 and len(shapes[0]) == 3
        raise ShapeError(
            f"The network was asked about inputs of shape {came}.",
            f"torch says: {(str(error).splitlines() or [type(error).__name__])[0].rstrip('.')}.",
            f"If {came} is right, without the batch and with the channels first, correct the network's forward."
            if is_picture
            else "Give the shape of one sample without the batch, of a picture (channels, height, width): (3, 224, 224).",
        ) from error
    (rows, measure), (others, _) = runs[0], runs[-1]
    parameters = {id(parameter): parameter for parameter in net.parameters()}.values()
    return Summary(
        tuple(_opened(row, other) for row, other in zip(rows, others, strict=True)) if is_open else tuple(rows),
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        None if is_open else measure.multiply_adds,
        None if is_open else measure.activation_bytes,
        None if is_open else _training_bytes(net, shapes),
        measure.depth,
    )


def _training_bytes(net: nn.Module, shapes: Sequence[Shape]) -> int | None:
    dtype = _input_type(net)
    copied = probe.meta_copy(net).train()
    try:  # of two samples, for BatchNorm takes no single one
        return training_bytes(
            copied, [torch.zeros((2, *shape), dtype=dtype, device="meta") for shape in _known(shapes)]
        )
    except (RuntimeError, ValueError, TypeError):  # of a module that needs numbers it is not known
        return None


def _graph_rows(graph: Graph, shapes: Sequence[Shape]) -> tuple[list[Row], Measure]:
    measure, seen, rows = Measure(), set[Layer](), []
    copies: dict[Layer, dict[str, nn.Module]] = {}
    results: dict[Any, Any] = {}
    first = {x.call: shape for x, shape in zip(graph.inputs, shapes, strict=True)}
    for x, shape in zip(graph.inputs, shapes, strict=True):
        sizes = tuple(shape[axis - 1] for axis in TO_CHANNELS_FIRST[1:]) if x.permuted else shape
        results[x.call] = _blank(sizes, x.dtype, "meta")
    for call in graph.calls:
        layer, name = call.layer, graph.names[call.layer]
        if call in first:
            rows.append(_row(name, "Input", first[call], 0, (0, 0), results[call]))
            continue
        if layer not in copies:
            copies[layer] = {suffix: probe.meta_copy(module).eval() for suffix, module in layer.modules.items()}
        values = [results[x.call] if x.index is None else results[x.call][x.index] for x in call.inputs]
        before = _so_far(measure)
        results[call] = _measured(measure, layer, call.plan, copies[layer], values)
        outputs = results[call] if isinstance(results[call], (tuple, list)) else (results[call],)
        last = layer.formats(call.inputs, len(outputs))
        count = 0 if layer in seen else sum(p.numel() for m in layer.modules.values() for p in m.parameters())
        label = f"{name} (again)" if layer in seen else name
        seen.add(layer)
        shown_shapes = tuple(
            (*value.shape[2:], value.shape[1]) if last[i] == "channels_last" and value.ndim == 4 else value.shape[1:]
            for i, value in enumerate(outputs)
        )
        field, (work, space) = field_of(outputs[0]), _since(measure, before)
        kind = "Model" if isinstance(layer, Nested) else type(layer).__name__
        kind = f"Torch({type(layer.module).__name__})" if isinstance(layer, Torch) else kind
        rows.append(
            Row(
                label,
                kind,
                tuple(tuple(int(size) for size in shape) for shape in shown_shapes),
                count,
                work,
                None if field is None else field.pixels,
                space,
            )
        )
    return rows, measure


def _measured(measure: Measure, layer: Layer, plan: Any, modules: dict[str, nn.Module], values: list[Any]) -> Any:
    try:
        with measure:
            return probe.run(plan, modules, values)
    except RuntimeError as error:  # of what is run on zeros instead, operations are not counted
        if not probe.needs_numbers(error):
            raise
        real = {suffix: copy.deepcopy(module).cpu().eval() for suffix, module in layer.modules.items()}
        result = probe.run(plan, real, [torch.zeros(value.shape, dtype=value.dtype) for value in values])
        return tuple(value.to("meta") for value in result) if isinstance(result, tuple) else result.to("meta")


def _module_rows(net: nn.Module, shapes: Sequence[Shape]) -> tuple[list[Row], Measure]:
    try:
        return _run_module(probe.meta_copy(net), shapes, "meta")
    except RuntimeError as error:
        if not probe.needs_numbers(error):
            raise
        return _run_module(copy.deepcopy(net).cpu(), shapes, "cpu")


def _run_module(net: nn.Module, shapes: Sequence[Shape], device: str) -> tuple[list[Row], Measure]:
    """A row for each module without children, and for each that has parameters of its own: of it, what no row inside it has.

    What holds parameters, and nothing below it does (a BatchNorm with its activation inside), is one row.
    """
    measure, rows, before = Measure(), list[Row](), dict[str, tuple[int, int, int]]()
    told, seen = set[int](), set[str]()  # parameters by id, and modules by name

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            before[name] = (*_so_far(measure), len(rows))

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, result: Any) -> None:
            label = f"{name} (again)" if name in seen else name
            seen.add(name)
            kind = type(module).__name__
            value = result[0] if isinstance(result, (tuple, list)) and result else result
            if isinstance(value, Tensor):
                *start, inside = before[name]
                work, space = _since(measure, (start[0], start[1]))
                work -= sum(row.multiply_adds or 0 for row in rows[inside:])
                space -= sum(row.activation_bytes or 0 for row in rows[inside:])
                fresh = [parameter for parameter in module.parameters() if id(parameter) not in told]
                told.update(map(id, fresh))
                count = sum(parameter.numel() for parameter in fresh)
                rows.append(_row(label or kind, kind, tuple(value.shape[1:]), count, (work, space), value))

        return hook

    net.eval()
    for name, module in _row_modules(net):
        module.register_forward_pre_hook(enter(name))
        module.register_forward_hook(leave(name))
    dtype = _input_type(net)
    images = [_blank(shape, dtype, device) for shape in shapes]  # which are no activations
    with measure:
        net(*images)
    return rows, measure


def _row_modules(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that rows are of, by name."""
    found = list[tuple[str, nn.Module]]()
    whole: tuple[str, ...] = ()  # prefixes of what lies in a module that is one row
    for name, module in net.named_modules():
        own = any(True for _ in module.parameters(recurse=False))
        children = list(module.children())
        if (not own and children) or name.startswith(whole):
            continue
        found.append((name, module))
        if name and children and not any(True for child in children for _ in child.parameters()):
            whole = (*whole, f"{name}.")
    return found


def _input_type(net: nn.Module) -> torch.dtype:
    """What the first layer with weights takes."""
    first = next((module for module in net.modules() if next(module.parameters(recurse=False), None) is not None), None)
    return torch.int64 if isinstance(first, nn.Embedding) else torch.float32


def _so_far(measure: Measure) -> tuple[int, int]:
    return measure.multiply_adds, measure.activation_bytes


def _since(measure: Measure, before: tuple[int, int]) -> tuple[int, int]:
    """Multiply-adds and bytes that were added."""
    return measure.multiply_adds - before[0], measure.activation_bytes - before[1]


def _known(shapes: Sequence[Shape]) -> list[tuple[int, ...]]:
    return [tuple(size for size in shape if size is not None) for shape in shapes]


def _closed(shape: Shape, size: int) -> Shape:
    return tuple(size if entry is None else entry for entry in shape)


def _opened(row: Row, other: Row) -> Row:
    """The row of a network with open sizes, from the rows of two sizes."""
    shapes = zip(row.output_shape, other.output_shape, strict=True)
    merged = tuple(tuple(a if a == b else None for a, b in zip(one, two, strict=True)) for one, two in shapes)
    return replace(row, output_shape=merged, multiply_adds=None, activation_bytes=None)


def _blank(sizes: Shape, dtype: torch.dtype, device: str) -> Tensor:
    value = torch.zeros((1, *(size for size in sizes if size is not None)), dtype=dtype, device=device)
    return mark(value) if value.ndim == 4 else value


def _row(name: str, kind: str, shape: Shape, count: int, added: tuple[int, int], value: Tensor) -> Row:
    field: Field | None = field_of(value)
    return Row(name, kind, (shape,), count, added[0], None if field is None else field.pixels, added[1])


def _cells(row: Row) -> tuple[str, ...]:
    field = "-"
    if row.receptive_field is not None:
        sizes = ["all" if size is None else str(size) for size in row.receptive_field]
        field = sizes[0] if sizes[0] == sizes[1] else " x ".join(sizes)
    work = "-" if not row.multiply_adds else counted(row.multiply_adds)
    shapes = ", ".join(shown(shape) if shape else "()" for shape in row.output_shape)
    space = "-" if not row.activation_bytes else counted_bytes(row.activation_bytes)
    return row.name, row.kind, shapes, f"{row.parameters:,}" if row.parameters else "-", work, space, field


def _not_shown(columns: Sequence[int]) -> str:
    """What a table of these columns has no room for, in words."""
    missing = [title for column, title in enumerate(_TITLES) if column not in columns]
    return f"; no room for: {', '.join(missing)}" if missing else ""


def counted(number: int) -> str:
    """A number in three digits: `714 M`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def counted_bytes(number: int) -> str:
    """Bytes in three digits: `1.23 MB`, in powers of 1,000."""
    text = counted(number)
    return f"{text}B" if " " in text else f"{text} B"
