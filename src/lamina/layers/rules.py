"""The shapes that torch's commonest modules and functions return, without asking torch's meta kernels.

Those of convolution, pooling, linear, batch norm and even addition import sympy and torch._dynamo at their first call,
which takes a process seconds. Whatever does not fit raises UnusualError: then torch is asked, and says what is wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lamina import nn as lamina_nn


class UnusualError(Exception):
    """No rule covers this."""


def convolution(module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """torch.nn.Conv2d, "Shape", and torch.nn.ConvTranspose2d, "Shape"."""
    if x.ndim != 4 or isinstance(module.padding, str):
        raise UnusualError
    if x.shape[1] != module.in_channels:  # torch's meta kernel says less
        raise ValueError(f"expected {module.in_channels} channels, but got {x.shape[1]}")
    sizes = []
    for axis in (0, 1):
        stride, span = module.stride[axis], module.dilation[axis] * (module.kernel_size[axis] - 1) + 1
        padded = x.shape[2 + axis] + 2 * int(module.padding[axis])
        if isinstance(module, nn.ConvTranspose2d):
            inside = (x.shape[2 + axis] - 1) * stride - 2 * int(module.padding[axis]) + span
            sizes.append(inside + int(module.output_padding[axis]))
        else:
            sizes.append((padded - span) // stride + 1)
    return _image(x, module.out_channels, sizes)


def pooling(module: nn.MaxPool2d | nn.AvgPool2d, x: Tensor) -> Tensor:
    """torch.nn.MaxPool2d, "Shape"; with ceil_mode no window begins beyond the image and the padding before it."""
    if x.ndim != 4 or getattr(module, "return_indices", False):
        raise UnusualError
    sizes = []
    for axis in (0, 1):
        kernel, stride, padding = (_at(value, axis) for value in (module.kernel_size, module.stride, module.padding))
        size, dilation = x.shape[2 + axis], _at(getattr(module, "dilation", 1), axis)
        room = size + 2 * padding - dilation * (kernel - 1) - 1
        count = (-(-room // stride) if module.ceil_mode else room // stride) + 1
        if module.ceil_mode and (count - 1) * stride >= size + padding:
            count -= 1
        if room < 0 or 2 * padding > kernel:
            raise UnusualError
        sizes.append(count)
    return _image(x, x.shape[1], sizes)


def batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The shape stays; axis 1 must have the module's features."""
    if x.ndim not in ((4,) if isinstance(module, nn.BatchNorm2d) else (2, 3)) or x.shape[1] != module.num_features:
        raise UnusualError
    return unchanged(module, x)


def linear(module: nn.Linear, x: Tensor) -> Tensor:
    """The last axis becomes the module's outputs."""
    if x.ndim < 2 or x.shape[-1] != module.in_features or not x.is_floating_point():
        raise UnusualError
    return x.new_empty((*x.shape[:-1], module.out_features))


def unchanged(_: nn.Module, x: Tensor) -> Tensor:
    """The shape stays."""
    if not x.is_floating_point():
        raise UnusualError
    return x.new_empty(x.shape)


def softmax(module: nn.Softmax | nn.LogSoftmax, x: Tensor) -> Tensor:
    """The shape stays; the axis must be there."""
    if module.dim is None or not -x.ndim <= module.dim < x.ndim:
        raise UnusualError
    return unchanged(module, x)


def global_pooling(module: lamina_nn.GlobalAvgPool2d | lamina_nn.GlobalMaxPool2d, x: Tensor) -> Tensor:
    """Rows and columns go, or stay with size 1."""
    if x.ndim != 4 or not x.is_floating_point():
        raise UnusualError
    return x.new_empty((*x.shape[:2], 1, 1) if module.keepdims else x.shape[:2])


def padding(module: nn.ZeroPad2d, x: Tensor) -> Tensor:
    """Rows and columns grow by the padding, or shrink by a negative one."""
    if x.ndim != 4:
        raise UnusualError
    left, right, top, bottom = module.padding
    return _image(x, x.shape[1], [x.shape[2] + top + bottom, x.shape[3] + left + right])


def same_padding(module: lamina_nn.SamePad2d, x: Tensor) -> Tensor:
    """Rows and columns grow by the padding that their size needs."""
    if x.ndim != 4:
        raise UnusualError
    return _image(x, x.shape[1], [x.shape[2 + axis] + sum(module.sides(x.shape[2 + axis], axis)) for axis in (0, 1)])


def entrywise(left: Any, right: Any) -> Tensor:
    """Two tensors, or a tensor and a number: sizes of 1 are stretched."""
    tensors = [value for value in (left, right) if isinstance(value, Tensor)]
    if not all(tensor.is_floating_point() for tensor in tensors):
        raise UnusualError
    rank = max(tensor.ndim for tensor in tensors)
    columns = zip(*((1,) * (rank - tensor.ndim) + tuple(tensor.shape) for tensor in tensors), strict=True)
    sizes = [{size for size in column if size != 1} or {1} for column in columns]
    if any(len(choice) > 1 for choice in sizes):
        raise UnusualError
    dtype = torch.result_type(tensors[0], tensors[-1])
    return tensors[0].new_empty([choice.pop() for choice in sizes], dtype=dtype)


def concatenation(tensors: list[Tensor], dim: int) -> Tensor:
    """Equal in all axes but `dim`, where sizes add up."""
    others = {(*tensor.shape[:dim], *tensor.shape[dim + 1 :]) for tensor in tensors}
    if len(others) > 1 or len({tensor.dtype for tensor in tensors}) > 1:
        raise UnusualError
    sizes = list(tensors[0].shape)
    sizes[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(sizes)


MODULES: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    **dict.fromkeys((nn.Conv2d, lamina_nn.Conv2d, nn.ConvTranspose2d), convolution),
    **dict.fromkeys((nn.MaxPool2d, lamina_nn.MaxPool2d, nn.AvgPool2d), pooling),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, lamina_nn.BiasedBatchNorm1d), batch_norm),
    lamina_nn.BiasedBatchNorm2d: batch_norm,
    nn.Linear: linear,
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax), softmax),
    **dict.fromkeys((lamina_nn.GlobalAvgPool2d, lamina_nn.GlobalMaxPool2d), global_pooling),
    nn.ZeroPad2d: padding,
    lamina_nn.SamePad2d: same_padding,
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU), unchanged),
    **dict.fromkeys((nn.LeakyReLU, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Softsign), unchanged),
    **dict.fromkeys((nn.Dropout, nn.Dropout2d, nn.LocalResponseNorm), unchanged),
    **dict.fromkeys((lamina_nn.GaussianNoise, lamina_nn.Exponential), unchanged),
}
FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys((operator.add, operator.sub, operator.mul, operator.truediv, torch.maximum), entrywise),
    torch.cat: concatenation,
}


def _image(x: Tensor, channels: int, sizes: list[int]) -> Tensor:
    if min(sizes) < 1:
        raise UnusualError
    return x.new_empty((x.shape[0], channels, *sizes))


def _at(value: Any, axis: int) -> int:
    return int(value[axis] if isinstance(value, (tuple, list)) else value)
