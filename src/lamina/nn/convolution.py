"""Convolutions that are trained at speed on processors, and such as pad as TensorFlow does, with the keys of nn.Conv2d."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch._jit_internal import is_scripting

from lamina.core.errors import LaminaError
from lamina.nn import weight_gradient
from lamina.nn.padding import same_padding

Padding = Literal["torch", "same"]


class Conv2d(nn.Conv2d):
    """torch's Conv2d; training in bfloat16 on processors gets the gradient of 3x3 kernels faster (see weight_gradient.py)."""

    def forward(self, input: Tensor) -> Tensor:
        if is_scripting():  # torch.jit.script reads no further
            scripted: Tensor = self._conv_forward(input, self.weight, self.bias)
            return scripted
        given = (input, self.weight, self.bias)  # read once: a parametrized weight may change each time
        if weight_gradient.applies(self, *given):
            return weight_gradient.convolved(*given, self.padding[0])  # type: ignore[arg-type]
        if weight_gradient.is_padded_at_a_price(self, *given[:2]):
            return F.conv2d(F.pad(input, (1, 1, 1, 1)), *given[1:], padding=1)
        answer: Tensor = self._conv_forward(*given)
        return answer


class SameConv2d(nn.Conv2d):
    """nn.Conv2d (same keys) with padding "same" at any stride: ceil(H / stride) rows come out, the odd zero goes after.

    torch's own padding="same" refuses strides, and its padding=1 shifts the windows of a stride of 2 by a pixel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation=dilation, groups=groups, bias=bias)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H2 W2"]:
        (top, bottom), (left, right) = self._sides(input, 0), self._sides(input, 1)
        pads = (top, left)
        if top != bottom or left != right:  # the kernels of torch pad evenly, and only then without a copy
            input, pads = F.pad(input, (left, right, top, bottom)), (0, 0)
        return _convolved(self, input, pads)

    def _sides(self, images: Tensor, axis: int) -> tuple[int, int]:
        return same_padding(
            images.shape[2 + axis], self.kernel_size[axis], stride=self.stride[axis], dilation=self.dilation[axis]
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, padding=same"  # type: ignore[no-untyped-call]


class StridedDepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d (same keys) with a filter for each channel, for strides above 1: on processors the gradient of its images in bfloat16
    takes oneDNN ten to a hundred times as long as in float32, in which it is computed here.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int, *, padding: int = 0) -> None:
        super().__init__(channels, channels, kernel_size, stride, padding=padding, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        return _convolved(self, input, self.padding)


def _convolved(conv: nn.Conv2d, images: Tensor, padding: Any) -> Tensor:
    """What the convolution makes of images with so many zeros around them."""
    if _is_slow(conv, images):
        return _Strided.apply(images, conv.weight.to(images.dtype), conv.stride, padding, conv.dilation)  # type: ignore[no-any-return]
    return F.conv2d(images, conv.weight, conv.bias, conv.stride, padding, conv.dilation, conv.groups)


def _is_slow(conv: nn.Conv2d, images: Tensor) -> bool:
    """Whether this is a depthwise convolution with a stride, which a processor trains in bfloat16."""
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1 and conv.bias is None and max(conv.stride) > 1
    fits = images.dtype == torch.bfloat16 and images.device.type == "cpu" and images.dim() == 4
    return depthwise and fits and torch.is_grad_enabled()


class _Strided(torch.autograd.Function):
    """A depthwise convolution in bfloat16, whose gradient of the images, and of small ones also that of the weight, is in float32."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.geometry = stride, padding, dilation
        return F.conv2d(images, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        images, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry

        def gradients(grad: Tensor, images: Tensor, weight: Tensor, wanted: list[bool]) -> Any:
            apart: Any = (None, stride, padding, dilation, False, [0, 0], len(weight))
            return torch.ops.aten.convolution_backward(grad, images, weight, *apart, wanted)

        of_images = of_weight = None
        if ctx.needs_input_grad[0]:  # which depends on the images' shape alone
            shape = torch.empty_like(images, dtype=torch.float32)
            of_images = gradients(grad.float(), shape, weight.float(), [True, False, False])[0].to(images.dtype)
        if ctx.needs_input_grad[1]:
            if min(images.shape[2:]) <= max(dilation) * max(weight.shape[2:]):
                # where a part of the kernel sees nothing but padding, oneDNN's answer in bfloat16 is memory that nobody has written
                grad, images = grad.float(), images.float()
            of_weight = gradients(grad, images, weight.to(images.dtype), [False, True, False])[1].to(weight.dtype)
        return of_images, of_weight, None, None, None


def padded_conv2d(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, groups: int = 1, padding: Padding
) -> nn.Conv2d:
    """A convolution without bias and with an odd kernel, padded evenly ("torch") or as TensorFlow does ("same").

    The two differ at a stride above 1 alone. Raises LaminaError for another padding.
    """
    if padding not in ("torch", "same"):
        raise LaminaError(
            f"padding is {padding!r}.",
            'It is "torch" (as many zeros on all four sides) or "same" (TensorFlow\'s).',
            'Pass "same" for weights that come from TensorFlow, else "torch".',
        )
    if padding == "same" and stride > 1:
        return SameConv2d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=False)
    if groups == in_channels == out_channels > 1 and stride > 1:
        return StridedDepthwiseConv2d(in_channels, kernel_size, stride, padding=kernel_size // 2)
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
    )
