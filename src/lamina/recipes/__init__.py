"""Settings of whole trainings, each a function that returns a frozen recipe; those of `get` are tuned, with measured results."""

from __future__ import annotations

from collections.abc import Callable

from lamina.core.errors import unknown_name
from lamina.recipes.annotated import AnnotatedRecipe
from lamina.recipes.bccd import bccd_retinanet
from lamina.recipes.camvid import camvid_fcn8s, camvid_segnet, camvid_unet
from lamina.recipes.cifar10 import cifar10_fast
from lamina.recipes.few_photos import FineTuning, few_photos
from lamina.recipes.mnist import mnist_deepconvnet, mnist_fast
from lamina.recipes.recipe import Recipe

__all__ = [
    "AnnotatedRecipe",
    "FineTuning",
    "Recipe",
    "bccd_retinanet",
    "camvid_fcn8s",
    "camvid_segnet",
    "camvid_unet",
    "cifar10_fast",
    "few_photos",
    "get",
    "mnist_deepconvnet",
    "mnist_fast",
    "names",
]

_RECIPES: dict[str, Callable[[], Recipe]] = {
    "cifar10_fast": cifar10_fast,
    "mnist_deepconvnet": mnist_deepconvnet,
    "mnist_fast": mnist_fast,
}


def names() -> list[str]:
    """The names of the recipes."""
    return sorted(_RECIPES)


def get(name: str) -> Recipe:
    """The recipe of that name. Raises UnknownNameError."""
    if name not in _RECIPES:
        raise unknown_name("recipe", name, _RECIPES)
    return _RECIPES[name]()
