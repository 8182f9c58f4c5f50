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

from lamina.core.errors import MissingExtraError
from lamina.export.checking import Reference
from lamina.export.engines import OnnxEngine
from lamina.export.samples import Samples

# What is worth 8 bits. Normalising at the start and the softmax at the end are not: they cost little, and answers need their digits.
_KINDS = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu",
    "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape", "Transpose", "Pad", "Resize", "Split",
)  # fmt: skip
_STRIDE = 8  # samples whose activations are held at once
_WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantise(model: Any, reference: Reference, samples: Samples) -> Any:
    """An onnx.ModelProto of a float32 one: QuantizeLinear and DequantizeLinear around its layers, weights by channel.

    Ranges of activations are those of the samples: the least and the largest value, or what loses the least information
    (by entropy), whichever agrees better with `reference` on them. Weights have 7 bits: products of 8 overflow on processors without
    VNNI. The first normalisation and what follows the last layer with weights stay in float32.
    """
    try:
        from onnxruntime.quantization import CalibrationMethod
    except ImportError:
        raise MissingExtraError("int8", "export") from None
    tried = [_quantised(model, samples, method) for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy)]
    return max(tried, key=lambda made: _merit(made, reference))


def _merit(model: Any, reference: Reference) -> tuple[float, float]:
    """Agreement of the classes first, then how near the answers are."""
    answers = reference.ask(OnnxEngine(model.SerializeToString()))
    agreement = reference.agreement(answers)
    return 1.0 if agreement is None else agreement, -reference.difference(reference.answers, answers)


def _quantised(model: Any, samples: Samples, method: Any) -> Any:
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
            nodes_to_exclude=_outside(model),
            calibrate_method=method,
            extra_options={"CalibStridedMinMax": 1},  # of the reader's batches,
        )
        return onnx.load(path)


def _outside(model: Any) -> list[str]:
    """The nodes before the first layers with weights, and from the last one on."""
    nodes = list(model.graph.node)
    before, after = _reached(nodes), _reached([*reversed(nodes)], backwards=True)
    return [node.name for index, node in enumerate(nodes) if not before[index] or not after[len(nodes) - 1 - index]]


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
