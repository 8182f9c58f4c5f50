"""What is asked of networks of any origin: ours, timm's, and ordinary torch modules such as torchvision's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network, replace_layers
from lamina.nn import in_eval_mode

_COLOURS = 3
_ASKED_PX = 224  # ordinary modules are asked for their maps with a picture of this size


def class_layers(net: nn.Module) -> tuple[str, ...]:
    """The dotted names of the layers that give the classes.

    Network says them itself, and timm's networks do. Of any other module it is the last linear layer or 1x1 convolution in the
    order in which its layers were made. Raises LaminaError where there is none.
    """
    if isinstance(net, Network):
        return net.class_layers
    if is_of_timm(net):
        told = net.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr, operator]
        return (told,) if isinstance(told, str) else tuple(told)
    found = [
        name
        for name, module in net.named_modules()
        if name and (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)))
    ]
    if not found:
        raise LaminaError(
            f"{type(net).__name__} has no layer that gives classes.",
            "A linear layer or a 1x1 convolution inside it was expected.",
            "Build it with the number of classes that you want.",
        )
    return (found[-1],)


def replace_head(net: nn.Module, num_classes: int) -> None:
    """Puts new class layers, for so many classes and with fresh values, in the place of the old ones; nothing else changes.

    Which they are is said by `class_layers`. timm's networks draw the new values as timm does.
    """
    if isinstance(net, Network):
        net.replace_head(num_classes)
    elif is_of_timm(net) and num_classes >= 1:
        net.reset_classifier(num_classes)  # type: ignore[operator]
        described: dict[str, Any] | None = net.__dict__.get("architecture")
        if described is not None:
            told = {**described["arguments"], "num_classes": num_classes}
            net.architecture = {**described, "arguments": told}  # type: ignore[assignment]
    else:
        replace_layers(net, class_layers(net), num_classes)


def drop_final_relu(net: nn.Module) -> None:
    """Lets the outputs of a network be negative whose paper has a ReLU behind the class layer: for numbers, and labels apart.

    Other networks are as they were. Of modules that are no `Network` it is not known.
    """
    if isinstance(net, Network):
        net.drop_final_relu()


def in_channels(net: nn.Module) -> int | None:
    """Channels of the pictures that a network takes, 1 or 3, by its first convolution; None where that does not tell."""
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    return first.in_channels if first is not None and first.in_channels in (1, _COLOURS) else None


def suited_channels(net: nn.Module, offered: int, size: tuple[int, int]) -> int:
    """Channels of the pictures for a network: those that they have, if it answers to such pictures, else its first convolution's."""
    wanted = in_channels(net)
    if wanted is None or wanted == offered:
        return offered
    parameter = next(net.parameters())
    with torch.no_grad(), in_eval_mode(net):
        try:
            net(parameter.new_zeros(2, offered, *size))
        except Exception:  # whatever somebody's own module raises
            return wanted
    return offered


def feature_dims(net: nn.Module) -> Mapping[int, int]:
    """How many channels the map of each stride has: {stride: channels}, the finest first.

    Ordinary modules are asked by a picture of 224 px of zeros, on their device. Raises LaminaError where a network gives no maps.
    """
    told = getattr(net, "feature_dims", None)
    if isinstance(told, Mapping):
        return told
    if is_of_timm(net):
        return dict(sorted((info["reduction"], info["num_chs"]) for info in _timm_stages(net)))
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise _no_maps(net)
    with torch.no_grad(), in_eval_mode(net):
        maps = features(net, first.weight.new_zeros(1, first.in_channels, _ASKED_PX, _ASKED_PX))
    return {stride: value.shape[1] for stride, value in maps.items()}


def features(net: nn.Module, images: Tensor) -> dict[int, Tensor]:
    """The last map of each resolution, {stride: B C H/stride W/stride}, the finest first.

    Of an ordinary module it is what was last given at that resolution by any layer in front of the class layer; maps pooled
    to one place or to a fixed size are left out, and the stride is the nearest power of 2. Raises LaminaError where a network
    gives no maps.
    """
    told = getattr(net, "features", None)
    if isinstance(net, Network) or (told is not None and hasattr(net, "feature_dims")):
        maps: dict[int, Tensor] = net.features(images)  # type: ignore[operator]
        return maps
    if is_of_timm(net):
        strides = [info["reduction"] for info in _timm_stages(net)]
        given = net.forward_intermediates(images, intermediates_only=True, output_fmt="NCHW")  # type: ignore[operator]
        return dict(sorted(zip(strides, given, strict=True)))
    return _watched(net, images)


def is_of_timm(net: nn.Module) -> bool:
    """Whether timm made the network, and it answers as timm's networks do."""
    return hasattr(net, "pretrained_cfg") and hasattr(net, "reset_classifier")


def _timm_stages(net: nn.Module) -> list[dict[str, Any]]:
    stages = getattr(net, "feature_info", None)
    if not isinstance(stages, list) or not hasattr(net, "forward_intermediates"):
        raise _no_maps(net)
    return stages


def _watched(net: nn.Module, images: Tensor) -> dict[int, Tensor]:
    """What the layers of an ordinary module gave, by the stride that their size tells."""
    last = class_layers(net)[-1]
    maps: dict[int, Tensor] = {}
    ended: list[bool] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        if ended or not isinstance(output, Tensor) or output.dim() != 4 or output.shape[-2:] == (1, 1):
            return
        ratio = (images.shape[-2] * images.shape[-1] / (output.shape[-2] * output.shape[-1])) ** 0.5
        maps[2 ** max(0, round(math.log2(ratio)))] = output

    hooks = [net.get_submodule(last).register_forward_pre_hook(lambda *_: ended.append(True))]
    pools = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
    hooks += [m.register_forward_hook(note) for name, m in net.named_modules() if name and not isinstance(m, pools)]
    try:
        net(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not maps:
        raise _no_maps(net)
    return dict(sorted(maps.items()))


def _no_maps(net: nn.Module) -> LaminaError:
    return LaminaError(
        f"{type(net).__name__} gives no maps (B C H W).",
        "A convolutional network was expected.",
        "Give it a method features(images) that returns {stride: map}, and feature_dims.",
    )
