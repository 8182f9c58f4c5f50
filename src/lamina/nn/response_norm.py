"""Local response normalisation, for the networks of 2012 to 2014."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    """a / (k + alpha / size * the sum of a^2 over `size` neighbouring channels)^beta (Krizhevsky 2012, section 3.3).

    Arguments and values are torch.nn.LocalResponseNorm's, which divides alpha by size where the paper does not; its mean over
    channels by a pooling in three dimensions takes about four times as long as these shifted sums.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        channels = images.shape[1]
        # Scaled before they are squared, or half precision overflows at activations of 256.
        squares = (images * (self.alpha / self.size) ** 0.5).square()
        squares = F.pad(squares, (0, 0, 0, 0, self.size // 2, (self.size - 1) // 2))
        total = squares[:, :channels] + self.k
        for shift in range(1, self.size):
            total += squares[:, shift : channels + shift]
        if self.beta == 0.75:  # the papers' value, by roots, which are cheaper than a power
            return images * (total * total.sqrt()).rsqrt()
        return images * total.pow(-self.beta)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
