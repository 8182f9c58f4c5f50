"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B).

For 32x32x1 and 10 classes, 60,850 parameters, of which 60,000 lie before the class layer (the paper: 60,000):

    c1      5x5x6                                  B   6 28 28       156 parameters
    s2      sum of 2x2, times a weight, plus one   B   6 14 14        12
    c3      5x5x16, by a table                     B  16 10 10     1,516
    s4      sum of 2x2, times a weight, plus one   B  16  5  5        32
    c5      5x5x120                                B 120  1  1    48,120
    f6      84                                     B  84          10,164
    output  K                                      B   K             850

Behind each layer but the last comes 1.7159 tanh(2/3 a). A map of c3 sees three, four or six of s2's, by the paper's table I:
60 kernels where all to all would be 96. Weights start uniform in +-2.4 / fan-in (appendix A); the class layer as torch's.
Departs from the paper: its output units are squared distances to fixed pictures of the digits (84 = 7x12 pixels). Under a
softmax these are a linear layer, for |f - c|^2 = |f|^2 + |c|^2 - 2 c.f, and all |c|^2 are equal; here that layer is trained, for
any classes. Biases start as the weights do. The paper lays its digits of 28x28 into 32x32: with `image_size` less than 32 the
pictures are surrounded by zeros. Larger ones give several places in c5, whose mean goes on (the paper reads a row of digits so).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import ShapeError
from lamina.networks.network import Network

_PAPERS_PX = 32
# Table I: the maps of s2 that each map of c3 sees.
_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class LeNet5(Network):
    """Three convolutions with trained subsampling between them, and two dense layers; see the table above."""

    class_layers = ("output",)
    feature_dims: Mapping[int, int] = {1: 6, 2: 16, 4: 120}

    def __init__(self, num_classes: int = 10, *, in_channels: int = 1, image_size: int = _PAPERS_PX) -> None:
        super().__init__()
        if image_size < 1:
            raise ShapeError(
                f"LeNet5 was given image_size={image_size} px.",
                "Pictures have at least one pixel a side.",
                "Pass the side of your pictures.",
            )
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=max(0, (_PAPERS_PX - image_size + 1) // 2))
        self.s2 = _Subsampling(6)
        self.c3 = _TableConvolution(_TABLE, kernel_size=5)
        self.s4 = _Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        for layer, fan_in in ((self.c1, 25 * in_channels), (self.c5, 25 * 16), (self.f6, 120)):
            nn.init.uniform_(layer.weight, -2.4 / fan_in, 2.4 / fan_in)
            assert layer.bias is not None
            nn.init.uniform_(layer.bias, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.output(_squash(self.f6(self.features(images)[4].mean((2, 3)))))
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride; convolutions without padding make them smaller yet."""
        c1 = _squash(self.c1(images))
        c3 = _squash(self.c3(self.s2(c1)))
        return {1: c1, 2: c3, 4: _squash(self.c5(self.s4(c3)))}


class _Subsampling(nn.Module):
    """The sum over 2x2 places, times a weight and plus a bias for each map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels).uniform_(-2.4 / 4, 2.4 / 4))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-2.4 / 4, 2.4 / 4))

    def forward(self, x: Tensor) -> Tensor:
        sums = F.avg_pool2d(x, 2, divisor_override=1)
        return _squash(sums * self.weight[:, None, None] + self.bias[:, None, None])


class _TableConvolution(nn.Module):
    """A convolution whose maps see only some of those before, by a table; `weight` holds a row for each kernel that there is."""

    def __init__(self, table: tuple[tuple[int, ...], ...], *, kernel_size: int) -> None:
        super().__init__()
        self.shape = (len(table), max(max(row) for row in table) + 1, kernel_size, kernel_size)
        area = kernel_size**2
        bounds = [2.4 / (area * len(row)) for row in table]
        per_kernel = [bound for bound, row in zip(bounds, table, strict=True) for _ in row]
        self.weight = nn.Parameter(
            torch.empty(len(per_kernel), area).uniform_(-1, 1) * torch.tensor(per_kernel)[:, None]
        )
        self.bias = nn.Parameter(torch.empty(len(table)).uniform_(-1, 1) * torch.tensor(bounds))
        # Where each kernel lies among those of a full convolution, and one more: the place of the zeros.
        kernels = iter(range(len(per_kernel)))
        places = [next(kernels) if m in row else len(per_kernel) for row in table for m in range(self.shape[1])]
        self.places: Tensor
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        full = F.pad(self.weight, (0, 0, 0, 1))[self.places]
        return F.conv2d(x, full.view(self.shape), self.bias)


def _squash(x: Tensor) -> Tensor:
    return 1.7159 * torch.tanh(x * (2 / 3))


VARIANTS: dict[str, Callable[..., nn.Module]] = {"lenet5": LeNet5}
