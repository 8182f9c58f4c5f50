"""GoogLeNet as its paper has it (Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842, table 1).

For 224x224x3 and 1000 classes 6,998,552 parameters (the paper's table sums up to 6,798 K), with both auxiliary classifiers
13,378,280. 22 layers with weights; each convolution has biases and is followed by ReLU. [a | b>c | d>e | f] are the channels of
an inception module: 1x1 | 1x1 then 3x3 | 1x1 then 5x5 | maximum of 3x3 then 1x1, side by side.

    conv1        7x7x64, stride 2                        B   64 112 112      9,472
    maxpool1     3x3, stride 2, rounded up; response     B   64  56  56
    conv2        1x1x64                                  B   64  56  56      4,160
    conv3        3x3x192                                 B  192  56  56    110,784
    maxpool2     response; 3x3, stride 2, rounded up     B  192  28  28
    inception3a  [ 64 |  96>128 | 16> 32 |  32]          B  256  28  28    163,696
    inception3b  [128 | 128>192 | 32> 96 |  64]          B  480  28  28    388,736
    maxpool3     3x3, stride 2, rounded up               B  480  14  14
    inception4a  [192 |  96>208 | 16> 48 |  64]          B  512  14  14    376,176
    inception4b  [160 | 112>224 | 24> 64 |  64]          B  512  14  14    449,160
    inception4c  [128 | 128>256 | 24> 64 |  64]          B  512  14  14    510,104
    inception4d  [112 | 144>288 | 32> 64 |  64]          B  528  14  14    605,376
    inception4e  [256 | 160>320 | 32>128 | 128]          B  832  14  14    868,352
    maxpool4     3x3, stride 2, rounded up               B  832   7   7
    inception5a  [256 | 160>320 | 32>128 | 128]          B  832   7   7  1,043,456
    inception5b  [384 | 192>384 | 48>128 | 128]          B 1024   7   7  1,444,080
    fc           mean over the places, dropout, K        B   K           1,025,000
    aux1         behind 4a: 5x5 means at stride 3, 1x1x128, 1024, K      3,188,840
    aux2         behind 4d: the same                                     3,190,888

"response" is local response normalisation over 5 channels; the paper tells neither its constants (here alpha 1e-4 / 5 a channel,
beta 0.75, k 1, as in the copy that came with Caffe) nor the initial values (here He's normal ones, fan in, biases 0: a fixed
small deviation fades out over 22 layers). Where the map behind 4a or 4d is not 14x14, the means of an auxiliary classifier are
over 4x4 equal parts of it. Any picture size from 31 px. Dropout is 40 %, in auxiliary classifiers 70 %. The table
counts parameters in units of 1,024 without biases; three of its rows do not fit the sizes that they name: the first (2.7K, 34M),
4c (463K) and 5a (1,072K).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.googlenet import INCEPTIONS, STAGES, GoogLeNetLogits
from lamina.networks.network import Network
from lamina.nn import LocalResponseNorm


class GoogLeNet2014(Network):
    """22 layers; see the table above. Without `auxiliary` both auxiliary classifiers are left out, and their fields are None."""

    class_layers: tuple[str, ...] = ("fc", "aux1.fc2", "aux2.fc2")
    feature_dims: Mapping[int, int] = {2: 64, 4: 192, 8: 480, 16: 832, 32: 1024}
    auxiliary_weight = 0.3  # of each auxiliary loss in training (section 5)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        auxiliary: bool = True,
        dropout: float = 0.4,
        aux_dropout: float = 0.7,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, 64, kernel_size=7, stride=2)
        self.maxpool1 = nn.Sequential(nn.MaxPool2d(3, stride=2, ceil_mode=True), _response())
        self.conv2 = _conv(64, 64, kernel_size=1)
        self.conv3 = _conv(64, 192, kernel_size=3)
        self.maxpool2 = nn.Sequential(_response(), nn.MaxPool2d(3, stride=2, ceil_mode=True))
        self.inception3a = _Inception(192, *INCEPTIONS["3a"])
        self.inception3b = _Inception(256, *INCEPTIONS["3b"])
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = _Inception(480, *INCEPTIONS["4a"])
        self.inception4b = _Inception(512, *INCEPTIONS["4b"])
        self.inception4c = _Inception(512, *INCEPTIONS["4c"])
        self.inception4d = _Inception(512, *INCEPTIONS["4d"])
        self.inception4e = _Inception(528, *INCEPTIONS["4e"])
        self.maxpool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception5a = _Inception(832, *INCEPTIONS["5a"])
        self.inception5b = _Inception(832, *INCEPTIONS["5b"])
        self.aux1 = _Auxiliary(512, num_classes, dropout=aux_dropout) if auxiliary else None
        self.aux2 = _Auxiliary(528, num_classes, dropout=aux_dropout) if auxiliary else None
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        if not auxiliary:
            self.class_layers = ("fc",)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> GoogLeNetLogits:
        x = self.maxpool1(self.conv1(images))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = None if self.aux1 is None else self.aux1(x)
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = None if self.aux2 is None else self.aux2(x)
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        return GoogLeNetLogits(self.fc(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1))), aux1, aux2)

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        maps, x = {}, images
        for stride, names in STAGES.items():
            for name in names:
                x = self.get_submodule(name)(x)
            maps[stride] = x
        return maps


class _Inception(nn.Module):
    def __init__(
        self, in_channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int
    ) -> None:
        super().__init__()
        self.branch1 = _conv(in_channels, one, kernel_size=1)
        self.branch2 = nn.Sequential(*_conv(in_channels, reduce3, kernel_size=1), *_conv(reduce3, three, kernel_size=3))
        self.branch3 = nn.Sequential(*_conv(in_channels, reduce5, kernel_size=1), *_conv(reduce5, five, kernel_size=5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *_conv(in_channels, pooled, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class _Auxiliary(nn.Module):
    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.conv = _conv(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        means = F.avg_pool2d(x, 5, stride=3) if x.shape[2:] == (14, 14) else F.adaptive_avg_pool2d(x, 4)
        x = F.relu(self.fc1(self.conv(means).flatten(1)), inplace=True)
        logits: Tensor = self.fc2(self.dropout(x))
        return logits


def _conv(in_channels: int, channels: int, *, kernel_size: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=kernel_size // 2)
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def _response() -> nn.Module:
    return LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)


VARIANTS: dict[str, Callable[..., nn.Module]] = {"googlenet_2014": GoogLeNet2014}
