"""DeepLabV3 (Chen, Papandreou, Schroff & Adam 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587).

On ResNet-50, for 256x320x3 and 21 classes, 39,638,869 parameters (torchvision's deeplabv3_resnet50 has as many):

    trunk      ResNet-50, its last stage dilated by 2      B 2048 16 20     23,508,032
    branches   1x1x256; 3x3x256 dilated by 6, 12, 18;      B 1280 16 20     15,206,912
               the mean over all places, 1x1x256
    project    1x1x256, dropout                            B  256 16 20        328,192
    refine     3x3x256                                     B  256 16 20        590,336
    head       1x1xK, x 16 bilinear                        B    K 256 320        5,397

BatchNorm and ReLU follow each convolution but the last. `output_stride` 16 is the paper's choice for training; with 8 the last two
stages are dilated, by 2 and 4, and the branches twice as much, as in torchvision; 32 leaves the network as it is, and the branches
half as much. Departs from the paper: no multi-grid rates; and a batch of a single picture, whose means over places have no spread,
is normalised by the running statistics. Any picture size: it is padded to a multiple of the output stride, and the logits are cut back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.pixelwise import Pixelwise, enlarged
from lamina.networks.trunk import Trunk
from lamina.nn import ConvNorm, SteadyBatchNorm2d, in_eval_mode

_PROBED_PX = 128
_RATES = (6, 12, 18)  # at an output stride of 16


class DeepLabV3(Pixelwise):
    """Logits (B K H W) from the coarsest map of a network, dilated from `output_stride` on, 8, 16 or 32; see the table above.

    Raises LaminaError for networks that halve their maps by something else than convolutions there.
    """

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int,
        *,
        output_stride: int = 16,
        width: int = 256,
        dropout: float = 0.5,
    ) -> None:
        if output_stride not in (8, 16, 32):
            raise LaminaError(f"output_stride is {output_stride}.", "8, 16 or 32 was expected.", "The paper has 16.")
        dilate(trunk, output_stride)
        super().__init__(trunk, multiple=output_stride)
        channels = trunk.dims[self.stride]
        rates = [rate * 16 // output_stride for rate in _RATES]
        self.branches = nn.ModuleList([ConvNorm(channels, width, 1)])
        self.branches.extend(ConvNorm(channels, width, dilation=rate) for rate in rates)
        self.whole = ConvNorm(channels, width, 1)
        self.whole[1] = SteadyBatchNorm2d(width)
        self.project = nn.Sequential(ConvNorm((len(rates) + 2) * width, width, 1), nn.Dropout(dropout))
        self.refine = ConvNorm(width, width)
        self.head = nn.Conv2d(width, num_classes, 1)

    def logits(self, maps: Mapping[int, Tensor], size: Sequence[int]) -> Float[Tensor, "B K H W"]:
        x = maps[self.stride]
        seen = [branch(x) for branch in self.branches]
        seen.append(self.whole(x.mean(dim=(2, 3), keepdim=True)).expand_as(seen[0]))
        return enlarged(self.head(self.refine(self.project(torch.cat(seen, dim=1)))), size)


def dilate(trunk: Trunk, output_stride: int) -> None:
    """Lets no map of the network be coarser than that: convolutions keep the size from there on, and reach as far by dilation.

    The network is changed in place, its weights stay. Raises LaminaError where another layer than a convolution halves the map.
    """
    found = _strides(trunk)
    if max(trunk.dims) < output_stride:
        raise LaminaError(
            f"The maps of {type(trunk.net).__name__} go down to stride {max(trunk.dims)}.",
            f"output_stride={output_stride} was asked for.",
            "Choose a smaller one, or another backbone.",
        )
    for layer, stride, own in found:
        if stride < output_stride or (stride == output_stride and own == 1):
            continue
        if not isinstance(layer, nn.Conv2d):
            raise LaminaError(
                f"{type(trunk.net).__name__} halves its map of stride {stride} by {type(layer).__name__}.",
                f"For output_stride={output_stride} convolutions were expected to do it.",
                "Choose another backbone, such as resnet50 or mobilenet_v2, or output_stride=32.",
            )
        factor = stride // output_stride
        rows, columns = layer.kernel_size
        if isinstance(layer.padding, tuple) and layer.padding != (0, 0):
            layer.padding = tuple(pad * factor for pad in layer.padding)
        layer.dilation = (layer.dilation[0] * factor, layer.dilation[1] * factor) if rows * columns > 1 else (1, 1)
        layer.stride = (1, 1)


def _strides(trunk: Trunk) -> list[tuple[nn.Module, int, int]]:
    """(layer, stride of what it is given, its own stride) of the convolutions, and of pools that halve, as they are used."""
    found: list[tuple[nn.Module, int, int]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        before, after = given[0].shape[-1], answer.shape[-1]
        if before > 1 and (isinstance(layer, nn.Conv2d) or after < before):
            found.append((layer, round(_PROBED_PX / before), round(before / after)))

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    hooks = [layer.register_forward_hook(note) for layer in trunk.modules() if isinstance(layer, kinds)]
    first = next(layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d))
    try:
        with torch.no_grad(), in_eval_mode(trunk):
            trunk(first.weight.new_zeros(1, first.in_channels, _PROBED_PX, _PROBED_PX))
    finally:
        for hook in hooks:
            hook.remove()
    return found


STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {"deeplabv3": (DeepLabV3, "resnet50")}
