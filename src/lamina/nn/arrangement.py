"""Modules that reorder entries and compute nothing."""

from __future__ import annotations

from torch import Tensor, nn


class Permute(nn.Module):
    """The axes in another order, `dims[0] == 0` being the batch. A view: no memory moves."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.permute(self.dims)

    def extra_repr(self) -> str:
        return f"{self.dims}"


class Reshape(nn.Module):
    """The same entries of each sample in another shape; one size may be -1."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(inputs.shape[0], *self.sizes)

    def extra_repr(self) -> str:
        return f"{self.sizes}"
