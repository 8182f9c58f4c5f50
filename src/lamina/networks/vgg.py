"""VGG (Simonyan & Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556).

VGG-16 (configuration D of the paper's table 1) for 224x224x3 and 1000 classes, 138,357,544 parameters (its table 2: 138 million):

    features    2 x 3x3x64                   B  64 224 224       38,720 parameters
                max 2, 2 x 3x3x128           B 128 112 112      221,440
                max 2, 3 x 3x3x256           B 256  56  56    1,475,328
                max 2, 3 x 3x3x512           B 512  28  28    5,899,776
                max 2, 3 x 3x3x512           B 512  14  14    7,079,424
                max 2                        B 512   7   7
    avgpool     mean over parts, 7x7         B 512   7   7
    classifier  4096, dropout                B 4096         102,764,544
                4096, dropout                B 4096          16,781,312
                K                            B K              4,097,000

    configuration        convolutions a block     parameters   the paper's   with BatchNorm
    A  vgg11             1  1  2  2  2           132,863,336   133 million      132,868,840
    B  vgg13             2  2  2  2  2           133,047,848   133 million      133,053,736
    C  vgg16_1x1         2  2  3  3  3           133,638,952   134 million
    D  vgg16             2  2  3  3  3           138,357,544   138 million      138,365,992
    E  vgg19             2  2  4  4  4           143,667,240   144 million      143,678,248

The third convolution of C's last three blocks is 1x1. A ReLU follows each convolution and the first two dense layers; the
names in `_bn` have BatchNorm before it, which is younger than the paper. Names of the layers are torchvision's, so its
published weights fit. Initial values too: He's (fan out) for convolutions, a standard deviation of 0.01 for dense layers,
where the paper began with a trained configuration A. Pictures of other sizes than 224 (32 px and more) are averaged to 7x7
places, where the paper slides the dense layers over larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network
from lamina.nn import MaxPool2d, Stages

Configuration = Literal["A", "B", "C", "D", "E"]

_WIDTHS = (64, 128, 256, 512, 512)
# The side of each convolution's kernel, a tuple a block.
_BLOCKS: dict[Configuration, tuple[tuple[int, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class VGG(Network):
    """Five blocks of small convolutions and three dense layers; see the tables above."""

    class_layers = ("classifier.6",)
    feature_dims: Mapping[int, int] = {1: 64, 2: 128, 4: 256, 8: 512, 16: 512, 32: 512}

    def __init__(
        self,
        configuration: Configuration = "D",
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if configuration not in _BLOCKS:
            raise LaminaError(
                f"configuration is {configuration!r}.",
                f"The paper has {', '.join(get_args(Configuration))}.",
                "Pass one of these letters; D has 16 layers.",
            )
        self.features = _features(configuration, in_channels=in_channels, batch_norm=batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.classifier(self.avgpool(self.features.last(images)).flatten(1))
        return logits


def _features(configuration: Configuration, *, in_channels: int, batch_norm: bool) -> Stages:
    layers: list[nn.Module] = []
    ends: dict[int, int | str] = {}
    for block, (kernels, width) in enumerate(zip(_BLOCKS[configuration], _WIDTHS, strict=True)):
        for kernel in kernels:
            layers.append(nn.Conv2d(in_channels, width, kernel, padding=kernel // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            in_channels = width
        ends[2**block] = len(layers) - 1
        layers.append(MaxPool2d(2))
    ends[32] = len(layers) - 1
    return Stages(layers, ends=ends)


VARIANTS: dict[str, Callable[..., nn.Module]] = {
    "vgg11": partial(VGG, "A"),
    "vgg11_bn": partial(VGG, "A", batch_norm=True),
    "vgg13": partial(VGG, "B"),
    "vgg13_bn": partial(VGG, "B", batch_norm=True),
    "vgg16": partial(VGG, "D"),
    "vgg16_bn": partial(VGG, "D", batch_norm=True),
    "vgg16_1x1": partial(VGG, "C"),
    "vgg19": partial(VGG, "E"),
    "vgg19_bn": partial(VGG, "E", batch_norm=True),
}
