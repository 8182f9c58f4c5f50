"""From what people pass to `fit`, `evaluate` and `predict` to tensors, checked before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.core.warnings import warn
from lamina.data.preprocess import Normalize
from lamina.nn import Rescaling
from lamina.structures.batch import outputs_of
from lamina.training.runtime import evaluating


@dataclass(frozen=True)
class PerSample:
    """What comes beside each sample of x: the weight of its loss (N), and by which it is drawn (N); cut as the samples are."""

    weights: Tensor | None
    odds: Tensor | None

    def __getitem__(self, rows: Any) -> PerSample:
        """Those of some samples."""
        return PerSample(*(None if each is None else each[rows] for each in (self.weights, self.odds)))


class Arrays(NamedTuple):
    """Inputs and targets of a whole data set, one tensor for each input and output, and weights of the samples.

    `odds` (N) are the weights by which samples are drawn, where they are.
    """

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...] = ()
    weights: Tensor | None = None
    odds: Tensor | None = None

    @property
    def samples(self) -> int:
        """How many samples."""
        return len(self.inputs[0])

    @property
    def shows_several(self) -> bool:
        """Whether a sample may show several classes, whatever its targets look like."""
        return False

    def slice(self, start: int, stop: int) -> Arrays:
        """The samples from `start` to before `stop`."""
        return Arrays(
            tuple(value[start:stop] for value in self.inputs),
            tuple(value[start:stop] for value in self.targets),
            None if self.weights is None else self.weights[start:stop],
            None if self.odds is None else self.odds[start:stop],
        )

    def cut(self, count: int) -> Iterator[Arrays]:
        """The samples in their order, so many at a time."""
        return (self.slice(start, start + count) for start in range(0, self.samples, count))


def collect(
    x: Any, y: Any = None, *, weights: Any = None, input_names: Sequence[str] = (), output_names: Sequence[str] = ()
) -> Arrays:
    """Tensors from arrays, lists of arrays, dicts by name, or a data set with `images` and `labels`; checked.

    Raises DataError for an empty array, NaN or infinity, and for x, y and weights of different lengths.
    """
    if y is None:
        x, y = _unpack(x)
    inputs = tuple(to_tensor(value, name) for value, name in _named(x, input_names, "x"))
    targets = () if y is None else tuple(to_tensor(value, name) for value, name in _named(y, output_names, "y"))
    given = per_sample(weights)
    arrays = Arrays(inputs, targets, given.weights, given.odds)
    others: list[tuple[str, Tensor | None]] = [("x", value) for value in inputs[1:]]
    others += [*(("y", value) for value in targets), ("sample_weight", given.weights), ("sample_by", given.odds)]
    for name, value in others:
        if value is None:
            continue
        if len(value) != arrays.samples:
            raise DataError(
                f"x has {arrays.samples:,} samples and {name} has {len(value):,}.",
                "Every array needs one entry for each sample.",
                "Check how they were cut; the first dimension counts the samples.",
            )
    return arrays


def _unpack(x: Any) -> tuple[Any, Any]:
    """(inputs, targets) of a data set that holds both, else (x, None)."""
    if hasattr(x, "images") and hasattr(x, "labels"):
        return x.images, x.labels
    if isinstance(x, str | os.PathLike) or (hasattr(x, "train") and hasattr(x, "test")):
        raise DataError(
            f"x is {x!r}." if isinstance(x, str | os.PathLike) else f"x is {type(x).__name__} of several parts.",
            "Arrays, one data set, or batches were expected.",
            "Pass data.open(path).train or data.load(name).train; lamina.Classifier takes names and folders as they are.",
        )
    if isinstance(x, torch.utils.data.TensorDataset):
        *inputs, targets = x.tensors if len(x.tensors) > 1 else (*x.tensors, None)
        return (inputs if len(inputs) > 1 else inputs[0]), targets
    if isinstance(x, torch.utils.data.Dataset):
        return _stack(x)
    return x, None


def _stack(dataset: Any) -> tuple[Tensor, Tensor | None]:
    """A map-style data set of (input, target) pairs, or of inputs alone, read into memory."""
    if not hasattr(dataset, "__len__") or len(dataset) == 0:
        raise DataError(
            f"{type(dataset).__name__} has no samples, or no length.",
            "A map-style data set with at least one (input, target) pair was expected.",
            "Pass a data set with __len__ and __getitem__, or arrays.",
        )
    pairs = [dataset[index] for index in range(len(dataset))]
    try:
        if not isinstance(pairs[0], tuple | list) or len(pairs[0]) == 1:
            alone = [pair[0] if isinstance(pair, tuple | list) else pair for pair in pairs]
            return torch.stack([to_tensor(x, "x", check=False) for x in alone]), None
        return torch.stack([to_tensor(x, "x", check=False) for x, _ in pairs]), torch.as_tensor(
            np.stack([np.asarray(y) for _, y in pairs])
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise DataError(
            f"The samples of {type(dataset).__name__} cannot be stacked ({error}).",
            "Each must be an (input, target) pair, and all inputs must have one shape.",
            "Resize the pictures to one size in the data set.",
        ) from error


def _named(value: Any, names: Sequence[str], argument: str) -> list[tuple[Any, str]]:
    """The arrays of an argument in the order of the network's inputs or outputs, each with its name for messages."""
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        if missing or len(value) != len(names):
            raise DataError(
                f"{argument} is a dict with the keys {sorted(value)}.",
                f"The network's are {list(names)}.",
                "Use exactly these names, or pass a list in this order.",
            )
        return [(value[name], f"{argument}[{name!r}]") for name in names]
    several = isinstance(value, tuple) or (isinstance(value, list) and len(names) > 1)
    if several and (len(names) != 1 or all(hasattr(entry, "shape") for entry in value)):
        if names and len(value) != len(names):
            raise DataError(
                f"{argument} holds {len(value)} arrays.",
                f"The network has {len(names)}: {', '.join(names)}.",
                "Pass one array for each, in this order.",
            )
        return [(entry, f"{argument}[{index}]") for index, entry in enumerate(value)]
    return [(value, argument)]


def to_tensor(value: Any, name: str, *, check: bool = True) -> Tensor:
    """The array as a tensor; float64 and float16 become float32, booleans uint8, wider unsigned integers signed ones.

    Checks for emptiness, NaN and infinity.
    """
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(_torchlike(np.asarray(value)))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name} of type {type(value).__name__} is no array ({error}).",
            "Numbers in a numpy array, a tensor or nested lists of equal lengths were expected.",
            "Pictures of different sizes must first be resized to one.",
        ) from error
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    tensor = tensor.to(_SIGNED.get(tensor.dtype, tensor.dtype))
    if tensor.is_floating_point():
        tensor = tensor.detach().to(torch.float32)
    if check:
        if tensor.dim() == 0 or tensor.numel() == 0:
            raise DataError(
                f"{name} is empty: its shape is {tuple(tensor.shape)}.",
                "At least one sample was expected.",
                "Check the path or the filter that it came from.",
            )
        _check_finite(tensor, name)
    return tensor


def _torchlike(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array itself, or a copy of one that torch takes with a warning (read-only) or not at all (reversed, foreign bytes)."""
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy(order="C")


# torch has next to no arithmetic on these, not even max.
_SIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def _check_finite(tensor: Tensor, name: str) -> None:
    if not tensor.is_floating_point() or bool(
        torch.isfinite(tensor.sum())
    ):  # one pass, no copy; NaN and infinity survive a sum
        return
    bad = ~torch.isfinite(tensor).reshape(len(tensor), -1).all(dim=1)
    if not bad.any():
        return
    raise DataError(
        f"{name} holds NaN or infinity in {int(bad.sum()):,} of {len(tensor):,} samples, first in sample {int(bad.nonzero()[0])}.",
        "Finite numbers were expected: one NaN makes every weight NaN.",
        "Remove these samples, or replace the values (numpy.nan_to_num).",
    )


def check_inputs(arrays: Arrays, shapes: Sequence[Sequence[int | None]], names: Sequence[str]) -> None:
    """Compares the arrays with the shapes (without batch) that the network was described with."""
    if len(arrays.inputs) != len(shapes):
        raise DataError(
            f"x holds {len(arrays.inputs)} arrays.",
            f"The network has {len(shapes)} inputs: {', '.join(names)}.",
            "Pass a list with one array for each, in this order.",
        )
    for value, shape, name in zip(arrays.inputs, shapes, names, strict=True):
        came = tuple(value.shape[1:])
        if len(came) == len(shape) and all(want in (None, have) for have, want in zip(came, shape, strict=True)):
            continue
        remedy = "Reshape x, or describe the input with this shape."
        if came[-1:] + came[:-1] == tuple(shape):
            remedy = (
                "The channels stand last: pass x.transpose(0, 3, 1, 2) of an array, x.permute(0, 3, 1, 2) of a tensor."
            )
        elif int(np.prod(came)) == int(np.prod([size or 1 for size in shape])):
            remedy = f"The counts agree: pass x.reshape({', '.join(str(n) for n in (len(value), *shape))})."
        raise ShapeError(f"x has samples of shape {came}.", f"The input {name!r} wants {tuple(shape)}.", remedy)


def check_target_count(arrays: Arrays, outputs: int) -> None:
    """Raises where there is no y, or not one array for each output."""
    if not arrays.targets:
        raise DataError(
            "There is no y.", "The loss compares outputs with targets.", "Pass y, or a data set with labels."
        )
    if len(arrays.targets) != outputs:
        raise ShapeError(
            f"y holds {len(arrays.targets)} arrays.",
            f"The network has {outputs} outputs.",
            "Pass one array for each output.",
        )


def check_outputs(outputs: Sequence[Any], targets: int) -> None:
    """Raises where a network answers with another number of arrays than there are losses for."""
    if len(outputs) != targets:
        raise ShapeError(
            f"The network answers with {len(outputs)} arrays.",
            f"There is a loss for {targets}, and one answer for each was expected.",
            "Let its forward return one tensor, or describe a network of several outputs by Model(inputs, outputs).",
        )


def warn_unscaled(arrays: Arrays, net: nn.Module) -> None:
    """Warns of integer images, also flat ones of uint8, that no layer scales: 0..255 train badly or not at all."""
    scaling = (Rescaling, Normalize, nn.BatchNorm2d, nn.Embedding)
    if any(
        isinstance(module, scaling) for module in list(net.modules())[:4]
    ):  # the first few: later ones come too late
        return
    for value in arrays.inputs:
        pictures = value.dim() == 4 or (value.dim() >= 2 and value.dtype == torch.uint8)
        if pictures and not value.is_floating_point() and int(value.max()) > 1:
            warn(
                f"x holds integer images with values up to {int(value.max())}, and the network does not scale them. "
                "Networks train on values near 0..1. "
                "Add layers.Rescaling(1 / 255) as the first layer, or pass x / 255.",
            )


def beside(sample_weight: Any, sample_by: Any) -> Any:
    """What `fit` was given for each sample, as one."""
    if sample_by is None:
        return sample_weight
    if isinstance(sample_by, str):
        raise LaminaError(
            f"sample_by is {sample_by!r}.",
            "An array with a weight for each sample was expected.",
            'Pass balance="sample" to see every class equally often.',
        )
    return PerSample(per_sample(sample_weight).weights, to_tensor(sample_by, "sample_by").double().reshape(-1))


def per_sample(weights: Any) -> PerSample:
    """What came beside the samples, of which weights alone need not be wrapped, as tensors (N)."""
    if isinstance(weights, PerSample):
        return weights
    return PerSample(None if weights is None else to_tensor(weights, "sample_weight").float().reshape(-1), None)


def probe(net: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs for the first two samples, in eval mode; raises ShapeError naming the layer that does not fit."""
    entered: list[tuple[str, tuple[Tensor, ...]]] = []

    def note(name: str) -> Any:
        return lambda _module, args: entered.append((name, tuple(a for a in args if isinstance(a, Tensor))))

    leaves = [(name, module) for name, module in net.named_modules() if not list(module.children())]
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in leaves]
    try:
        outputs = _answered(net, inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, LaminaError):
            raise
        name, args = entered[-1] if entered else ("the network", inputs)
        shapes = ", ".join(str(tuple(arg.shape)) for arg in args)
        module = dict(net.named_modules()).get(name, net)
        raise ShapeError(
            f"The layer {name!r}, {module}, was given {shapes} (the batch first).",
            f"It does not fit: {str(error).splitlines()[0]}.",
            f"x has samples of shape {', '.join(str(tuple(value.shape[1:])) for value in inputs)}: reshape them, or change the layer.",
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return outputs_of(outputs)[0]


def _answered(net: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """The outputs in eval mode, with gradients where the network can be run so: they tell what outputs were made by."""
    with evaluating(net):
        try:
            with torch.enable_grad():
                return net(*(value.detach().requires_grad_(value.is_floating_point()) for value in inputs))
        except (RuntimeError, ValueError, TypeError, IndexError):
            with torch.no_grad():  # a network that hands its outputs to numpy, say
                return net(*inputs)
