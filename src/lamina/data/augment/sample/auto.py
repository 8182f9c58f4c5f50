"""TrivialAugment, RandAugment and AugMix for pictures with annotations.

torchvision's own refuse boxes, and leave masks where they were. Here what is sheared, shifted or turned takes all that is in
the picture along; AugMix, which lays changed pictures over one another, leaves everything in its place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from lamina.data.augment import auto as batchwise
from lamina.data.augment.operations import GEOMETRIC, OPERATIONS, USUAL, WIDE, Most, applied
from lamina.data.augment.sample.geometry import size_of, warped


class TrivialAugment(v2.Transform):  # type: ignore[misc]
    """One operation of fourteen at one strength (Müller & Hutter 2021, arXiv:2103.10158).

    Not `wide`: turned by up to 30 degrees and not 135, for what has an up and a down.
    """

    def __init__(self, *, wide: bool = False) -> None:
        super().__init__()
        self.most = WIDE if wide else USUAL

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Which, how strong."""
        chosen, strength = torch.rand(2)
        return {"steps": [(int(batchwise.which(chosen)), float(2 * strength - 1))], "size": size_of(flat_inputs)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, changed."""
        for number, strength in params["steps"]:
            inpt = _changed(inpt, number, strength, self.most, params["size"])
        return inpt

    def __str__(self) -> str:
        return "TrivialAugment: one of fourteen changes of light and place"


class RandAugment(TrivialAugment):
    """`operations` of fourteen one after the other, each of the strength `magnitude` of 30 (Cubuk 2020, arXiv:1909.13719)."""

    def __init__(self, operations: int = 2, magnitude: float = 9) -> None:
        super().__init__()
        self.settings = batchwise.RandAugment(operations, magnitude)  # which checks them

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Which and which way, for each operation."""
        strength = self.settings.magnitude / 30
        drawn = torch.rand(self.settings.operations, 2)
        steps = [(int(batchwise.which(which)), strength if way < 0.5 else -strength) for which, way in drawn]
        return {"steps": steps, "size": size_of(flat_inputs)}

    def __str__(self) -> str:
        told = f"{self.settings.operations} of fourteen changes of light and place"
        return f"RandAugment: {told}, strength {self.settings.magnitude:g} of 30"


class AugMix(v2.Transform):  # type: ignore[misc]
    """The picture mixed with three changed ones of itself (Hendrycks 2020, arXiv:1912.02781), of changes of light only."""

    def __init__(self, severity: float = 3) -> None:
        super().__init__()
        self.settings = batchwise.AugMix(severity, geometric=False)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """All that the mixing draws."""
        return {"uniforms": torch.rand(1, self.settings.draws)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The picture, mixed; all else as it is."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        mixed = self.settings(inpt.as_subclass(Tensor)[None].float(), params["uniforms"])[0]
        return tv_tensors.Image(mixed.round_().to(torch.uint8))

    def __str__(self) -> str:
        return f"AugMix: mixed with three chains of changes of light, severity {self.settings.severity:g} of 10"


def _changed(inpt: Any, number: int, strength: float, most: Most, size: tuple[int, int]) -> Any:
    name = OPERATIONS[number]
    if name in GEOMETRIC:
        height, width = size
        slope = float(torch.rad2deg(torch.atan(torch.tensor(strength * most.shear))))
        return warped(
            inpt,
            {
                "angle": strength * most.degrees * (name == "rotate"),
                "translate": [
                    strength * most.shift * width * (name == "shift_x"),
                    strength * most.shift * height * (name == "shift_y"),
                ],
                "scale": 1.0,
                "shear": [slope * (name == "shear_x"), slope * (name == "shear_y")],
            },
            fill=0,
        )
    if not isinstance(inpt, tv_tensors.Image):
        return inpt
    images = inpt.as_subclass(Tensor)[None].float()
    changed = applied(images, torch.tensor([number]), torch.tensor([strength]), most)
    return tv_tensors.Image(changed[0].round_().to(torch.uint8))
