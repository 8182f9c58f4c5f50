"""Static quantisation: weights and activations in 8 bits, with ranges taken from pictures."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lamina.core import progress
from lamina.core.errors import MissingExtraError
from lamina.export.checking import OF_SPREAD, Reference
from lamina.export.engines import OnnxEngine
from lamina.export.samples import Samples

# What is worth 8 bits. Normalising at the start and the softmax at the end are not: they cost little, and answers need their digits.
_KINDS = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu",
    "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape", "Transpose", "Pad", "Resize", "Split",
)  # fmt: skip
_STRIDE = 8  # samples whose activations are held at once
_WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ELEMENTWISE = ("Clip", "Relu", "LeakyRelu", "HardSwish", "Sigmoid", "Mul", "Add", "BatchNormalization")
_GOOD = 0.995  # of the classes: ranges that keep so many are taken, and the dearer ones are not looked for


def quantise(model: Any, reference: Reference, samples: Samples) -> Any:
    """An onnx.ModelProto of a float32 one: QuantizeLinear and DequantizeLinear around its layers, weights by channel.

    Ranges of activations are those of the samples: the least and the largest value, or where that costs classes what loses the
    least information (by entropy), whichever agrees better with `reference` on them. Weights have 7 bits: products of 8 overflow on
    processors without VNNI. The first normalisation, a first convolution with a depthwise one behind it, and what follows the
    last layer with weights stay in float32.
    """
    try:
        from onnxruntime.quantization import CalibrationMethod
    except ImportError:
        raise MissingExtraError("int8", "export") from None
    wide, narrow = _outside(model), _outside(model, blocks=2)
    ways = [(CalibrationMethod.MinMax, wide), (CalibrationMethod.MinMax, narrow), (CalibrationMethod.Entropy, wide)]
    tried: list[tuple[tuple[float, float], Any]] = []
    for method, outside in ways if wide != narrow else [ways[0], ways[2]]:
        what = "ranges" if method == CalibrationMethod.MinMax else "distributions"
        less = ", with more layers in float32" if outside != wide else ""
        progress.step(f"taking the {what} of {len(samples)} samples for 8 bits{less}")
        made = _quantised(model, samples, method, outside)
        tried.append((_merit(made, reference), made))
        if tried[-1][0][0] >= _GOOD:
            break
    return max(tried, key=lambda pair: pair[0])[1]


def _merit(model: Any, reference: Reference) -> tuple[float, float]:
    """Agreement of the classes first, then how near the answers are; values half as far apart as is allowed are as good as _GOOD."""
    answers = reference.ask(OnnxEngine(model.SerializeToString()))
    agreement = reference.agreement(answers)
    if agreement is None:
        agreement = 1 - (1 - _GOOD) * (reference.of_spread(answers) or 0.0) / (OF_SPREAD / 2)
    return agreement, -reference.difference(reference.answers, answers)


def _quantised(model: Any, samples: Samples, method: Any, outside: list[str]) -> Any:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, path = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)  # a model in memory would be changed
        quantize_static(
            source,
            path,
            _Reader([value.name for value in model.graph.input], samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_KINDS),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=outside,
            calibrate_method=method,
            extra_options={"CalibStridedMinMax": 1},  # of the reader's batches,
        )
        return onnx.load(path)


def _outside(model: Any, *, blocks: int = 1) -> list[str]:
    """The nodes before the first layers with weights, those of the entry, and from the last layer with weights on."""
    nodes = list(model.graph.node)
    before, after = _reached(nodes), _reached([*reversed(nodes)], backwards=True)
    ends = [node.name for index, node in enumerate(nodes) if not before[index] or not after[len(nodes) - 1 - index]]
    return [*ends, *_entry(nodes, blocks)]


def _entry(nodes: Sequence[Any], blocks: int) -> list[str]:
    """From a first convolution to the depthwise one behind it, or the next one; empty where none follows at once.

    A depthwise one multiplies each channel by itself, in a MobileNet v2 one by 90 and another by 0.00005, and one step of 8 bits
    for all of its inputs becomes 1.7: two runtimes that round otherwise then give other classes (72 % agreed on ants and bees,
    98 % without these two layers, which have 5 % of the work).
    """
    first = next((index for index, node in enumerate(nodes) if node.op_type == "Conv"), None)
    if first is None:
        return []
    names, known = [nodes[first].name], set(nodes[first].output)
    alone, left = True, blocks
    for node in nodes[first + 1 :]:
        if not known & set(node.input):
            continue
        depthwise = node.op_type == "Conv" and next((told.i for told in node.attribute if told.name == "group"), 1) > 1
        if (alone and node.op_type == "Conv" and not depthwise) or node.op_type not in ("Conv", *_ELEMENTWISE):
            return []
        names.append(node.name)
        known.update(node.output)
        alone, left = alone and not depthwise, left - depthwise
        if not left:
            return names
    return []


def _reached(nodes: Sequence[Any], *, backwards: bool = False) -> list[bool]:
    """Of each node whether it is, or comes behind, one with weights; nodes are in the order of the graph, or in reverse."""
    known: set[str] = set()
    told = []
    for node in nodes:
        sources, targets = (node.output, node.input) if backwards else (node.input, node.output)
        reached = node.op_type in _WEIGHED or any(name in known for name in sources)
        known.update(targets if reached else ())
        told.append(reached)
    return told


class _Reader:
    """Hands samples to the calibration, a few at a time."""

    def __init__(self, names: Sequence[str], samples: Samples) -> None:
        self._names, self._samples = names, samples
        self._batches: Iterator[dict[str, npt.NDArray[Any]]] = iter(())
        self.set_range(0, len(self))

    def __len__(self) -> int:
        return -(-len(self._samples) // _STRIDE)

    def set_range(self, start_index: int, end_index: int) -> None:
        parts = (self._samples.part(_STRIDE * i, _STRIDE * (i + 1)) for i in range(start_index, end_index))
        self._batches = (dict(zip(self._names, part, strict=True)) for part in parts)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        return next(self._batches, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser prints, and advises in the log what has been done already."""
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
