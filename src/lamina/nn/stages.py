"""A sequence of layers whose maps can be had by their stride."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError


class Stages(nn.Sequential):
    """Layers one after the other; called, it gives the last map of each resolution: {stride: B C H/stride W/stride}.

    `ends` says which layer (its place, or its name) gives the map of which stride. `last` gives the last layer's map alone, and
    holds none of the others in memory, which is what classifying needs.
    """

    def __init__(self, layers: Iterable[nn.Module] | Mapping[str, nn.Module], *, ends: Mapping[int, int | str]) -> None:
        super().__init__()
        named = layers.items() if isinstance(layers, Mapping) else enumerate(layers)
        for name, layer in named:
            self.add_module(str(name), layer)
        self.ends = {str(name): stride for stride, name in ends.items()}
        missing = [name for name in self.ends if name not in self._modules]
        if missing:
            raise LaminaError(
                f"The ends name the layers {', '.join(missing)}.",
                f"The layers are {', '.join(self._modules)}.",
                "Name a layer, or its place, for each stride.",
            )

    def forward(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        maps, x = {}, images
        for name, layer in self._modules.items():  # named_children would leave out a layer that stands twice
            assert layer is not None
            x = layer(x)
            if name in self.ends:
                maps[self.ends[name]] = x
        return maps

    def __getitem__(self, index: slice | int) -> nn.Module:  # type: ignore[override]
        """A layer; of a slice a plain nn.Sequential, which gives its last map alone."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def last(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H2 W2"]:
        """The map that the last layer gives."""
        for layer in self:
            images = layer(images)
        return images
