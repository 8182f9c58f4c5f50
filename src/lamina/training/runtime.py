"""Where and how things run: device, precision, memory format, memory kept by the allocator. Chosen once, given to the step.

No other file names a device backend or enters autocast. Each choice has an off switch here and a line in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError, UnknownNameError, nearest_names

_PRECISIONS = ("auto", "float32", "bfloat16")


class Runtime:
    """One process on one device.

    `precision` "auto" is bfloat16 autocast where the processor computes it in hardware, else float32. `channels_last`
    lays images and kernels out as the convolution kernels of today want them. `fused` asks the optimizer for its one-kernel step.
    `keep_memory` tells glibc to keep freed memory: returning it costs a page fault per page and step.
    """

    def __init__(
        self,
        device: str | torch.device = "auto",
        *,
        precision: str = "auto",
        channels_last: bool = True,
        fused: bool = True,
        keep_memory: bool = True,
    ) -> None:
        self.device = _device(device)
        if precision not in _PRECISIONS:
            near = ", ".join(repr(name) for name in nearest_names(precision, _PRECISIONS))
            raise UnknownNameError(
                f"precision={precision!r} is not known.", f"The nearest known: {near}.", "Use one of these."
            )
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16(self.device) else "float32"
        self.precision = precision
        self.channels_last = channels_last
        self.fused = fused
        if keep_memory and self.device.type == "cpu":
            keep_freed_memory()

    def __repr__(self) -> str:
        layout = "channels last" if self.channels_last else "channels first"
        return f"Runtime({self.device}, {self.precision}, {layout})"

    def place(self, net: nn.Module) -> nn.Module:
        """Moves a network to the device in place, and its convolution kernels to channels-last. Keys stay the user's."""
        if self.channels_last and any(isinstance(module, nn.Conv2d) for module in net.modules()):
            return net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return net.to(self.device)

    def put(self, value: Tensor) -> Tensor:
        """The tensor on the device; four-dimensional ones in channels-last if so chosen."""
        if value.device != self.device:
            value = value.to(self.device, non_blocking=True)
        if self.channels_last and value.dim() == 4:
            return value.contiguous(memory_format=torch.channels_last)
        return value

    def fits(self, tensors: Iterable[Tensor]) -> bool:
        """Whether the tensors leave at least half of the device's free memory to the network."""
        if self.device.type != "cuda":
            return True
        wanted = sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.device != self.device)
        return wanted < torch.cuda.mem_get_info(self.device)[0] / 2

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a training step computes its loss: the chosen precision."""
        if self.precision == "float32":
            return _NOTHING
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


_NOTHING = contextlib.nullcontext()


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware. Where it does not, emulation is about ten times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and not processor_flags().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


@contextlib.contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every module is in the mode it was in, frozen BatchNorms included."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@functools.cache
def processor_flags() -> frozenset[str]:
    """The instruction sets of this processor as Linux names them; elsewhere none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(value.split())
    return frozenset()


@functools.cache
def keep_freed_memory() -> bool:
    """Tells glibc's malloc to keep what is freed instead of handing it back to the system; True where that took effect.

    A training step allocates and frees the same large blocks again and again; each time the system would have to map and
    zero their pages anew.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    libc = ctypes.CDLL(None)
    # Older versions of glibc refuse thresholds above 32 MiB.
    mapped = libc.mallopt(mmap_threshold, 1 << 30) or libc.mallopt(mmap_threshold, 1 << 25)
    return bool(libc.mallopt(trim_threshold, (1 << 31) - 1) and mapped)


def _device(device: str | torch.device) -> torch.device:
    if device != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:  # an unknown name; a backend that is not there
            there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
            there += ["mps"] if torch.backends.mps.is_available() else []
            raise LaminaError(
                f"The device {str(device)!r} cannot be used ({str(error).splitlines()[0]}).",
                f"Here there are: {', '.join(there)}.",
                'Choose one of these, or "auto".',
            ) from error
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
