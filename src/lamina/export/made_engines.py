"""Engines by name: what each is made of (a torch module, ONNX, ONNX in 8 bits) is exported once, when the first asks for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from lamina.core.errors import LaminaError, MissingExtraError, unknown_name
from lamina.export import int8, samples
from lamina.export.checking import Reference
from lamina.export.deployable import Deployable
from lamina.export.engines import CompiledEngine, Engine, OnnxEngine, OpenVinoEngine, TorchEngine
from lamina.export.onnx_file import to_onnx
from lamina.export.samples import Samples

ENGINES: Mapping[str, tuple[str, ...]] = {  # and the precisions that each has
    "torch": ("float32", "bfloat16"),
    "compiled": ("float32", "bfloat16"),
    "onnxruntime": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
}
_EXTRAS = {  # module, what it is called, extra
    "onnxruntime": (("onnxscript", "ONNX", "export"), ("onnxruntime", "ONNX Runtime", "export")),
    "openvino": (("openvino", "OpenVINO", "openvino"), ("onnxscript", "ONNX", "export")),
}


class Maker:
    """Makes engines of one network. `tried` are real samples, which 8 bits need; others are compared on made ones too."""

    def __init__(
        self,
        deployable: Deployable,
        tried: Samples | None = None,
        *,
        threads: int | None = None,
        batches: Sequence[int] = (32,),
    ) -> None:
        self.deployable, self.tried = deployable, tried
        self.threads, self.batches = threads, tuple(batches)

    def make(self, name: str, precision: str = "float32") -> Engine:
        """The engine. Raises MissingExtraError where it is not installed, and whatever it raises for a network it cannot run."""
        if name not in ENGINES:
            raise unknown_name("engine", name, ENGINES)
        if precision not in ENGINES[name]:
            raise unknown_name(f"precision of the engine {name}", precision, ENGINES[name])
        for module, called, extra in _EXTRAS.get(name, ()):
            if importlib.util.find_spec(module) is None:  # before minutes are spent on the export
                raise MissingExtraError(called, extra)
        told: dict[str, Any] = {"precision": precision, "threads": self.threads}
        if name == "torch":
            return TorchEngine(self.deployable, **told)
        if name == "compiled":
            return CompiledEngine(self.deployable, **told, batches=self.batches)
        model = self._int8 if precision == "int8" else self._onnx
        if name == "onnxruntime":
            return OnnxEngine(model, **told)
        return OpenVinoEngine(model, **told)

    @cached_property
    def reference(self) -> Reference:
        """What torch answers in float32 to the samples that engines are compared on."""
        return Reference(self.deployable, self._compared)

    @cached_property
    def _compared(self) -> Samples:
        return samples.made(self.deployable) if self.tried is None else self.tried.halves()[1]

    @cached_property
    def _model(self) -> Any:
        return to_onnx(self.deployable, any_size=False)

    @cached_property
    def _onnx(self) -> bytes:
        content: bytes = self._model.SerializeToString()
        return content

    @cached_property
    def _int8(self) -> bytes:
        if self.tried is None:
            raise LaminaError(
                "int8 came without samples.",
                "The ranges of 8-bit numbers are taken from real pictures.",
                "Bring some 128 of them.",
            )
        calibration = self.tried.halves()[0]
        own = Reference(self.deployable, calibration, engine=OnnxEngine(self._onnx))
        content: bytes = int8.quantise(self._model, own, calibration).SerializeToString()
        return content
