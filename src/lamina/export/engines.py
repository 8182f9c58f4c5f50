"""Whatever runs a deployable network: torch itself, compiled or not, ONNX Runtime, OpenVINO. All take and give numpy arrays."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lamina.core.errors import LaminaError, MissingExtraError, unknown_name
from lamina.export.deployable import Answering, Deployable
from lamina.export.folding import fold
from lamina.export.lowering import lower

Arrays = tuple[npt.NDArray[Any], ...]

_OF_TORCH = ("float32", "bfloat16")
_OF_OPENVINO = {"float32": "f32", "bfloat16": "bf16"}
_AT_ONCE = (
    600_000  # bytes of inputs: larger batches are up to 6 % slower in OpenVINO, for what they make leaves the cache
)


class Engine(Protocol):
    """Inputs as they come (pictures: uint8 B C H W) to answers (float32), one array each: any batch, from any thread.

    `precision` is what it computes in, as it is known: "int8" engines are made of a model that was quantised.
    """

    name: str
    precision: str

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays: ...


class TorchEngine:
    """The network in torch on this machine's processor: channels-last, BatchNorms folded, with copies of the weights."""

    name = "torch"

    def __init__(self, deployable: Deployable, *, precision: str = "float32", threads: int | None = None) -> None:
        self.precision, self._threads = _known(precision, _OF_TORCH), threads
        self._module = _laid_out(deployable, precision)

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays:
        with _torch_threads(self._threads), torch.inference_mode():
            return _arrays(self._module(*map(_tensor, inputs)))


class CompiledEngine:
    """The network compiled by torch (inductor, weights frozen in), for any batch; it is compiled here, not at the first call.

    One picture alone is a program of its own, made where 1 is among `batches`; without it two are computed. Raises
    LaminaError where no C++ compiler is found.
    """

    name = "compiled"

    def __init__(
        self,
        deployable: Deployable,
        *,
        precision: str = "float32",
        threads: int | None = None,
        batches: Sequence[int] = (2,),
    ) -> None:
        self.precision, self._threads = _known(precision, _OF_TORCH), threads
        _require_compiler()
        module = _laid_out(deployable, precision)
        self._many = torch.compile(module, options={"freezing": True})
        self._alone = torch.compile(module, options={"freezing": True}, dynamic=False) if 1 in batches else None
        example = [value.numpy() for value in deployable.example]
        with _quiet():
            for count in {2, *({1} if self._alone is not None else ())}:
                self(*(value[:count] for value in example))

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays:
        with _torch_threads(self._threads), torch.inference_mode():
            if len(inputs[0]) > 1:
                return self._several(*inputs)
            if self._alone is not None:
                return _arrays(self._alone(*map(_tensor, inputs)))
            twice = self._several(*(np.concatenate([value, value]) for value in inputs))
            return tuple(value[:1] for value in twice)

    def _several(self, *inputs: npt.NDArray[Any]) -> Arrays:
        tensors = [_tensor(value) for value in inputs]
        for value in tensors:
            torch._dynamo.mark_dynamic(value, 0)  # else each length of a batch would be compiled for itself
        return _arrays(self._many(*tensors))


class OnnxEngine:
    """An ONNX model (its bytes) in ONNX Runtime on this machine's processor."""

    name = "onnxruntime"

    def __init__(self, model: bytes | str, *, precision: str = "float32", threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("ONNX Runtime", "export") from None
        self.precision = _known(precision, ("float32", "int8"))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised too
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_inputs()]

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays:
        given = dict(zip(self._names, map(np.ascontiguousarray, inputs), strict=True))
        return tuple(_float32(value) for value in self._session.run(None, given))


class OpenVinoEngine:
    """An ONNX model (its bytes) in OpenVINO on this machine's processor: all threads work on one batch, some of it at a time."""

    name = "openvino"

    def __init__(self, model: bytes, *, precision: str = "float32", threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError:
            raise MissingExtraError("OpenVINO", "openvino") from None
        self.precision = _known(precision, ("float32", "bfloat16", "int8"))
        # Left alone it computes in bfloat16 wherever the processor has it.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _OF_OPENVINO.get(precision, "f32")}
        settings["PERFORMANCE_HINT"] = "LATENCY"
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        # OpenVINO gives the thread that compiles a stack for signals, which goes with the model and may stay set: the next
        # Ctrl-C would end the process. So that thread is one that ends.
        with ThreadPoolExecutor(1) as apart:
            self._compiled = apart.submit(core.compile_model, core.read_model(model), "CPU", settings).result()
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()  # requests: each answers one batch at a time

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays:
        request, count = self._request(), len(inputs[0])
        step = max(1, _AT_ONCE * count // max(1, sum(value.nbytes for value in inputs)))
        whole: Arrays = ()
        try:
            for start in range(0, max(count, 1), step):
                part = slice(start, start + step)
                request.infer({at: np.ascontiguousarray(value[part]) for at, value in enumerate(inputs)})
                answers = [value.data for value in request.output_tensors]
                if not whole:
                    whole = tuple(np.empty((count, *value.shape[1:]), np.float32) for value in answers)
                for mine, value in zip(whole, answers, strict=True):
                    mine[part] = value
        finally:
            self._idle.put(request)
        return whole

    def _request(self) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._compiled.create_infer_request()


def _laid_out(deployable: Deployable, precision: str) -> Answering:
    """The module as torch computes it fastest."""
    module = deployable.module()
    prepared = [module.prepare(value) for value in deployable.example]
    module.net = fold(module.net, prepared)
    lower(module, precision)
    return module.to(memory_format=torch.channels_last)


def _tensor(value: npt.NDArray[Any]) -> Tensor:
    # An array that may not be written to is copied, for torch would warn of it.
    return torch.from_numpy(np.require(value, requirements=("C", "W")))


def _arrays(answers: Tensor | tuple[Tensor, ...]) -> Arrays:
    return tuple(value.numpy() for value in ((answers,) if isinstance(answers, Tensor) else answers))


def _float32(value: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return value.astype(np.float32, copy=False)


def _known(precision: str, known: Sequence[str] | dict[str, Any]) -> str:
    if precision not in known:
        raise unknown_name("precision of this engine", precision, known)
    return precision


@contextlib.contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The compiler warns of its own parts, and looks for those of a GPU."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _require_compiler() -> None:
    told = os.environ.get("CXX")
    names = (told,) if told else ("cl",) if sys.platform == "win32" else ("g++", "clang++")
    if not any(shutil.which(name) for name in names):
        raise LaminaError(
            f"No C++ compiler is here ({', '.join(names)}).",
            "torch compiles a network by way of C++.",
            "Install one, or use another engine.",
        )
