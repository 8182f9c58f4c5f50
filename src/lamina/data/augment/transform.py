"""What an augmentation is: a pure function of a batch of images and of random numbers in [0, 1), `draws` of them an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from lamina.core.errors import DataError, ShapeError

Images = Float[Tensor, "B C H W"]
Shares = Float[Tensor, "B K"]
Uniforms = Float[Tensor, "B D"]


class Transform(Protocol):
    """Changes each image by itself: row b of the random numbers decides about image b and no other.

    One whose fate belongs to the picture, not to its place in the epoch, names the columns of those numbers in `alternates`:
    these are drawn once for each sample and move on by a half each epoch (see `compose.draw`).
    """

    @property
    def draws(self) -> int:
        """How many random numbers an image needs."""
        ...

    def __call__(self, images: Images, uniforms: Uniforms, /) -> Images:
        """Float images (B C H W, 0..255) changed as the numbers (B, draws) say."""
        ...


class Mixing(Protocol):
    """Puts parts of one image of the batch into another, and their targets in the same proportion."""

    @property
    def draws(self) -> int:
        """How many random numbers an image needs."""
        ...

    def mix(self, images: Images, targets: Shares, uniforms: Uniforms, /) -> tuple[Images, Shares]:
        """The mixed images, and the share that each class has of them."""
        ...


# What `augment=` takes: objects, or names of `table.AUGMENTATIONS` such as "flip,crop"; several act in their order.
Augment = Transform | Mixing | str | Sequence[Transform | Mixing | str]


def check(images: Tensor, uniforms: Tensor, draws: int) -> None:
    """Raises ShapeError unless it is a float batch B C H W with `draws` numbers for each image."""
    if images.dim() != 4 or not images.is_floating_point():
        raise ShapeError(
            f"The images have the shape {tuple(images.shape)} and the type {images.dtype}.",
            "Augmentation takes a float batch B C H W.",
            "Use images.float(), and images[None] for a single image.",
        )
    if uniforms.shape != (len(images), draws):
        raise ShapeError(
            f"The random numbers have the shape {tuple(uniforms.shape)}.",
            f"{len(images)} images with {draws} draws each were expected.",
            "Pass torch.rand(len(images), transform.draws).",
        )


def require(name: str, value: object, good: bool, expected: str) -> None:
    """Raises DataError for an argument that means nothing."""
    if not good:
        raise DataError(f"{name} is {value!r}.", f"It is {expected}.", f"Pass another {name}.")


def require_share(name: str, value: float) -> None:
    """Raises DataError unless the value can be a probability."""
    require(name, value, 0 <= value <= 1, "a probability, from 0 to 1")


def require_range(name: str, bounds: Sequence[float], *, most: float = float("inf")) -> None:
    """Raises DataError unless these are two numbers above 0, the lower first, up to `most`."""
    good = len(bounds) == 2 and 0 < bounds[0] <= bounds[1] <= most
    require(name, tuple(bounds), good, "a pair of numbers above 0, the lower first" + f", up to {most}" * (most == 1))


def each(values: Tensor, images: Tensor) -> Tensor:
    """A number for each image (B) in the images' type, as (B 1 1 1)."""
    return values.to(images.dtype)[:, None, None, None]
