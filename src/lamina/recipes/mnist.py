"""Recipes for MNIST. Settings were chosen on 10,000 held-out training digits; the test set was read once per recipe and seed."""

from __future__ import annotations

from lamina.data.augment import RandomAffine
from lamina.data.preprocess import Preprocess
from lamina.losses import SparseCategoricalCrossentropy
from lamina.optimizers import AdamW
from lamina.optimizers.schedules import OneCycle
from lamina.recipes.recipe import Recipe

_UNIT = Preprocess(channels=1, size=(28, 28), mean=(0.0,), std=(1.0,))  # pixel / 255, as the book has it


def mnist_deepconvnet() -> Recipe:
    """DeepConvNet from scratch."""
    return Recipe(
        name="mnist_deepconvnet",
        data="mnist",
        network="deepconvnet",
        preprocess=_UNIT,
        epochs=10,
        batch_size=128,
        optimizer=AdamW(learning_rate=0.003, weight_decay=0.01),
        schedule=OneCycle(warmup=0.2),
        augment=RandomAffine(shift_px=2.0, degrees=10.0, scale=0.1),
        loss=SparseCategoricalCrossentropy(),
    )


def mnist_fast() -> Recipe:
    """A small BatchNorm network in a few passes."""
    return Recipe(
        name="mnist_fast",
        data="mnist",
        network="fastconvnet",
        preprocess=_UNIT,
        epochs=6,
        batch_size=256,
        optimizer=AdamW(learning_rate=0.01, weight_decay=0.01),
        schedule=OneCycle(warmup=0.2),
        augment=RandomAffine(shift_px=2.0, degrees=10.0, scale=0.1),
        loss=SparseCategoricalCrossentropy(label_smoothing=0.1),
    )
