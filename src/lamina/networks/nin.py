"""NIN: Network In Network (Lin, Chen & Yan 2013, arXiv:1312.4400).

For 32x32x3 and 10 classes (`nin_cifar`: the paper's, with the sizes of the authors' CIFAR-10 files), 966,986 parameters:

    mlpconv1    5x5x192  1x1x160  1x1x96           B  96 32 32     60,928 parameters
    pool1       max 3, stride 2, dropout           B  96 16 16
    mlpconv2    5x5x192  1x1x192  1x1x192          B 192 16 16    535,104
    pool2       mean 3, stride 2, dropout          B 192  8  8
    mlpconv3    3x3x192  1x1x192                   B 192  8  8    369,024
    classifier  1x1xK, mean over the places        B K              1,930

For 224x224x3 and 1000 classes (`nin`: the authors' own ImageNet form, not in the paper), 7,595,176 parameters:

    mlpconv1    11x11x96, stride 4  1x1x96  1x1x96   B   96 54 54     53,568 parameters
    pool1       max 3, stride 2                      B   96 27 27
    mlpconv2    5x5x256  1x1x256  1x1x256            B  256 27 27    746,240
    pool2       max 3, stride 2                      B  256 13 13
    mlpconv3    3x3x384  1x1x384  1x1x384            B  384 13 13  1,180,800
    pool3       max 3, stride 2, dropout             B  384  6  6
    mlpconv4    3x3x1024  1x1x1024                   B 1024  6  6  4,589,568
    classifier  1x1xK, mean over the places          B K           1,025,000

The 1x1 convolution to the classes belongs to the last mlpconv; it stands alone so that it can be exchanged. Convolutions
keep the size but for the first of `nin`, a ReLU follows each of them, that of the classes too, so logits are not negative but with
`final_relu=False`.
Pools keep what is left at the rim. Pictures of any size from 4 px (`nin`: 39 px).
Departs from the authors' nets: initial values are He's instead of normal ones of a fixed deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.network import Network
from lamina.nn import Stages


class _MlpConvNetwork(Network):
    class_layers = ("classifier",)
    final_relu = "relu"

    def __init__(self, features: Stages, *, width: int, num_classes: int, final_relu: bool) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        if not final_relu:
            self.drop_final_relu()

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        class_maps: Tensor = self.relu(self.classifier(self.features.last(images)))
        return class_maps.mean((2, 3))


class NIN(_MlpConvNetwork):
    """Four mlpconvs for pictures as of ImageNet; see the second table above."""

    feature_dims: Mapping[int, int] = {4: 96, 8: 256, 16: 384, 32: 1024}

    def __init__(
        self, num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5, final_relu: bool = True
    ) -> None:
        features = Stages(
            {
                "mlpconv1": _mlpconv(in_channels, (96, 96, 96), kernel_size=11, stride=4, padding=0),
                "pool1": nn.MaxPool2d(3, stride=2, ceil_mode=True),
                "mlpconv2": _mlpconv(96, (256, 256, 256), kernel_size=5),
                "pool2": nn.MaxPool2d(3, stride=2, ceil_mode=True),
                "mlpconv3": _mlpconv(256, (384, 384, 384), kernel_size=3),
                "pool3": nn.Sequential(nn.MaxPool2d(3, stride=2, ceil_mode=True), nn.Dropout(dropout)),
                "mlpconv4": _mlpconv(384, (1024, 1024), kernel_size=3),
            },
            ends={4: "mlpconv1", 8: "mlpconv2", 16: "mlpconv3", 32: "mlpconv4"},
        )
        super().__init__(features, width=1024, num_classes=num_classes, final_relu=final_relu)


class CifarNIN(_MlpConvNetwork):
    """Three mlpconvs for small pictures; see the first table above."""

    feature_dims: Mapping[int, int] = {1: 96, 2: 192, 4: 192}

    def __init__(
        self, num_classes: int = 10, *, in_channels: int = 3, dropout: float = 0.5, final_relu: bool = True
    ) -> None:
        features = Stages(
            {
                "mlpconv1": _mlpconv(in_channels, (192, 160, 96), kernel_size=5),
                "pool1": nn.Sequential(nn.MaxPool2d(3, stride=2, ceil_mode=True), nn.Dropout(dropout)),
                "mlpconv2": _mlpconv(96, (192, 192, 192), kernel_size=5),
                "pool2": nn.Sequential(nn.AvgPool2d(3, stride=2, ceil_mode=True), nn.Dropout(dropout)),
                "mlpconv3": _mlpconv(192, (192, 192), kernel_size=3),
            },
            ends={1: "mlpconv1", 2: "mlpconv2", 4: "mlpconv3"},
        )
        super().__init__(features, width=192, num_classes=num_classes, final_relu=final_relu)


def _mlpconv(
    in_channels: int, widths: tuple[int, ...], *, kernel_size: int, stride: int = 1, padding: int | None = None
) -> nn.Sequential:
    """A convolution and then a small perceptron at each place, which is 1x1 convolutions (section 3.1)."""
    padding = kernel_size // 2 if padding is None else padding
    layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], kernel_size, stride=stride, padding=padding)]
    for before, width in pairwise(widths):
        layers += [nn.ReLU(inplace=True), nn.Conv2d(before, width, 1)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


VARIANTS: dict[str, Callable[..., nn.Module]] = {"nin": NIN, "nin_cifar": CifarNIN}
