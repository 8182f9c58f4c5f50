"""DeepConvNet of "Deep Learning from Scratch" (Saitoh 2016), chapter 8. 28x28x1 form, 10 classes, 123,552 parameters.

    conv1  3x3x16                  B 16 28 28        160 parameters
    conv2  3x3x16, pool 2          B 16 14 14      2,320
    conv3  3x3x32                  B 32 14 14      4,640
    conv4  3x3x32, pad 2, pool 2   B 32  8  8      9,248
    conv5  3x3x64                  B 64  8  8     18,496
    conv6  3x3x64, pool 2          B 64  4  4     36,928
    fc1    50, dropout             B 50
    fc2    K, dropout              B K

A ReLU follows every layer but the last; He initial values. As in the book the fourth convolution pads by 2, and the last
dropout acts on the logits.
Departs from the book: each ReLU that precedes a max-pool stands behind it, where it gives the same values and gradients for a
quarter of the work; and dropout is torch's inverted one, so nothing is scaled at test time (`networks.load.book_state` scales
the book's fc2 to make up for it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import ShapeError
from lamina.networks.network import Network
from lamina.nn import Conv2d, MaxPool2d, conv_relu


class DeepConvNet(Network):
    """Six 3x3 convolutions and two affine layers; see the table above."""

    class_layers = ("fc2",)
    feature_dims: Mapping[int, int] = {1: 16, 2: 32, 4: 64, 8: 64}

    def __init__(
        self, num_classes: int = 10, *, in_channels: int = 1, image_size: int = 28, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, 16, 3, padding=1)
        self.conv2 = Conv2d(16, 16, 3, padding=1)
        self.conv3 = Conv2d(16, 32, 3, padding=1)
        self.conv4 = Conv2d(32, 32, 3, padding=2)
        self.conv5 = Conv2d(32, 64, 3, padding=1)
        self.conv6 = Conv2d(64, 64, 3, padding=1)
        self.pool = MaxPool2d(2)
        side = ((image_size // 2 + 2) // 2) // 2  # conv4 adds a pixel on each side
        if image_size // 2 < 1 or side < 1:
            raise ShapeError(
                f"DeepConvNet was given image_size={image_size} px.",
                "Three pools leave nothing of pictures of less than 4 px a side.",
                "Use larger pictures, or fewer pools.",
            )
        self.fc1 = nn.Linear(64 * side * side, 50)
        self.dropout1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(50, num_classes)
        self.dropout2 = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        x = self.features(images)[8]
        x = self.dropout1(F.relu(self.fc1(x.flatten(1))))
        logits: Tensor = self.dropout2(self.fc2(x))
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride; a convolution with a pool behind it gives the pool's."""
        first = conv_relu(self.conv1, images)
        second = F.relu(self.conv3(F.relu(self.pool(self.conv2(first)))))
        third = F.relu(self.conv5(F.relu(self.pool(self.conv4(second)))))
        return {1: first, 2: second, 4: third, 8: F.relu(self.pool(self.conv6(third)))}


VARIANTS: dict[str, Callable[..., nn.Module]] = {"deepconvnet": DeepConvNet}
