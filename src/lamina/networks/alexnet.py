"""AlexNet on one GPU (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997).

For 224x224x3 and 1000 classes, 61,100,840 parameters:

    features.0   11x11x64, stride 4, pad 2      B  64 55 55      23,296 parameters
    features.2   max 3, stride 2                B  64 27 27
    features.3   5x5x192, pad 2                 B 192 27 27     307,392
    features.5   max 3, stride 2                B 192 13 13
    features.6   3x3x384, pad 1                 B 384 13 13     663,936
    features.8   3x3x256, pad 1                 B 256 13 13     884,992
    features.10  3x3x256, pad 1                 B 256 13 13     590,080
    features.12  max 3, stride 2                B 256  6  6
    avgpool      mean over parts, 6x6 of them   B 256  6  6
    classifier   dropout, 4096                  B 4096       37,752,832
                 dropout, 4096                  B 4096       16,781,312
                 K                              B K           4,097,000

A ReLU follows each convolution and the first two dense layers. No local response normalisation and no halves: those are in
`alexnet_2012`. Names of the layers and initial values are torchvision's (torch's own), so its published weights fit.
Departs from the paper: the fourth convolution has 256 channels for the paper's 384, and pictures of other sizes than 224
(63 and more) are averaged to 6x6 places, both as in torchvision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.network import Network
from lamina.nn import Stages


class AlexNet(Network):
    """Five convolutions and three dense layers; see the table above."""

    class_layers = ("classifier.6",)
    feature_dims: Mapping[int, int] = {4: 64, 8: 192, 16: 256, 32: 256}

    def __init__(self, num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        layers = [
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        ]  # fmt: skip
        self.features = Stages(layers, ends={4: 1, 8: 4, 16: 11, 32: 12})
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )  # fmt: skip

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.classifier(self.avgpool(self.features.last(images)).flatten(1))
        return logits


VARIANTS: dict[str, Callable[..., nn.Module]] = {"alexnet": AlexNet}
