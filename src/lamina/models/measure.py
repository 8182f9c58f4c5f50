"""Multiply-adds, memory and receptive fields of whatever runs: counted on torch's own operations, so any module can be measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
_CONVOLUTIONS = {aten.convolution, aten._convolution, aten.cudnn_convolution}
_BATCH_NORMS = {aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten._batch_norm_no_update}
_POOLS = {aten.max_pool2d_with_indices, aten.max_pool2d, aten.avg_pool2d}
_UPSAMPLES = {
    aten.upsample_nearest2d: 0,
    aten._upsample_nearest_exact2d: 0,
    aten.upsample_bilinear2d: 1,
    aten.upsample_bicubic2d: 3,
}
_FLOAT_BYTES = 4
_LAYERS = {aten.convolution, aten.addmm, aten.mm, aten.linear}  # a batched product of activations is none
_MIXERS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.native_layer_norm}  # see every entry there is


@dataclass(frozen=True)
class Field:
    """How many pixels of the input, rows and columns, one entry depends on, and how far apart neighbours' pixels are.

    None in `size` is the whole image (Araujo 2019, "Computing receptive fields of convolutional neural networks", eq. 2).
    """

    size: tuple[float | None, float | None] = (1.0, 1.0)
    jump: tuple[float, float] = (1.0, 1.0)

    @property
    def pixels(self) -> tuple[int | None, int | None]:
        """The size in whole pixels."""
        rows, columns = (None if size is None else round(size) for size in self.size)
        return rows, columns

    def after(self, kernel: tuple[float, float], stride: tuple[float, float]) -> Field:
        """The field after windows of `kernel` (dilated) pixels with `stride`; a stride below 1 enlarges the image."""
        sizes = [
            None if size is None else size + (k - 1) * jump
            for size, k, jump in zip(self.size, kernel, self.jump, strict=True)
        ]
        jumps = [jump * s for jump, s in zip(self.jump, stride, strict=True)]
        return Field((sizes[0], sizes[1]), (jumps[0], jumps[1]))


WHOLE = Field((None, None))


class Measure(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, `multiply_adds`, `activation_bytes` and `depth` grow with every operation, and tensors that come from a marked image
    carry a Field.

    The bytes are those of results in float32; a result that lies in the memory of another (a view, a layer that works in place)
    has none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.multiply_adds = 0
        self.activation_bytes = 0
        self.depth = 0  # layers with weights on the longest way
        self._storages: dict[int, torch.UntypedStorage] = {}  # held, so that no address comes twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        result = _without_kernel(packet, args)
        if result is None:
            result = func(*args, **kwargs)
        if packet in flop_registry:
            self.multiply_adds += int(flop_registry[packet](*args, **kwargs, out_val=result)) // 2
        depth = max((getattr(tensor, "_lamina_depth", 0) for tensor in _tensors(args)), default=0) + (packet in _LAYERS)
        self.depth = max(self.depth, depth)
        for tensor in _tensors(result):
            tensor._lamina_depth = depth  # type: ignore[attr-defined]
        self._remember(args)
        self.activation_bytes += self._remember(result)
        fields = [found for found in map(field_of, _tensors(args)) if found is not None]
        if fields:
            out = _field(packet, args, result, fields)
            for tensor in _tensors(result):
                tensor._lamina_field = out  # type: ignore[attr-defined]
        return result

    def _remember(self, values: Any) -> int:
        """Bytes of the tensors among the values that lie in memory not seen before."""
        fresh = 0
        for tensor in _tensors(values):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._storages:
                self._storages[storage._cdata] = storage
                fresh += tensor.numel() * _FLOAT_BYTES * tensor.is_floating_point()
        return fresh


def training_bytes(net: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Bytes that autograd holds from the forward pass to the backward pass, for one sample of a batch of `inputs`, in float32.

    Tensors that it saves for gradients, each memory once, without parameters and buffers: what training needs beside weights,
    gradients and the optimizer's state. `net` is in training mode; on the meta device nothing is computed.
    """
    own = {value.untyped_storage()._cdata for value in (*net.parameters(), *net.buffers())}
    held: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.enable_grad(), hooks, Measure():
        outputs = net(*inputs)
    total = sum(storage.nbytes() for storage in held.values())
    del outputs  # whose graph held them
    return total // len(inputs[0])


def mark(image: Tensor) -> Tensor:
    """Marks a tensor as the image whose pixels receptive fields are counted in."""
    image._lamina_field = Field()  # type: ignore[attr-defined]
    return image


def field_of(tensor: Tensor) -> Field | None:
    """The receptive field of a tensor that a Measure saw, None if it depends on no marked image."""
    return getattr(tensor, "_lamina_field", None)


def _without_kernel(packet: Any, args: Any) -> Any:
    """What convolution, batch norm and linear return on meta tensors: torch's own meta kernels of these import sympy and
    torch._dynamo at their first call, which takes seconds."""
    image = next(_tensors(args), None)
    if image is None or not image.is_meta:
        return None
    if packet is aten.addmm:
        _, left, right = args[:3]
        return left.new_empty((left.shape[0], right.shape[1])) if left.shape[1] == right.shape[0] else None
    if packet in _BATCH_NORMS:
        return image.new_empty(image.shape), image.new_empty(0), image.new_empty(0)
    if packet is not aten.convolution or image.ndim != 4:
        return None
    _, weight, _, *options, transposed, extra, groups = args[:9]
    stride, padding, dilation, extra = map(_pair, (*options, extra))
    sizes = []
    for axis in (0, 1):
        span = dilation[axis] * (weight.shape[2 + axis] - 1) + 1 - 2 * padding[axis]
        if transposed:
            sizes.append((image.shape[2 + axis] - 1) * stride[axis] + span + extra[axis])
        else:
            sizes.append((image.shape[2 + axis] - span) // stride[axis] + 1)
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    fits = image.shape[1] == (weight.shape[0] if transposed else weight.shape[1] * groups) and min(sizes) > 0
    return image.new_empty((image.shape[0], channels, *sizes)) if fits else None


def _field(packet: Any, args: Any, result: Any, fields: list[Field]) -> Field:
    field = _joined(fields)
    if packet in _CONVOLUTIONS:
        weight, stride, dilation = args[1], _pair(args[3]), _pair(args[5])
        kernel = [(int(size) - 1) * rate + 1 for size, rate in zip(weight.shape[2:], dilation, strict=False)]
        if len(kernel) != 2:
            return field
        if args[6]:  # transposed: an output pixel sees every stride-th tap of the kernel
            taps = [-(-size // step) for size, step in zip(kernel, stride, strict=True)]
            return field.after((taps[0], taps[1]), (1 / stride[0], 1 / stride[1]))
        return field.after((kernel[0], kernel[1]), (stride[0], stride[1]))
    if packet in _POOLS:
        kernel_size = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel_size
        return field.after(kernel_size, stride)
    if packet in _UPSAMPLES:
        before, after = args[0].shape[2:], result.shape[2:]
        window = 1.0 + _UPSAMPLES[packet]
        return field.after((window, window), (before[0] / after[0], before[1] / after[1]))
    first = next(_tensors(args))
    shrinks = isinstance(result, Tensor) and first.ndim == 4 and result.numel() < first.numel()
    if packet in _MIXERS or (shrinks and _reduces_pixels(first, result)):
        return WHOLE
    return field


def _reduces_pixels(first: Tensor, result: Tensor) -> bool:
    """Whether rows and columns of an image were summed up (a slice, or a crop, keeps more than one pixel)."""
    pixels = first.shape[2] * first.shape[3]
    return pixels > 1 and (result.ndim < 4 or result.shape[2] * result.shape[3] == 1)


def _joined(fields: list[Field]) -> Field:
    """Of several tensors the widest counts."""
    if any(None in field.size for field in fields):
        return WHOLE
    rows, columns = (max(float(field.size[axis] or 0) for field in fields) for axis in (0, 1))
    return Field((rows, columns), (max(f.jump[0] for f in fields), max(f.jump[1] for f in fields)))


def _pair(value: Any) -> tuple[int, int]:
    entries = [int(entry) for entry in value] if isinstance(value, (list, tuple)) else [int(value)]
    return (entries[0], entries[-1])


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
