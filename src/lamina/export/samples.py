"""What an exported network is tried on: real pictures, or where there are none, pictures made of gradients and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.core.errors import ShapeError
from lamina.export.deployable import Deployable

CALIBRATION = 128  # samples from which int8's ranges are taken
CHECKED = 128  # samples on which answers are compared
_MADE = 16
_OTHER_PX = (32, 64)  # added to height and width for another size
_GRAINS = (1, 2, 4, 8)  # px of the noise


@dataclass(frozen=True)
class Samples:
    """Inputs as they come (N ..., one array for each), and what they are in words."""

    inputs: tuple[npt.NDArray[Any], ...]
    told: str

    def __len__(self) -> int:
        return len(self.inputs[0])

    def part(self, start: int, end: int | None = None) -> tuple[npt.NDArray[Any], ...]:
        """Some of them, of each input."""
        return tuple(value[start:end] for value in self.inputs)

    def halves(self) -> tuple[Samples, Samples]:
        """Those to calibrate on and others to compare on; where there are few, all of them for both."""
        if len(self) < CALIBRATION:
            return self, self
        return Samples(self.part(0, None if len(self) == 1 else len(self) // 2), self.told), Samples(
            self.part(len(self) // 2), self.told
        )


def given(deployable: Deployable, values: tuple[npt.NDArray[Any], ...], told: str) -> Samples:
    """Samples that somebody brought. Raises ShapeError where their shapes are not those of the example."""
    for value, example, name in zip(values, deployable.example, deployable.inputs, strict=False):
        if tuple(value.shape[1:]) != tuple(example.shape[1:]):
            raise ShapeError(
                f"data has {tuple(value.shape[1:])} for each sample of {name}.",
                f"{tuple(example.shape[1:])} was expected.",
                "Pass samples as the network takes them, without a batch of another shape.",
            )
    if len(values) != len(deployable.inputs) or len({len(value) for value in values}) != 1:
        raise ShapeError(
            f"data has {len(values)} arrays of {', '.join(str(len(value)) for value in values)} samples.",
            f"One array for each input ({', '.join(deployable.inputs)}) was expected, with equally many samples.",
            "Pass a list of them.",
        )
    kinds = [str(value.dtype).removeprefix("torch.") for value in deployable.example]
    return Samples(
        tuple(np.ascontiguousarray(v.astype(kind, copy=False)) for v, kind in zip(values, kinds, strict=True)), told
    )


def made(deployable: Deployable) -> Samples:
    """Samples of the example's shape: for pictures gradients under noise of several grains, for numbers normal ones."""
    generator = torch.Generator().manual_seed(0)
    inputs = tuple(_made(value, generator).numpy() for value in deployable.example)
    is_pictures = all(value.dtype == torch.uint8 for value in deployable.example)
    return Samples(inputs, "pictures made of gradients and noise" if is_pictures else "samples drawn at random")


def _made(example: Tensor, generator: torch.Generator) -> Tensor:
    shape = (_MADE, *example.shape[1:])
    if example.is_floating_point():
        return torch.randn(shape, generator=generator).to(example.dtype)
    if example.dtype != torch.uint8 or example.dim() != 4:  # numbers that a network looks up: others may not be there
        return example.repeat((_MADE + len(example) - 1) // len(example), *[1] * (example.dim() - 1))[:_MADE]
    height, width = shape[2:]
    pictures = []
    for index in range(_MADE):
        grain = _GRAINS[index % len(_GRAINS)]
        coarse = (1, shape[1], -(-height // grain), -(-width // grain))
        noise = F.interpolate(torch.rand(coarse, generator=generator), size=(height, width), mode="nearest")[0]
        (top, left, slope) = torch.rand(3, generator=generator).tolist()
        down = torch.linspace(top, 1 - top, height)[:, None] * slope
        across = torch.linspace(left, 1 - left, width) * (1 - slope)
        share = index / _MADE  # of noise
        pictures.append((share * noise + (1 - share) * (down + across)).mul(255).round().to(torch.uint8))
    return torch.stack(pictures)


def larger(values: tuple[npt.NDArray[Any], ...]) -> tuple[npt.NDArray[Any], ...]:
    """The same pictures at another size, not square where they were."""
    sizes = [(value.shape[2] + _OTHER_PX[0], value.shape[3] + _OTHER_PX[1]) for value in values]
    return tuple(
        F.interpolate(torch.from_numpy(value).float(), size=size, mode="bilinear").numpy().astype(value.dtype)
        for value, size in zip(values, sizes, strict=True)
    )
