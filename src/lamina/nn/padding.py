"""Padding "same" as TensorFlow and Keras define it: it depends on the size of the image where there is a stride."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Pair = tuple[int, int]


def same_padding(size: int, kernel_size: int, *, stride: int, dilation: int = 1) -> Pair:
    """Pixels before and after an axis of `size`, so that ceil(size / stride) windows fit; the odd one goes after.

    tensorflow.org/api_docs/python/tf/nn, "Notes on padding".
    """
    windows = (size + stride - 1) // stride
    total = max((windows - 1) * stride + dilation * (kernel_size - 1) + 1 - size, 0)
    return total // 2, total - total // 2


class SamePad2d(nn.Module):
    """Pads B C H W with `value`, so that a window of `kernel_size` with `stride` gives ceil(size / stride) pixels."""

    def __init__(self, kernel_size: Pair, *, stride: Pair, dilation: Pair = (1, 1), value: float = 0.0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation, self.value = kernel_size, stride, dilation, value

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        top, bottom = self.sides(images.shape[2], 0)
        left, right = self.sides(images.shape[3], 1)
        return F.pad(images, (left, right, top, bottom), value=self.value)

    def sides(self, size: int, axis: int) -> Pair:
        """Pixels before and after the rows (axis 0) or columns (axis 1) of an image of that size."""
        return same_padding(size, self.kernel_size[axis], stride=self.stride[axis], dilation=self.dilation[axis])

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, dilation={self.dilation}"
        return f"{text}, value={self.value}" if self.value else text


def pad_to_multiple(images: Float[Tensor, "B C H W"], multiple: int) -> Float[Tensor, "B C H2 W2"]:
    """Zeros below and to the right, so that height and width are multiples of `multiple`: of 0 pixels up to one less."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))
