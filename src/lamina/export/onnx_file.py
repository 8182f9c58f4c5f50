"""A deployable network as ONNX: uint8 pictures in, answers out, with all that stands between."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.fx import Node

from lamina.core.errors import LaminaError, MissingExtraError
from lamina.export import translations
from lamina.export.deployable import Deployable
from lamina.export.program import program

_DIVISOR = 6  # the place of divisor_override among the arguments of avg_pool2d
_MATRIX = 2  # axes that a tensor of weights has at least
_MOST_GB = 2  # of a protobuf message
_AXES = ("batch", "channels", "height", "width")


def to_onnx(deployable: Deployable, *, any_size: bool = True, precision: str = "float32") -> Any:
    """The network as an onnx.ModelProto, convolutions and BatchNorms folded; see `program` for what is open.

    `precision` "float16" has weights and arithmetic in float16, which runtimes without it (ONNX Runtime on a PC's processor)
    compute in float32. "bfloat16" has the weights in bfloat16 and the arithmetic in float32: ONNX Runtime knows no convolution
    in bfloat16 on a processor, so what this gains is half the file.
    Raises MissingExtraError where the extra `export` is not installed, LaminaError for a network that ONNX cannot express.
    """
    require_extra()
    arithmetic = "float32" if precision == "bfloat16" else precision
    made = program(deployable, any_size=any_size, precision=arithmetic)
    if any(not _is_closed(node) for node in _nodes(made, torch.ops.aten.adaptive_max_pool2d.default)):
        made = program(
            deployable, any_size=False, precision=arithmetic
        )  # ONNX cannot cut an open size into so many parts
    made = _clamped(_sums_as_means(_cut(made)))
    try:
        with _silent():
            told = torch.onnx.export(
                made,
                deployable.example,
                dynamo=True,
                optimize=True,
                verbose=False,
                input_names=list(deployable.inputs),
                output_names=list(deployable.answers),
                custom_translation_table=translations.table(),
            )
    except Exception as error:  # the exporter raises nearly anything
        raise LaminaError(
            f"ONNX has no way to express the network ({_why(error)}).",
            "Operators that ONNX knows were expected.",
            "Export it as a torch program instead: a path that ends in .pt2.",
        ) from error
    assert told is not None
    model = with_named_axes(told.model_proto)
    return in_bfloat16(model) if precision == "bfloat16" else model


def _why(error: BaseException) -> str:
    """The first line of what went wrong at first: the exporter wraps it in advice, in colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    told = next(iter(str(error).splitlines()), "no reason told").rstrip(".")
    return f"{type(error).__name__}: {told}"


def require_extra() -> None:
    """Raises MissingExtraError where what writes ONNX, or runs it, is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("ONNX", "export") from None


def _nodes(made: ExportedProgram, target: Any) -> list[Node]:
    return [node for node in made.graph.nodes if node.target is target]


def _is_closed(pool: Node) -> bool:
    """Whether height and width of what is pooled are known numbers."""
    assert isinstance(pool.args[0], Node)
    return all(isinstance(length, int) for length in pool.args[0].meta["val"].shape[-2:])


def _cut(made: ExportedProgram) -> ExportedProgram:
    """Adaptive maximum poolings become maxima of the windows that they are, in place: ONNX knows none."""
    aten = torch.ops.aten

    def call(operator: Any, *given: Any) -> Node:
        node: Node = made.graph.call_function(operator, given)
        node.meta["val"] = operator(*fx.node.map_arg(given, lambda argument: argument.meta["val"]))
        return node

    for pool in _nodes(made, aten.adaptive_max_pool2d.default):
        features, sides = pool.args
        height, width = features.meta["val"].shape[-2:]  # type: ignore[union-attr]
        rows, columns = (_windows(*sizes) for sizes in zip((height, width), sides, strict=True))  # type: ignore[arg-type]
        with made.graph.inserting_before(pool):
            bands = []
            for first, last in rows:
                band = call(aten.slice.Tensor, features, 2, first, last)
                parts = [call(aten.slice.Tensor, band, 3, left, right) for left, right in columns]
                bands.append(call(aten.cat.default, [call(aten.amax.default, part, [2, 3], True) for part in parts], 3))
            maxima = call(aten.cat.default, bands, 2)
        for user in list(pool.users):
            if user.args[1] == 0:
                user.replace_all_uses_with(maxima)
            if not user.users:  # the places of the maxima, which the exporter refuses, may be asked for
                made.graph.erase_node(user)
        if not pool.users:
            made.graph.erase_node(pool)
    made.graph_module.recompile()
    return made


def _windows(length: int, parts: int) -> list[tuple[int, int]]:
    """First entry of each part and the one behind its last, as torch cuts them: neighbours may overlap."""
    return [(part * length // parts, -(-(part + 1) * length // parts)) for part in range(parts)]


def _sums_as_means(made: ExportedProgram) -> ExportedProgram:
    """Average poolings with a divisor of their own become means times a number, in place: the exporter would forget the divisor."""
    for node in list(made.graph.nodes):
        if (
            node.target is not torch.ops.aten.avg_pool2d.default
            or len(node.args) <= _DIVISOR
            or not node.args[_DIVISOR]
        ):
            continue
        sides = node.args[1]
        area = sides[0] * sides[-1] if len(sides) > 1 else sides[0] ** 2
        factor = area / node.args[_DIVISOR]
        node.args = (*node.args[: _DIVISOR - 1], True)  # what lies beyond the border counts, as a fixed divisor has it
        with made.graph.inserting_after(node):
            product = made.graph.call_function(torch.ops.aten.mul.Tensor, (node, factor))
        product.meta = dict(node.meta)
        node.replace_all_uses_with(product, delete_user_cb=lambda user, product=product: user is not product)
    made.graph_module.recompile()
    return made


def _clamped(made: ExportedProgram) -> ExportedProgram:
    """ReLU6 and its like as the clamp that they are, in place: the exporter takes two thirds of its time to find that out."""
    aten = torch.ops.aten
    for node in made.graph.nodes:
        alone = (
            node.target is aten.hardtanh_.default and len(node.args[0].users) == 1
        )  # nobody sees that it was in place
        if alone or node.target is aten.hardtanh.default:
            given = list(node.args[1:])
            low, high = given + [-1.0, 1.0][len(given) :]
            node.target, node.args = aten.clamp.default, (node.args[0], low, high)
    made.graph_module.recompile()
    return made


def in_bfloat16(model: Any) -> Any:
    """Keeps the weights of an onnx.ModelProto as bfloat16, in place, each with a cast to float32, which a runtime does once."""
    import onnx

    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < _MATRIX:
            continue  # biases are few, and sums need them as they are
        values = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        stored = onnx.TensorProto(name=f"{tensor.name}_bfloat16", data_type=onnx.TensorProto.BFLOAT16, dims=tensor.dims)
        stored.raw_data = values.to(torch.bfloat16).view(torch.int16).numpy().tobytes()
        casts.append(onnx.helper.make_node("Cast", [stored.name], [tensor.name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(stored)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def with_named_axes(model: Any) -> Any:
    """The open axes of an onnx.ModelProto as batch, height and width, in place: the exporter calls them s21, s54."""
    names: dict[str, str] = {}
    for value in model.graph.input:
        lengths = value.type.tensor_type.shape.dim
        for length, name in zip(lengths, _AXES if len(lengths) == len(_AXES) else _AXES[:1], strict=False):
            if length.dim_param:
                names.setdefault(length.dim_param, name)
    if not names:
        return model
    old = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for length in value.type.tensor_type.shape.dim:
            if length.dim_param:  # or what is computed of them: (s54 - 1)//2 + 1
                length.dim_param = old.sub(lambda found: names[found[0]], length.dim_param)
    return model


def is_open(model: Any) -> bool:
    """Whether any input of an onnx.ModelProto has a side, behind batch and channels, that may have any length."""
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    return any(bool(length.dim_param) for shape in shapes for length in shape[2:])


def with_texts(model: Any, told: Mapping[str, str]) -> bytes:
    """The bytes of an onnx.ModelProto with these texts in its metadata. Raises LaminaError where ONNX cannot hold so much."""
    import onnx

    onnx.helper.set_model_props(model, dict(told))
    model.producer_name = "lamina"
    try:
        content: bytes = model.SerializeToString()
    except Exception as error:  # protobuf's own, of several names
        raise LaminaError(
            f"The network does not fit into one ONNX file ({_MOST_GB} GB at most).",
            "A smaller network was expected.",
            'Export it as a torch program (a path that ends in .pt2), or with precision="bfloat16".',
        ) from error
    return content


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter prints, logs and warns of its own parts."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
