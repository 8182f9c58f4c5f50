"""The parts of a network that others build on: its maps by stride, and its class layers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.testing.answers import same
from lamina.testing.case import Case, outputs_of
from lamina.testing.fault import ContractError, checking

_NEW_CLASSES = 2  # more than before, for a new head


@torch.no_grad()
def check_maps(case: Case) -> None:
    owes = isinstance(case.net, networks.Network)
    if not owes and not hasattr(case.net, "feature_dims"):
        return
    net = case.net.eval()
    remedy = "Give {stride: last map of that resolution} in features(images), and {stride: channels} in feature_dims."
    with checking("features", "Maps by their stride were expected.", remedy):
        dims = dict(networks.feature_dims(net))
        height, width = case.sizes[0]
        maps = networks.features(net, case.images(1))
    if not maps or dict.fromkeys(maps) != dict.fromkeys(dims) or sorted(dims) != list(dims):
        raise ContractError(
            "features",
            f"features gives maps of the strides {list(maps)}, feature_dims {list(dims)}.",
            "The same strides, the finest first, were expected.",
            remedy,
        )
    step = max(dims)
    try:  # a network for one size may still map another
        larger = networks.features(net, case.images(1, (height + step, width + 2 * step)))
    except (RuntimeError, LaminaError):
        larger = {}
    for stride, channels in dims.items():
        came = tuple(maps[stride].shape)
        if len(came) != 4 or came[1] != channels:
            raise ContractError(
                "features",
                f"The map of the stride {stride} has the shape {came}.",
                f"feature_dims tells {channels} channels: (B {channels} H W).",
                remedy,
            )
        fits = all(1 <= got <= -(-side // stride) + 1 for got, side in zip(came[2:], (height, width), strict=True))
        if stride in larger:
            grown = tuple(larger[stride].shape[2:])
            fits = fits and grown == (came[2] + step // stride, came[3] + 2 * step // stride)
        if not fits:
            raise ContractError(
                "features",
                f"Of {height} x {width} px the map of the stride {stride} has {came[2]} x {came[3]} places"
                + (
                    f", of {step} px more in height and {2 * step} in width {grown[0]} x {grown[1]}." if larger else "."
                ),
                "One place more for each stride of pixels was expected, and no more places than pixels over the stride.",
                remedy,
            )


def check_head(case: Case) -> None:
    try:
        networks.class_layers(case.net)
    except LaminaError as error:
        if isinstance(case.net, networks.Network):
            raise ContractError("head", error.came, error.expected, error.remedy) from error
        return
    images = case.images()
    net = copy.deepcopy(case.net).eval()
    before = {field: value.shape[1] for field, value in _named(net, images).items()}
    wanted = dict.fromkeys(before, before["logits"] + _NEW_CLASSES)
    with checking("head", "replace_head was expected to work.", "Name the class layers in class_layers."):
        layers = networks.class_layers(net)
        networks.replace_head(net, wanted["logits"])
        came = {field: value.shape[1] for field, value in _named(net.eval(), images).items()}
    if came != wanted:
        raise ContractError(
            "head",
            f"After replace_head({wanted['logits']}) the outputs have {came} classes.",
            f"{wanted} were expected.",
            "Name the layers that give the classes, auxiliary ones too, in class_layers.",
        )
    old, new = case.net.state_dict(), net.state_dict()
    heads = tuple(f"{layer}." for layer in layers)
    kept = [name for name in old if not name.startswith(heads)]
    changed = [name for name in kept if name not in new or not torch.equal(new[name], old[name])]
    fixed = [name for name, value in net.named_parameters() if name.startswith(heads) and not value.requires_grad]
    if changed or fixed:
        raise ContractError(
            "head",
            f"replace_head changed {', '.join(changed[:4])}." if changed else f"The new {fixed[0]} cannot be trained.",
            "New class layers that can be trained, and nothing else changed, were expected.",
            "Name the class layers alone in class_layers.",
        )
    if isinstance(case.net, networks.Network):
        with torch.no_grad():
            maps, kept_maps = networks.features(case.net.eval(), images), networks.features(net, images)
        same(
            "head",
            list(maps.values()),
            list(kept_maps.values()),
            "Maps with a new head are others.",
            "Leave them alone.",
        )


@torch.no_grad()
def _named(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return outputs_of(net(images))
