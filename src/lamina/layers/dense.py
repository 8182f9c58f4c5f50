"""Dense (fully connected) layers and embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from lamina import nn as lamina_nn
from lamina.core.errors import LaminaError
from lamina.layers import activations, initializers, regularizers
from lamina.layers.arguments import positive
from lamina.layers.initializers import Initializer
from lamina.layers.layer import Layer
from lamina.layers.regularizers import Regularizer
from lamina.layers.symbol import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, Symbol


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Layer):
    """inputs @ kernel + bias over the last axis, then the activation.

    Builds nn.Linear under the layer's name, and the activation under NAME_relu or the like.
    """

    units: int
    activation: str | Callable[..., Any] | None = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"
    kernel_regularizer: str | Regularizer | None = None
    bias_regularizer: str | Regularizer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, units=self.units)
        self._set("activation", activations.name_of(self.activation))
        initializers.get(self.kernel_initializer)
        initializers.get(self.bias_initializer)
        regularizers.get(self.kernel_regularizer)
        regularizers.get(self.bias_regularizer)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.kernel_regularizer, ".bias": self.bias_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        features = x.shape[-1] if x.shape else None
        if features is None:
            raise self.expects(
                x,
                "Its last axis is multiplied by the kernel, so the size of that axis must be known.",
                "Give Input a full shape, or put layers.GlobalAveragePooling2D() before this layer.",
            )
        linear = nn.Linear(features, self.units, bias=self.use_bias)
        initializers.fill(self.kernel_initializer, linear.weight)
        if self.use_bias:
            initializers.fill(self.bias_initializer, linear.bias)
        if not x.permuted:
            return {"": linear, **activations.siblings(self.activation, x.rank - 1)}
        return {
            "_to_last": lamina_nn.Permute(TO_CHANNELS_LAST),
            "": linear,
            "_to_first": lamina_nn.Permute(TO_CHANNELS_FIRST),
            **activations.siblings(self.activation, x.channel_axis),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Layer):
    """A learned vector of `output_dim` entries for each integer 0 .. input_dim - 1; adds a last axis."""

    input_dim: int
    output_dim: int
    embeddings_initializer: str | Initializer = "uniform"
    embeddings_regularizer: str | Regularizer | None = None

    input_dtype: ClassVar[torch.dtype] = torch.int64

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, input_dim=self.input_dim, output_dim=self.output_dim)
        initializers.get(self.embeddings_initializer)
        regularizers.get(self.embeddings_regularizer)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.embeddings_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        if x.dtype not in (torch.int64, torch.int32):
            raise LaminaError(
                f"{self.label(inputs)} was called on {str(x.dtype).removeprefix('torch.')} numbers.",
                "An embedding looks integers up.",
                'Declare the input as layers.Input(shape=..., dtype="int64").',
            )
        table = nn.Embedding(self.input_dim, self.output_dim)
        initializers.fill(self.embeddings_initializer, table.weight, (self.input_dim, self.output_dim))
        return {"": table}
