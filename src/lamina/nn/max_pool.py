"""Max pooling of 2x2 windows in training on processors by a kernel of our own, three to six times as fast as torch's there.

Values and gradients are torch's to the bit, but for the payload of NaNs. Wherever the kernel does not apply, torch's own is called.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lamina.nn.native import are_plain, compiled

_BITS = {torch.bfloat16: 16, torch.float32: 32}
_LEAST_CHANNELS = 16  # a vector's length


def max_pool_2x2(images: Float[Tensor, "*B C H W"], *, ceil_mode: bool = False) -> Float[Tensor, "*B C H2 W2"]:
    """`F.max_pool2d(images, 2, ceil_mode=ceil_mode)`, by the kernel where it applies."""
    if _applies(images, ceil_mode):
        pooled: Tensor = _MaxPool2x2.apply(images)
        return pooled
    return F.max_pool2d(images, 2, ceil_mode=ceil_mode)


def _applies(images: Tensor, ceil_mode: bool) -> bool:
    return (
        not torch.compiler.is_compiling()
        and torch.is_grad_enabled()
        and are_plain(images)
        and images.requires_grad
        and images.dtype in _BITS
        and images.ndim == 4
        and images.shape[0] > 0
        and images.shape[1] >= _LEAST_CHANNELS
        and min(images.shape[2:]) >= 2
        and not (ceil_mode and (images.shape[2] % 2 or images.shape[3] % 2))
        and images.is_contiguous(memory_format=torch.channels_last)
        and _kernel() is not None
    )


class _MaxPool2x2(torch.autograd.Function):
    """Keeps a byte for each window where torch keeps the images and eight."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        kernel = _kernel()
        assert kernel is not None
        pooled, which = _pooled(kernel, images)
        ctx.save_for_backward(which)
        ctx.pixels = images.shape[2:]
        return pooled

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        kernel = _kernel()
        if kernel is None or torch.is_grad_enabled() or not are_plain(grads, which):
            return _spread(grads, which, *ctx.pixels)
        return _gradient(kernel, grads, which, *ctx.pixels)


def _pooled(kernel: ctypes.CDLL, images: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = images.shape[2:]
    size = (*images.shape[:2], rows // 2, columns // 2)
    pooled = torch.empty(size, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
    which = torch.empty_like(pooled, dtype=torch.uint8)
    _run(kernel, "max_pool", (images, pooled, which), images)
    return pooled, which


def _gradient(kernel: ctypes.CDLL, grads: Tensor, which: Tensor, rows: int, columns: int) -> Tensor:
    size = (*grads.shape[:2], rows, columns)
    images = torch.empty(size, dtype=grads.dtype, device=grads.device, memory_format=torch.channels_last)
    grads, which = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (grads, which))
    _run(kernel, "max_pool_gradient", (grads, which, images), images)
    return images


def _run(kernel: ctypes.CDLL, name: str, tensors: tuple[Tensor, ...], images: Tensor) -> None:
    B, C, H, W = images.shape  # noqa: N806
    # as many threads as torch's kernels have: to change their number from one to the next costs more than pooling
    function = getattr(kernel, f"{name}{_BITS[images.dtype]}")
    function(*(tensor.data_ptr() for tensor in tensors), B, H, W, C, torch.get_num_threads())


def _spread(grads: Tensor, which: Tensor, rows: int, columns: int) -> Tensor:
    """The gradient by torch's operations, which can be differentiated again."""
    B, C, H, W = grads.shape  # noqa: N806
    windows = torch.stack([torch.where(which == place, grads, 0) for place in range(4)], -1).view(B, C, H, W, 2, 2)
    images = windows.transpose(3, 4).reshape(B, C, 2 * H, 2 * W)
    return F.pad(images, (0, columns - 2 * W, 0, rows - 2 * H))


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    """The library, if it is there and computes what torch does."""
    library = compiled("max_pool")
    if library is None:
        return None
    for name in ("max_pool", "max_pool_gradient"):
        for bits in _BITS.values():
            function = getattr(library, f"{name}{bits}")
            function.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 4, ctypes.c_int]
            function.restype = None
    return library if all(_is_right(library, dtype) for dtype in _BITS) else None


@torch.no_grad()
def _is_right(kernel: ctypes.CDLL, dtype: torch.dtype) -> bool:
    images = (torch.arange(3 * 17 * 7 * 5, device="cpu") * 7919 % 31 - 15).to(dtype).view(3, 17, 7, 5)  # with ties
    images = images.contiguous(memory_format=torch.channels_last)
    expected, places = torch.ops.aten.max_pool2d_with_indices(images, 2, 2)
    pooled, which = _pooled(kernel, images)
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    gradient = backward(expected, images, [2, 2], [2, 2], [0, 0], [1, 1], False, places)
    return torch.equal(pooled, expected) and torch.equal(_gradient(kernel, pooled, which, 7, 5), gradient)
