"""Convolutions that pad as TensorFlow does, with the keys of nn.Conv2d."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.nn.padding import same_padding

Padding = Literal["torch", "same"]


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
        return F.conv2d(input, self.weight, self.bias, self.stride, pads, self.dilation, self.groups)

    def _sides(self, images: Tensor, axis: int) -> tuple[int, int]:
        return same_padding(
            images.shape[2 + axis], self.kernel_size[axis], stride=self.stride[axis], dilation=self.dilation[axis]
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, padding=same"  # type: ignore[no-untyped-call]


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
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
    )
