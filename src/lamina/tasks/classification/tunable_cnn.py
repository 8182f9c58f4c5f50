"""A plain CNN of which everything can be drawn, and the space to draw it from. It is a start, not a measured recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import layers, losses, models, optimizers
from lamina.core.errors import LaminaError, ShapeError, UnknownNameError, nearest_names, unknown_name
from lamina.data.preprocess import Preprocess
from lamina.tasks import Classifier
from lamina.tasks.classification import inputs
from lamina.training import tuner
from lamina.training.runtime import Runtime

_POOLINGS = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}
_MOST_FILTERS = 512


@dataclass(frozen=True)
class TunableCNN:
    """Blocks of convolution, BatchNorm, activation and pooling, a hidden dense layer, dropout, and a score for each class.

    `filters` are those of the first block; each next has twice as many. `stride` is that of every convolution. Sizes are in
    pixels. `pool_stride` below `pool_size` overlaps. `initial_scale` multiplies the weights that `initializer` drew;
    `dropout` is the share that is dropped before the last layer.
    """

    blocks: int = 2
    filters: int = 32
    kernel_size: int = 3
    stride: int = 1
    padding: str = "same"
    pooling: str = "max"
    pool_size: int = 2
    pool_stride: int = 2
    batch_norm: bool = True
    dense: int = 128
    activation: str = "relu"
    initializer: str = "he_normal"
    initial_scale: float = 1.0
    dropout: float = 0.0

    def build(self, input_shape: Sequence[int], num_classes: int) -> models.Sequential:
        """The network for pictures of that shape (C, H, W). Raises ShapeError where nothing would be left of them."""
        self._check(tuple(input_shape))
        if self.pooling not in _POOLINGS:
            raise unknown_name("pooling", self.pooling, _POOLINGS)
        network = models.Sequential([layers.Input(shape=tuple(input_shape))], name="tunable_cnn")
        for block in range(self.blocks):
            filters = min(self.filters << block, _MOST_FILTERS)
            network.add(
                layers.Conv2D(
                    filters,
                    self.kernel_size,
                    self.stride,
                    self.padding,
                    use_bias=not self.batch_norm,
                    kernel_initializer=self.initializer,
                )
            )
            if self.batch_norm:
                network.add(layers.BatchNormalization())
            network.add(layers.Activation(self.activation))
            network.add(_POOLINGS[self.pooling](self.pool_size, self.pool_stride))
        network.add(layers.Flatten())
        network.add(layers.Dense(self.dense, activation=self.activation, kernel_initializer=self.initializer))
        if self.dropout:
            network.add(layers.Dropout(self.dropout))
        network.add(layers.Dense(num_classes, kernel_initializer=self.initializer))
        if self.initial_scale != 1.0:
            with torch.no_grad():
                for module in network.net.modules():
                    if isinstance(module, nn.Conv2d | nn.Linear):
                        module.weight.mul_(self.initial_scale)
        return network

    def _check(self, shape: tuple[int, ...]) -> None:
        """Follows the sizes before anything is built, so that the error names the block."""
        sides = shape[1:]
        for block in range(1, self.blocks + 1):
            for what, size, stride, padded in (
                ("kernel", self.kernel_size, self.stride, self.padding == "same"),
                ("pool", self.pool_size, self.pool_stride, False),
            ):
                if not padded and min(sides) < size:
                    meets = " x ".join(map(str, sides))
                    raise ShapeError(
                        f"Block {block} of {self.blocks}: its {what} of {size} x {size} px meets a picture of {meets}.",
                        "It has to be at least as large.",
                        "Use fewer blocks, smaller kernels, pools and strides, or padding 'same'.",
                    )
                sides = tuple(-(-side // stride) if padded else (side - size) // stride + 1 for side in sides)


NETWORK = tuple(field.name for field in dataclasses.fields(TunableCNN))
TRAINING = ("optimizer", "lr", "momentum", "loss", "label_smoothing", "schedule")


def space() -> dict[str, Any]:
    """All that can be drawn; replace entries by values of your own, or take some out for the defaults of TunableCNN."""
    return {
        "blocks": tuner.integer(1, 3),
        "filters": tuner.choice(16, 32, 64),
        "kernel_size": tuner.choice(3, 5, 7),
        "stride": tuner.choice(1, 2),
        "padding": tuner.choice("same", "valid"),
        "pooling": tuner.choice("max", "average"),
        "pool_size": tuner.choice(2, 3),
        "pool_stride": tuner.choice(2, 3, when={"pool_size": 3}),
        "batch_norm": tuner.choice(True, False),
        "dense": tuner.integer(32, 512, log=True),
        "activation": tuner.choice("relu", "leaky_relu", "elu", "silu", "tanh"),
        "initializer": tuner.choice(
            "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "orthogonal"
        ),
        "initial_scale": tuner.log_uniform(0.5, 2.0),
        "dropout": tuner.uniform(0.0, 0.5),
        "loss": tuner.choice(*_LOSSES),
        "label_smoothing": tuner.uniform(0.0, 0.2, when={"loss": "sparse_categorical_crossentropy"}),
        "optimizer": tuner.choice("adamw", "adam", "sgd", "rmsprop"),
        "lr": tuner.log_uniform(1e-4, 1e-1),
        "momentum": tuner.uniform(0.0, 0.95, when={"optimizer": ("sgd", "rmsprop")}),
        "schedule": tuner.choice("constant", "cosine", "one_cycle"),
        "batch_size": tuner.choice(32, 64, 128, 256),
    }


def classifier(
    settings: Mapping[str, Any], preprocess: Preprocess, *, num_classes: int, runtime: Runtime | None = None
) -> Classifier:
    """The compiled classifier of drawn settings (a trial, or a dict), for pictures of the preprocessing's size."""
    network = TunableCNN(**{name: settings[name] for name in NETWORK if name in settings})
    made = Classifier(network.build((preprocess.channels, *preprocess.size), num_classes), preprocess=preprocess)
    made.compile(**compiled({name: settings[name] for name in TRAINING if name in settings}), runtime=runtime)
    return made


def network(arguments: Mapping[str, Any], pictures: Any, num_classes: int) -> models.Sequential:
    """The network of a config's `network` entry: the arguments of TunableCNN, and `input_shape`, without which it is the pictures'.

    Raises UnknownNameError for another argument.
    """
    arguments = dict(arguments)
    shape = arguments.pop("input_shape", None)
    for name in arguments:
        if name not in NETWORK:
            raise UnknownNameError(
                f"The network was given {name!r}.",
                f"The nearest that it takes: {', '.join(map(repr, nearest_names(name, NETWORK)))}.",
                "Correct the entry, or take it out for the default.",
            )
    if shape is None:
        preprocess = inputs.fitting_preprocess(pictures)
        shape = (preprocess.channels, *preprocess.size)
    return TunableCNN(**arguments).build(shape, num_classes)


def compiled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `compile` for optimizer, lr, momentum, loss, label_smoothing and schedule; what is missing has its default."""
    kind: Any = type(optimizers.get(settings.get("optimizer", "adamw")))
    arguments = {"learning_rate": settings["lr"]} if settings.get("lr") is not None else {}
    if settings.get("momentum") is not None:
        if "momentum" not in {field.name for field in dataclasses.fields(kind)}:
            raise LaminaError(
                f"momentum came beside the optimizer {kind.__name__}, which has none by that name.",
                "sgd, rmsprop and muon have a momentum.",
                "Leave it out, or choose one of these.",
            )
        arguments["momentum"] = settings["momentum"]
    name, smoothing = settings.get("loss", "sparse_categorical_crossentropy"), settings.get("label_smoothing")
    if name not in _LOSSES:
        raise unknown_name("loss for classes", name, _LOSSES)
    loss = _LOSSES[name]()
    if smoothing is not None:
        if name != "sparse_categorical_crossentropy":
            raise LaminaError(
                f"label_smoothing came beside the loss {name!r}.",
                "It belongs to sparse_categorical_crossentropy.",
                "Leave out one of them.",
            )
        loss = losses.SparseCategoricalCrossentropy(label_smoothing=smoothing)
    return {"optimizer": kind(**arguments), "loss": loss, "schedule": settings.get("schedule")}


def one_hot_mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """The squared distance of the probabilities from the one-hot class, a value for each sample (Brier 1950)."""
    probs = torch.softmax(outputs.float(), dim=-1)
    return (probs - F.one_hot(targets.long(), probs.shape[-1])).square().sum(dim=-1)


# Losses of integer labels and scores: each means something else, so they are compared by accuracy.
_LOSSES: dict[str, Callable[[], Any]] = {
    "sparse_categorical_crossentropy": losses.SparseCategoricalCrossentropy,
    "mse": lambda: one_hot_mse,
    "multi_margin": nn.MultiMarginLoss,
}
