"""3x3 convolutions in bfloat16 on processors, the gradient of whose weight is a kernel of our own: 1.1 to 1.6 times as fast as oneDNN's.

Sums are in float32, where oneDNN rounds the gradient to bfloat16 at the end. Wherever the kernel does not apply, torch's own serves.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.nn.native import are_plain, compiled, is_in_bfloat16

_LANES = 16  # channels of a vector
# Pairs of a thread, of four bytes each: well within the cache of a core, which has a MiB in all processors with AVX512-BF16.
_CACHE_PAIRS = 150_000
# Sums of all threads: beyond, as wide layers on many cores have them, their memory outweighs what is gained.
_MOST_SUMS = 1 << 24
# With fewer pixels of a thread to each sum (512 x 512 channels of 16 maps of 4 x 4) writing the sums takes longer than is gained.
_LEAST_PIXELS = 1 / 64
_PADDINGS = tuple((padding, padding) for padding in range(3))  # with more, windows of 3x3 would see nothing but zeros


def is_in_question(conv: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a kernel of ours may be called at all: in training, in bfloat16, on a processor, for 3x3 windows side by side."""
    return (
        conv.kernel_size == (3, 3)
        and isinstance(images, Tensor)  # and no stand-in of torch.fx
        and weight.requires_grad
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and is_in_bfloat16(images, weight)
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding in _PADDINGS
        and conv.padding_mode == "zeros"
        and not conv.out_channels % _LANES
        and weight.shape == (conv.out_channels, conv.in_channels, 3, 3)  # as the layer was made, not pruned since
        and (bias is None or bias.shape == weight.shape[:1])
        and are_plain(images, weight, bias)
        and images.ndim == 4
        and len(images) > 0
        and images.shape[1] == conv.in_channels
        and min(images.shape[2:]) + 2 * int(conv.padding[0]) >= 3
        and images.is_contiguous(memory_format=torch.channels_last)
    )


def applies(conv: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the kernel computes the gradient of what the layer makes of the images."""
    return (
        not conv.in_channels % _LANES
        and is_in_question(conv, images, weight, bias)
        and _pays(images, weight)
        and _kernel() is not None
    )


def is_padded_at_a_price(conv: nn.Conv2d, images: Tensor, weight: Tensor) -> bool:
    """Whether the gradient of a 3x3 kernel that pads by 2 itself is asked of oneDNN in bfloat16, whom it takes three times as long."""
    return (
        conv.kernel_size == (3, 3)
        and conv.padding == (2, 2)
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and isinstance(images, Tensor)
        and images.device.type == "cpu"
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and is_in_bfloat16(images, weight)
    )


def _pays(images: Tensor, weight: Tensor) -> bool:
    threads, sums = torch.get_num_threads(), weight.numel()
    pixels = images.numel() // images.shape[1] // threads
    return threads <= len(images) and threads * sums <= _MOST_SUMS and pixels >= _LEAST_PIXELS * sums


def convolved(
    images: Float[Tensor, "B I H W"], weight: Float[Tensor, "O I 3 3"], bias: Float[Tensor, " O"] | None, padding: int
) -> Float[Tensor, "B O H2 W2"]:
    """The convolution in bfloat16. `weight` and `bias` may be float32, and so are their gradients then."""
    return _Convolved.apply(images.to(torch.bfloat16), weight, bias, padding)  # type: ignore[no-any-return]


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        cast = weight.to(torch.bfloat16)
        ctx.save_for_backward(images, cast)
        # not saved: as after a cast of autocast, the weight may change before the backward pass
        ctx.weight, ctx.padding = weight, padding
        return F.conv2d(images, cast, None if bias is None else bias.to(torch.bfloat16), padding=padding)

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        images, cast = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        kernel = _kernel()
        if kernel is None or torch.is_grad_enabled() or not (are_plain(grads, images) and images.dtype == cast.dtype):
            return *by_torch(grads, images, connected(cast, ctx.weight), ctx.padding, wanted), None
        grads, images = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (grads, images))
        of_weight, of_bias = _by_kernel(kernel, grads, images, ctx.padding)
        # last, for what comes before this layer reads it while it is in the cache
        of_images = by_torch(grads, images, cast, ctx.padding, [True, False, False])[0] if wanted[0] else None
        return of_images, of_weight, of_bias if wanted[2] else None, None


def connected(cast: Tensor, weight: Tensor) -> Tensor:
    """The values that were cast in the forward pass, through which gradients reach the weight once more."""
    again = weight.to(cast.dtype)
    return cast + (again - again.detach())


def by_torch(grads: Tensor, images: Tensor, weight: Tensor, padding: int, wanted: list[bool]) -> Any:
    """The gradients of images, weight and bias, where wanted."""
    geometry: Any = ([len(weight)], (1, 1), (padding, padding), (1, 1), False, (0, 0), 1)
    return torch.ops.aten.convolution_backward(grads, images, weight, *geometry, wanted)


def _by_kernel(kernel: ctypes.CDLL, grads: Tensor, images: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias, in float32."""
    B, C, H, W = images.shape  # noqa: N806
    D, threads = grads.shape[1], torch.get_num_threads()  # noqa: N806
    weight = torch.empty((D, C, 3, 3), memory_format=torch.channels_last, device=images.device, dtype=torch.float32)
    bias = torch.empty(D, device=images.device, dtype=torch.float32)
    sums = torch.empty(threads * (weight.numel() + D), device=images.device, dtype=torch.float32)
    sizes = (B, H, W, C, D, padding, _CACHE_PAIRS)
    packed = torch.empty(threads * kernel.pairs_of_a_thread(*sizes) + 16, device=images.device, dtype=torch.int32)
    tensors = (images, grads, weight, bias, sums, packed)
    kernel.weight_gradient(*(tensor.data_ptr() for tensor in tensors), *sizes, threads)
    return weight, bias


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    """The library, if it is there and computes what torch does."""
    library = compiled("weight_gradient")
    if library is None:
        return None
    library.pairs_of_a_thread.argtypes = [ctypes.c_int64] * 7
    library.pairs_of_a_thread.restype = ctypes.c_int64
    library.weight_gradient.argtypes = [*[ctypes.c_void_p] * 6, *[ctypes.c_int64] * 7, ctypes.c_int]
    library.weight_gradient.restype = None
    return library if _is_right(library) else None


@torch.no_grad()
def _is_right(kernel: ctypes.CDLL) -> bool:
    """Whether whole numbers, which both formats keep, come out to the bit."""
    count = torch.get_num_threads() + 1
    images = (torch.arange(count * 32 * 7 * 5, device="cpu") * 7919 % 7 - 3.0).view(count, 32, 7, 5).float()
    grads = (torch.arange(count * 16 * 7 * 5, device="cpu") * 104729 % 5 - 2.0).view(count, 16, 7, 5).float()
    weight = torch.zeros(16, 32, 3, 3, dtype=torch.float32, device="cpu")
    expected = torch.ops.aten.convolution_backward(
        grads, images, weight, [16], (1, 1), (1, 1), (1, 1), False, (0, 0), 1, [False, True, True]
    )[1:]
    grads, images = (tensor.bfloat16().contiguous(memory_format=torch.channels_last) for tensor in (grads, images))
    found = _by_kernel(kernel, grads, images, 1)
    return all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
