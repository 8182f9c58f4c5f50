"""Kernels of our own, in C: compiled by the machine's GCC when first needed. Wherever that fails there are none, and torch's serve.

Nothing stays on disk. A library found there could be somebody else's code, or made of an older source; compiling and trying one takes
half a second to a second. The environment variable LAMINA_KERNELS=0 switches all of it off.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger("lamina.kernels")

_TIMEOUT_S = 30.0
_PLAIN_TYPES = (Tensor, nn.Parameter)
with torch.inference_mode(False):
    # the marks of other devices, layouts, views and transforms are more
    _PLAIN_KEYS = torch._C._dispatch_keys(torch.empty(0, device="cpu"))


@functools.cache
def compiled(name: str) -> ctypes.CDLL | None:
    """The library of this folder's NAME.c, for this processor; None where it cannot be had, or is switched off."""
    if sys.platform != "linux" or os.environ.get("LAMINA_KERNELS") == "0":
        return None
    compiler = _gcc()
    if compiler is None:
        log.info("No GCC here: no kernel %s.", name)
        return None
    try:
        return _library(compiler, Path(__file__).with_name(f"{name}.c"))
    except (OSError, subprocess.SubprocessError) as error:  # a broken compiler, a folder that nothing can be run from
        log.info("The kernel %s could not be built: %s", name, error)
        return None


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether tensors are nothing but their values in this machine's memory, and nobody looks on at what is computed."""
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in _PLAIN_TYPES or torch._C._dispatch_keys(tensor) != _PLAIN_KEYS):
            return False
    return (
        torch._C._get_tracing_state() is None
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
        and not torch._C._len_torch_function_stack()
        and not torch._C._len_torch_dispatch_stack()
    )


def is_in_bfloat16(images: Tensor, weight: Tensor) -> bool:
    """Whether a convolution or product of the two computes in bfloat16 on a processor."""
    kinds = {images.dtype, weight.dtype}
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16 and kinds <= {torch.bfloat16, torch.float32}
    return kinds == {torch.bfloat16}


def _gcc() -> str | None:
    for name in ("cc", "gcc"):
        path = shutil.which(name)
        # clang, which may be called cc too, would bring an OpenMP of its own
        if path is not None and "Free Software Foundation" in _told(path, "--version"):
            return path
    return None


def _told(*command: str) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.decode(errors="replace")


def _library(compiler: str, source: Path) -> ctypes.CDLL | None:
    with tempfile.TemporaryDirectory(prefix="lamina-") as folder:  # readable by this user alone
        made = Path(folder) / f"{source.stem}.so"
        command = [compiler, "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", str(source), "-o", str(made)]
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=True)
        library = ctypes.CDLL(str(made))  # stays in memory when its file is gone
    if _openmp(library) != _openmp(ctypes.CDLL(torch._C.__file__)):
        log.info("The kernel %s got another OpenMP than torch has.", source.stem)
        return None
    return library


def _openmp(library: ctypes.CDLL) -> int | None:
    """Where the OpenMP lies that a library was linked with. Threads of two take the cores from one another: up to 100 times slower."""
    function = getattr(library, "GOMP_parallel", None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value
