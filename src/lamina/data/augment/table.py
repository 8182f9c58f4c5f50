"""Augmentations by name, at strengths that suit most pictures. For other strengths pass the objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamina.core.errors import unknown_name
from lamina.data.augment.auto import AugMix, RandAugment, TrivialAugment
from lamina.data.augment.colour import ColorJitter, RandomGrayscale
from lamina.data.augment.crop import RandomCrop, RandomResizedCrop
from lamina.data.augment.erase import Cutout, RandomErasing
from lamina.data.augment.geometry import RandomAffine, RandomFlip, RandomRotation
from lamina.data.augment.mix import CutMix, Mixup
from lamina.data.augment.transform import Images, Mixing, Transform, Uniforms


@dataclass(frozen=True)
class PerSide:
    """The augmentation `name`, whose lengths in pixels are shares of the pictures' sides."""

    name: str

    @property
    def draws(self) -> int:
        """Those of the augmentation, which do not depend on the size."""
        return _PER_SIDE[self.name](32, 32).draws

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """The images, augmented as suits their size."""
        return _PER_SIDE[self.name](images.shape[2], images.shape[3])(images, uniforms)


_PER_SIDE: dict[str, Callable[[int, int], Transform]] = {  # made for (height, width)
    "affine": lambda *size_px: RandomAffine(shift_px=min(size_px) / 16, degrees=10, scale=0.1),
    "crop": lambda *size_px: RandomCrop(padding=min(size_px) // 8, padding_mode="reflect"),
    "cutout": lambda *size_px: Cutout(px=min(size_px) // 4),
    "zoom": lambda *size_px: RandomResizedCrop(size_px, scale=(0.35, 1.0)),
}

AUGMENTATIONS: dict[str, Callable[[], Transform | Mixing]] = {
    "affine": lambda: PerSide("affine"),  # shifted by up to a sixteenth, turned by 10 degrees, zoomed by a tenth
    "augmix": lambda: AugMix(),
    "color": lambda: ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
    "crop": lambda: PerSide("crop"),  # a window of the same size, moved by up to an eighth
    "cutmix": lambda: CutMix(),
    "cutout": lambda: PerSide("cutout"),  # a square of a quarter of the side
    "erase": lambda: RandomErasing(),
    "flip": lambda: RandomFlip(),  # left and right
    "grayscale": lambda: RandomGrayscale(),
    "mixup": lambda: Mixup(),
    "rand": lambda: RandAugment(),  # two of fourteen changes of light and place
    "rotate": lambda: RandomRotation(degrees=15),
    "trivial": lambda: TrivialAugment(),  # one of them, at any strength
    "zoom": lambda: PerSide("zoom"),  # a window of a third of the area or more, stretched to the whole
}


def get(names: str | Sequence[str]) -> list[Transform | Mixing]:
    """The augmentations of some names ("flip,crop", or a list), in this order. Raises UnknownNameError with the nearest."""
    listed = names.split(",") if isinstance(names, str) else names
    made = []
    for name in (entry.strip() for entry in listed):
        if name not in AUGMENTATIONS:
            raise unknown_name("augmentation", name, AUGMENTATIONS)
        made.append(AUGMENTATIONS[name]())
    return made
