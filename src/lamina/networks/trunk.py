"""The part of a network that gives maps, for what stands on it: detectors, segmenters. What only classifies is left out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks import contract
from lamina.nn import in_eval_mode

_PROBED_PX = 64


class Trunk(nn.Module):
    """Gives the last map of each resolution of a network, {stride: B C H/stride W/stride}, the finest first.

    `dims` says how many channels each has. `net` is the network without the layers that its maps do not need, so that every
    parameter takes part. It is the network itself that is changed, not a copy. Raises LaminaError where it gives no maps.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.dims: Mapping[int, int] = dict(contract.feature_dims(net))
        self.net = net
        _drop_unused(net)

    def forward(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        return contract.features(self.net, images)

    def channels(self, stride: int) -> int:
        """How many channels the map of that stride has. Raises LaminaError where there is none."""
        if stride not in self.dims:
            raise LaminaError(
                f"{type(self.net).__name__} gives no map of stride {stride}.",
                f"It gives maps of the strides {', '.join(map(str, self.dims))}.",
                "Choose another backbone, such as resnet18 or mobilenet_v2.",
            )
        return self.dims[stride]


def _drop_unused(net: nn.Module) -> None:
    """Takes away the layers that a probe for maps does not enter."""
    entered: set[int] = set()
    layers = [module for module in net.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(lambda module, *_: entered.add(id(module))) for module in layers]
    first = next((parameter for parameter in net.parameters()), None)
    try:
        channels = next(module.in_channels for module in layers if isinstance(module, nn.Conv2d))
        probe = torch.zeros(1, channels, _PROBED_PX, _PROBED_PX, device=None if first is None else first.device)
        with torch.no_grad(), in_eval_mode(net):
            contract.features(net, probe)
    finally:
        for hook in hooks:
            hook.remove()
    for name, module in list(net.named_modules()):
        if name and id(module) not in entered and not list(module.children()) and list(module.parameters()):
            parent, _, last = name.rpartition(".")
            setattr(net.get_submodule(parent), last, nn.Identity())
