"""What the networks that give a class to every pixel have in common: they stand on another's maps, and take pictures of any size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import ShapeError
from lamina.networks.trunk import Trunk
from lamina.nn import in_eval_mode, pad_to_multiple

_DOUBLINGS = 4  # of the coarsest stride, up to the smallest picture that the trunk is tried with


class Pixelwise(nn.Module):
    """Logits (B K H W) of the pictures' own size, from the maps of a trunk.

    Pictures are padded below and to the right to a multiple of `multiple` (None: the coarsest stride), and the logits are cut
    back. `logits` is given maps of exactly the padded size over their stride, or over `multiple` where that is less: those of
    networks that give others, such as SqueezeNet, are resized.
    """

    def __init__(self, trunk: Trunk, *, multiple: int | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.stride = max(trunk.dims)  # as the trunk calls its coarsest map
        self.multiple = multiple or self.stride
        self._least, self._even = _tried(trunk, self.multiple)

    @abstractmethod
    def logits(self, maps: Mapping[int, Tensor], size: Sequence[int]) -> Float[Tensor, "B K H W"]:
        """The scores of each pixel of padded pictures of this (height, width)."""

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        self._check(images)
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, self.multiple)
        if self._least > self.multiple:
            padded = F.pad(padded, (0, max(self._least - padded.shape[3], 0), 0, max(self._least - padded.shape[2], 0)))
        size = padded.shape[-2:]
        maps = self.trunk(padded)
        if not self._even:
            sizes = {stride: [side // min(stride, self.multiple) for side in size] for stride in maps}
            maps = {stride: _resized(each, sizes[stride]) for stride, each in maps.items()}
        return self.logits(maps, size)[..., :height, :width]

    def _check(self, images: Tensor) -> None:
        wanted = next((module.in_channels for module in self.modules() if isinstance(module, nn.Conv2d)), None)
        if images.dim() != 4 or (wanted is not None and images.shape[1] != wanted):
            raise ShapeError(
                f"{type(self).__name__} was given a tensor of the shape {tuple(images.shape)}.",
                f"A batch of pictures (B C H W) with {wanted} channels was expected.",
                "Give one picture as images[None], or build the network with other in_channels.",
            )


def enlarged(logits: Float[Tensor, "B K H W"], size: Sequence[int]) -> Float[Tensor, "B K H2 W2"]:
    """The scores at this (height, width), bilinear."""
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


def _resized(found: Tensor, size: Sequence[int]) -> Tensor:
    return found if tuple(found.shape[-2:]) == tuple(size) else F.interpolate(found, size=tuple(size), mode="nearest")


def _tried(trunk: Trunk, multiple: int) -> tuple[int, bool]:
    """(the smallest side that the trunk takes, of 1, 2, 4 ... times that; whether its maps then have just that side over their stride)."""
    first = next(trunk.parameters())
    channels = next(layer.in_channels for layer in trunk.modules() if isinstance(layer, nn.Conv2d))
    for side in (multiple * 2**power for power in range(_DOUBLINGS)):
        try:
            with torch.no_grad(), in_eval_mode(trunk):
                maps = trunk(first.new_zeros(1, channels, side, side))
        except RuntimeError:  # nothing is left of so small a picture
            continue
        even = all(each.shape[-1] == side // min(stride, multiple) for stride, each in maps.items())
        return side, even and side == multiple
    return multiple, False  # its own error tells what it takes
