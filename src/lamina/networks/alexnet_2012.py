"""AlexNet on two GPUs (Krizhevsky, Sutskever & Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks").

For 224x224x3 and 1000 classes, 60,965,224 parameters (the paper: 60 million), 650,000 neurons:

    conv1  11x11x96, stride 4, pad 2, norm         B  96 55 55      34,944 parameters
    pool1  max 3, stride 2                         B  96 27 27
    conv2  5x5x256 in two halves, pad 2, norm      B 256 27 27     307,456
    pool2  max 3, stride 2                         B 256 13 13
    conv3  3x3x384, pad 1                          B 384 13 13     885,120
    conv4  3x3x384 in two halves, pad 1            B 384 13 13     663,936
    conv5  3x3x256 in two halves, pad 1            B 256 13 13     442,624
    pool5  max 3, stride 2                         B 256  6  6
    fc6    4096, dropout                           B 4096       37,752,832
    fc7    4096, dropout                           B 4096       16,781,312
    fc8    K                                       B K           4,097,000

A ReLU follows each layer but the last and precedes the local response normalisation (k = 2, n = 5, alpha = 1e-4, beta = 0.75,
section 3.3; torch's alpha is n times the paper's). The halves that lay on two GPUs are the two groups of a convolution; they
met in conv3 and in the dense layers. Pools overlap (section 3.4). Weights start normal with a standard deviation of 0.01, the
biases of conv2, conv4, conv5, fc6 and fc7 at 1, the others at 0 (section 5).
Departs from the paper: its 224 px do not give its 55 places without padding (227 would); here conv1 pads by 2, so that both do
for the dense layers. Neighbours in the normalisation are those of the whole layer, as the formula has it, not of one GPU's
half. Dropout is torch's inverted one, so nothing is halved at test time. Other sizes (63 px and more) are averaged to 6x6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.network import Network
from lamina.nn import LocalResponseNorm, Stages


class AlexNet2012(Network):
    """Five convolutions, three of them in halves, and three dense layers; see the table above."""

    class_layers = ("fc8",)
    feature_dims: Mapping[int, int] = {4: 96, 8: 256, 16: 256, 32: 256}

    def __init__(self, num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = Stages(
            {
                "conv1": nn.Conv2d(in_channels, 96, 11, stride=4, padding=2), "relu1": nn.ReLU(inplace=True),
                "norm1": _norm(), "pool1": nn.MaxPool2d(3, stride=2),
                "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2), "relu2": nn.ReLU(inplace=True),
                "norm2": _norm(), "pool2": nn.MaxPool2d(3, stride=2),
                "conv3": nn.Conv2d(256, 384, 3, padding=1), "relu3": nn.ReLU(inplace=True),
                "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=2), "relu4": nn.ReLU(inplace=True),
                "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=2), "relu5": nn.ReLU(inplace=True),
                "pool5": nn.MaxPool2d(3, stride=2),
            },
            ends={4: "norm1", 8: "norm2", 16: "relu5", 32: "pool5"},
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.dropout6 = nn.Dropout(dropout)
        self.fc7 = nn.Linear(4096, 4096)
        self.dropout7 = nn.Dropout(dropout)
        self.fc8 = nn.Linear(4096, num_classes)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                ones = name.removeprefix("features.") in {"conv2", "conv4", "conv5", "fc6", "fc7"}
                nn.init.constant_(module.bias, 1.0 if ones else 0.0)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        x = self.avgpool(self.features.last(images)).flatten(1)
        x = self.dropout6(F.relu(self.fc6(x), inplace=True))
        x = self.dropout7(F.relu(self.fc7(x), inplace=True))
        logits: Tensor = self.fc8(x)
        return logits


def _norm() -> LocalResponseNorm:
    return LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


VARIANTS: dict[str, Callable[..., nn.Module]] = {"alexnet_2012": AlexNet2012}
