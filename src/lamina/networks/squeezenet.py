"""SqueezeNet (Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv:1602.07360).

Version 1.0 for 224x224x3 and 1000 classes, 1,248,424 parameters (the paper's table 1: the same, row by row):

    features.0   7x7x96, stride 2             B   96 109 109     14,208 parameters
    features.2   max 3, stride 2              B   96  54  54
    features.3   fire  16 ->  64 +  64        B  128  54  54     11,920
    features.4   fire  16 ->  64 +  64        B  128  54  54     12,432
    features.5   fire  32 -> 128 + 128        B  256  54  54     45,344
    features.6   max 3, stride 2              B  256  27  27
    features.7   fire  32 -> 128 + 128        B  256  27  27     49,440
    features.8   fire  48 -> 192 + 192        B  384  27  27    104,880
    features.9   fire  48 -> 192 + 192        B  384  27  27    111,024
    features.10  fire  64 -> 256 + 256        B  512  27  27    188,992
    features.11  max 3, stride 2              B  512  13  13
    features.12  fire  64 -> 256 + 256        B  512  13  13    197,184
    classifier   dropout, 1x1xK, mean         B    K            513,000

Version 1.1, of the authors' repository, takes 2.4 times less work: 1,235,496 parameters. Its first layer is 3x3x64 (1,792), the
pools stand before fires 2, 4 and 6 (of 11,408, 12,432, 45,344, 49,440, 104,880, 111,024, 188,992 and 197,184 parameters):

    features     3x3x64, stride 2             B   64 111 111
                 max 3, 2 fires               B  128  55  55
                 max 3, 2 fires               B  256  27  27
                 max 3, 4 fires               B  512  13  13
    classifier   dropout, 1x1xK, mean         B    K

fire s -> a + b: a 1x1 convolution to s channels, then 1x1 to a and 3x3 to b channels side by side. A ReLU follows every
convolution, that of the classes too, so logits are not negative but with `final_relu=False`. Pools are 3x3 with stride 2,
and keep what is left at the rim. Any picture size from 17 px (1.0: 21 px). Names of the layers are torchvision's, so its
published weights fit; initial values too: He's uniform ones, a standard deviation of 0.01 for the classes.
Departs from the paper: its table says 111x111 for the first layer of 1.0, which 224 px without padding do not give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network
from lamina.nn import Stages

Version = Literal["1.0", "1.1"]


class SqueezeNet(Network):
    """One convolution, eight fires, and a convolution to the classes; see the tables above."""

    class_layers = ("classifier.1",)
    final_relu = "classifier.2"

    def __init__(
        self,
        version: Version = "1.1",
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        final_relu: bool = True,
    ) -> None:
        super().__init__()
        if version == "1.0":
            layers = [
                nn.Conv2d(in_channels, 96, 7, stride=2), nn.ReLU(inplace=True),
                _pool(), _Fire(96, 16, 64), _Fire(128, 16, 64), _Fire(128, 32, 128),
                _pool(), _Fire(256, 32, 128), _Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256),
                _pool(), _Fire(512, 64, 256),
            ]  # fmt: skip
            self.features = Stages(layers, ends={2: 1, 4: 5, 8: 10, 16: 12})
            self.feature_dims: Mapping[int, int] = {2: 96, 4: 256, 8: 512, 16: 512}
        elif version == "1.1":
            layers = [
                nn.Conv2d(in_channels, 64, 3, stride=2), nn.ReLU(inplace=True),
                _pool(), _Fire(64, 16, 64), _Fire(128, 16, 64),
                _pool(), _Fire(128, 32, 128), _Fire(256, 32, 128),
                _pool(), _Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256),
            ]  # fmt: skip
            self.features = Stages(layers, ends={2: 1, 4: 4, 8: 7, 16: 12})
            self.feature_dims = {2: 64, 4: 128, 8: 256, 16: 512}
        else:
            raise LaminaError(
                f"version is {version!r}.",
                f"There are {' and '.join(get_args(Version))}.",
                "Pass one of these, as text.",
            )
        classes = nn.Conv2d(512, num_classes, 1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), classes, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is classes:
                    nn.init.normal_(module.weight, std=0.01)
                else:
                    nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        if not final_relu:
            self.drop_final_relu()

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.classifier(self.features.last(images))
        return logits


class _Fire(nn.Module):
    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu_()
        # One ReLU for both halves, once they stand together.
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu_()


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


VARIANTS: dict[str, Callable[..., nn.Module]] = {
    "squeezenet1_0": partial(SqueezeNet, "1.0"),
    "squeezenet1_1": partial(SqueezeNet, "1.1"),
}
