"""FastConvNet: the network of the recipe `mnist_fast`, of our own design. 28x28x1 form, 10 classes, 62,290 parameters.

    conv1  5x5x24, pool 2    B 24 12 12       600 parameters, and 48 of its BatchNorm
    conv2  3x3x48            B 48 10 10    10,368                  96
    conv3  3x3x48, pool 2    B 48  4  4    20,736                  96
    conv4  3x3x64            B 64  2  2    27,648                 128
    head   max to 2x2, affine K            2,570

No padding; BatchNorm and ReLU follow each convolution (behind the pool where there is one: a quarter of the work), so the
convolutions have no bias. Pictures have at least 24 px a side.
Most of its arithmetic stands at 10x10 pixels and below. Images of other sizes are pooled to the same 2x2 head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.network import Network
from lamina.nn import Conv2d, MaxPool2d


class FastConvNet(Network):
    """Four convolutions with BatchNorm; see the table above."""

    class_layers = ("head",)
    feature_dims: Mapping[int, int] = {2: 48, 4: 64}

    def __init__(self, num_classes: int = 10, *, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = _block(in_channels, 24, kernel_size=5, pool=True)
        self.conv2 = _block(24, 48)
        self.conv3 = _block(48, 48, pool=True)
        self.conv4 = _block(48, 64)
        self.pool = nn.AdaptiveMaxPool2d(2)
        self.head = nn.Linear(64 * 2 * 2, num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.head(self.pool(self.features(images)[4]).flatten(1))
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        second = self.conv2(self.conv1(images))
        return {2: second, 4: self.conv4(self.conv3(second))}


def _block(in_channels: int, channels: int, *, kernel_size: int = 3, pool: bool = False) -> nn.Sequential:
    modules: list[nn.Module] = [Conv2d(in_channels, channels, kernel_size, bias=False)]
    if pool:
        modules.append(MaxPool2d(2))
    return nn.Sequential(*modules, nn.BatchNorm2d(channels), nn.ReLU())


VARIANTS: dict[str, Callable[..., nn.Module]] = {"fastconvnet": FastConvNet}
