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

from lamina.nn.native import are_plain, compiled
from lamina.nn.weight_gradient import is_in_question

_MOST_CHANNELS = 3
_ROOM = 24  # floats, as in the C file


def applies(conv: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the kernels compute the ReLU of what the layer makes of the images."""
    return (
        conv.in_channels <= _MOST_CHANNELS
        and not images.requires_grad
        and is_in_question(conv, images, weight, bias)
        and _kernel() is not None
    )


def convolved(
    images: Float[Tensor, "B I H W"], weight: Float[Tensor, "O I 3 3"], bias: Float[Tensor, " O"] | None, padding: int
) -> Float[Tensor, "B O H2 W2"]:
    """The ReLU of the convolution in bfloat16. `weight` and `bias` may be float32, and so are their gradients then."""
    return _Convolved.apply(images.to(torch.bfloat16), weight, bias, padding)  # type: ignore[no-any-return]


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        kernel = _kernel()
        assert kernel is not None
        answer = _forward(kernel, images, weight, bias, padding)
        ctx.save_for_backward(images, weight, answer)
        ctx.padding = padding
        return answer

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[None, Tensor | None, Tensor | None, None]:
        images, weight, answer = ctx.saved_tensors
        wanted = [False, *ctx.needs_input_grad[1:3]]
        kernel = _kernel()
        if kernel is None or torch.is_grad_enabled() or not are_plain(grads):  # torch's can be differentiated again
            passed = torch.ops.aten.threshold_backward(grads, answer, 0)
            sides = (ctx.padding, ctx.padding)
            geometry: Any = ([len(weight)], (1, 1), sides, (1, 1), False, (0, 0), 1)
            found = torch.ops.aten.convolution_backward(passed, images, weight.to(torch.bfloat16), *geometry, wanted)
            return None, found[1], found[2], None
        of_weight, of_bias = _backward(kernel, images, answer, grads, ctx.padding)
        return None, of_weight, of_bias if wanted[2] else None, None


def _forward(kernel: ctypes.CDLL, images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    B, C, H, W = images.shape  # noqa: N806
    size = (B, len(weight), H + 2 * padding - 2, W + 2 * padding - 2)
    answer = torch.empty(size, dtype=torch.bfloat16, device=images.device, memory_format=torch.channels_last)
    # rounded as autocast rounds them
    kernels = weight.to(torch.bfloat16).permute(2, 3, 1, 0).contiguous().float()
    start = kernels.new_zeros(len(weight)) if bias is None else bias.to(torch.bfloat16).float()
    tensors = (images, kernels, start, answer, _rows(images, padding))
    kernel.image_convolution(*_pointers(tensors), B, H, W, C, len(weight), padding, torch.get_num_threads())
    return answer


def _backward(
    kernel: ctypes.CDLL, images: Tensor, answer: Tensor, grads: Tensor, padding: int
) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias, in float32."""
    (B, C, H, W), D = images.shape, grads.shape[1]  # noqa: N806
    threads, each = torch.get_num_threads(), D * (9 * C + 1)
    joined = torch.empty(each, dtype=torch.float32, device=images.device)
    grads = grads.contiguous(memory_format=torch.channels_last)
    tensors = (images, answer, grads, joined, joined.new_empty(threads * each), _rows(images, padding))
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
    bias = torch.arange(16, device="cpu") - 8.0
    answer = F.conv2d(images.float(), weight.float(), bias, padding=1).relu()
    geometry: Any = ([16], (1, 1), (1, 1), (1, 1), False, (0, 0), 1, [False, True, True])
    passed = grads.float() * (answer > 0)
    expected = torch.ops.aten.convolution_backward(passed, images.float(), weight.float(), *geometry)[1:]
    ours = _forward(kernel, images, weight, bias, 1)
    found = _backward(kernel, images, ours, grads, 1)
    return torch.equal(ours, answer.bfloat16()) and all(map(torch.equal, found, expected))
