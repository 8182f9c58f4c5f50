"""3x3 convolutions of images with up to three channels and the ReLU behind them, in bfloat16 on processors, by kernels of our own.

With so few channels oneDNN's take several times as long, and most of it is writing and reading maps. Sums are in float32.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.nn.convolution import Conv2d
from lamina.nn.native import are_plain, compiled
from lamina.nn.weight_gradient import by_torch, connected, is_in_question

_MOST_CHANNELS = 3
_ROOM = 24  # floats, as in the C file
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def conv_relu(conv: nn.Conv2d, images: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O H2 W2"]:
    """`F.relu(conv(images))`, by the kernels where they apply: in training, for 3x3 layers without hooks. The images get no gradient."""
    if not _applies(conv, images):
        return F.relu(conv(images))
    padding: Any = conv.padding[0]
    return _Convolved.apply(images.to(torch.bfloat16), conv.weight, conv.bias, padding)  # type: ignore[no-any-return]


def _applies(conv: nn.Conv2d, images: Tensor) -> bool:
    return (
        type(conv).forward in (nn.Conv2d.forward, Conv2d.forward)
        and conv.in_channels <= _MOST_CHANNELS
        and not any(getattr(conv, hooks) for hooks in _HOOKS)
        and is_in_question(conv, images, conv.weight, conv.bias)
        and not images.requires_grad
        and _kernel() is not None
    )


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        kernel = _kernel()
        assert kernel is not None
        cast = weight.to(torch.bfloat16)
        answer = _forward(kernel, images, cast, bias, padding)
        ctx.save_for_backward(images, cast, answer)
        ctx.weight, ctx.padding = weight, padding
        return answer

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        images, cast, answer = ctx.saved_tensors
        wanted = [False, *ctx.needs_input_grad[1:3]]
        kernel = _kernel()
        # hooks may have changed what was saved
        whole = are_plain(grads, images, answer) and images.dtype == answer.dtype == cast.dtype
        if kernel is None or torch.is_grad_enabled() or not whole:  # torch's can be differentiated again
            passed = torch.ops.aten.threshold_backward(grads, answer, 0)
            return *by_torch(passed, images, connected(cast, ctx.weight), ctx.padding, wanted), None
        of_weight, of_bias = _backward(kernel, images, answer, grads, ctx.padding)
        return None, of_weight, of_bias if wanted[2] else None, None


def _forward(kernel: ctypes.CDLL, images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    B, C, H, W = images.shape  # noqa: N806
    size = (B, len(weight), H + 2 * padding - 2, W + 2 * padding - 2)
    answer = torch.empty(size, dtype=torch.bfloat16, device=images.device, memory_format=torch.channels_last)
    kernels = weight.permute(2, 3, 1, 0).contiguous().float()
    start = kernels.new_zeros(len(weight)) if bias is None else bias.to(torch.bfloat16).float()
    tensors = (images, kernels, start, answer, _rows(images, padding))
    kernel.image_convolution(*_pointers(tensors), B, H, W, C, len(weight), padding, torch.get_num_threads())
    return answer


def _backward(
    kernel: ctypes.CDLL, images: Tensor, answer: Tensor, grads: Tensor, padding: int
) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias, in float32."""
    (B, C, H, W), D = images.shape, grads.shape[1]  # noqa: N806
    threads, sums = torch.get_num_threads(), D * (9 * C + 1)
    joined = torch.empty(sums, dtype=torch.float32, device=images.device)
    images, answer, grads = (each.contiguous(memory_format=torch.channels_last) for each in (images, answer, grads))
    tensors = (images, answer, grads, joined, joined.new_empty(threads * sums), _rows(images, padding))
    kernel.image_convolution_gradient(*_pointers(tensors), B, H, W, C, D, padding, threads)
    return joined[:-D].view(3, 3, C, D).permute(3, 2, 0, 1), joined[-D:]


def _rows(images: Tensor, padding: int) -> Tensor:
    """Room for each thread's three rows of floats, and the few beyond that are read in vain."""
    C, _, W = images.shape[1:]  # noqa: N806
    each = 3 * (W + 2 * padding) * C + _ROOM
    return torch.empty(torch.get_num_threads() * each, dtype=torch.float32, device=images.device)


def _pointers(tensors: tuple[Tensor, ...]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    """The library, if it is there and computes what torch does."""
    library = compiled("image_convolution")
    if library is None:
        return None
    for name, tensors in (("image_convolution", 5), ("image_convolution_gradient", 6)):
        function = getattr(library, name)
        function.argtypes = [*[ctypes.c_void_p] * tensors, *[ctypes.c_int64] * 6, ctypes.c_int]
        function.restype = None
    return library if _is_right(library) else None


@torch.no_grad()
def _is_right(kernel: ctypes.CDLL) -> bool:
    """Whether whole numbers, which both formats keep, come out to the bit."""

    def made(*size: int) -> Tensor:
        numbers = torch.arange(torch.Size(size).numel(), device="cpu") * 7919 % 7 - 3
        return numbers.view(size).bfloat16().contiguous(memory_format=torch.channels_last)

    images, weight, grads = made(3, 3, 7, 6), made(16, 3, 3, 3), made(3, 16, 7, 6)
    bias = torch.arange(16, dtype=torch.float32, device="cpu") - 8
    answer = F.conv2d(images.float(), weight.float(), bias, padding=1).relu()
    geometry: Any = ([16], (1, 1), (1, 1), (1, 1), False, (0, 0), 1, [False, True, True])
    passed = grads.float() * (answer > 0)
    expected = torch.ops.aten.convolution_backward(passed, images.float(), weight.float(), *geometry)[1:]
    ours = _forward(kernel, images, weight, bias, 1)
    found = _backward(kernel, images, ours, grads, 1)
    return torch.equal(ours, answer.bfloat16()) and all(map(torch.equal, found, expected))
