"""Whatever runs a deployable network: torch itself, ONNX Runtime, OpenVINO. All take and give numpy arrays."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from lamina.core.errors import MissingExtraError
from lamina.export.deployable import Deployable

Arrays = tuple[npt.NDArray[Any], ...]


class Engine(Protocol):
    """Inputs as they come (pictures: uint8 B C H W) to answers (float32), one array each."""

    name: str

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays: ...


class TorchEngine:
    """The network in torch on this machine's processor, in eval mode, with copies of the weights."""

    name = "torch"

    def __init__(self, deployable: Deployable) -> None:
        self._module = deployable.module().to(memory_format=torch.channels_last)

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays:
        with torch.inference_mode():
            answers = self._module(*(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs))
        return tuple(value.numpy() for value in ((answers,) if isinstance(answers, torch.Tensor) else answers))


class OnnxEngine:
    """An ONNX model (its bytes) in ONNX Runtime on this machine's processor."""

    name = "onnxruntime"

    def __init__(self, model: bytes | str, *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("ONNX Runtime", "export") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_inputs()]

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays:
        return tuple(self._session.run(None, dict(zip(self._names, inputs, strict=True))))
