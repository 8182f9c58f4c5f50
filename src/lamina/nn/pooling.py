"""Poolings that torch.nn has no module for, and max pooling that trains faster."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch._jit_internal import is_scripting

from lamina.nn.max_pool import max_pool_2x2
from lamina.nn.padding import Pair, same_padding


class MaxPool2d(nn.MaxPool2d):
    """torch's MaxPool2d, the same to the bit; training on processors pools windows of 2x2 several times as fast (see max_pool.py)."""

    def forward(self, input: Tensor) -> Tensor:
        if is_scripting():  # torch.jit.script reads no further
            size, stride, padding, dilation = self.kernel_size, self.stride, self.padding, self.dilation
            pooled: Tensor = F.max_pool2d(input, size, stride, padding, dilation, self.ceil_mode)
            return pooled
        if self._is_2x2():
            return max_pool_2x2(input, ceil_mode=self.ceil_mode)
        result: Tensor = super().forward(input)
        return result

    def _is_2x2(self) -> bool:
        windows = (self.kernel_size, self.stride, self.padding, self.dilation)
        plain = zip(windows, (2, 2, 0, 1), strict=True)
        return not self.return_indices and all(value in (one, (one, one)) for value, one in plain)


class GlobalAvgPool2d(nn.Module):
    """The mean over all pixels: B C, or B C 1 1 with `keepdims`."""

    def __init__(self, keepdims: bool = False) -> None:
        super().__init__()
        self.keepdims = keepdims

    def forward(self, images: Float[Tensor, "B C H W"]) -> Tensor:
        return images.mean(dim=(2, 3), keepdim=self.keepdims)

    def extra_repr(self) -> str:
        return f"keepdims={self.keepdims}"


class GlobalMaxPool2d(nn.Module):
    """The maximum over all pixels: B C, or B C 1 1 with `keepdims`."""

    def __init__(self, keepdims: bool = False) -> None:
        super().__init__()
        self.keepdims = keepdims

    def forward(self, images: Float[Tensor, "B C H W"]) -> Tensor:
        return images.amax(dim=(2, 3), keepdim=self.keepdims)

    def extra_repr(self) -> str:
        return f"keepdims={self.keepdims}"


class SameAvgPool2d(nn.Module):
    """Means over windows with Keras's "same" padding, whose pixels are not counted: B C ceil(H/stride) ceil(W/stride)."""

    def __init__(self, kernel_size: Pair, *, stride: Pair) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        top, bottom = same_padding(images.shape[2], self.kernel_size[0], stride=self.stride[0])
        left, right = same_padding(images.shape[3], self.kernel_size[1], stride=self.stride[1])
        pads = (left, right, top, bottom)
        # both means divide by the full window; their ratio divides by the pixels that are really there
        means = F.avg_pool2d(F.pad(images, pads), self.kernel_size, self.stride)
        inside = F.pad(images.new_ones((1, 1, *images.shape[2:])), pads)
        return means / F.avg_pool2d(inside, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"
