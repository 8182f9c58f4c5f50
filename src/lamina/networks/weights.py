"""The published weights that are known: where each lies, what proves it genuine, and how its network has to be used.

torchvision's: addresses, first digits of the SHA-256 (in the file names), accuracies and preprocessing as torchvision names them,
for single centre crops of ImageNet's 50,000 validation pictures. GoogLeNet's were trained on pictures in -1..1. CIFAR ResNets:
Yerlan Idelbayev, github.com/akamaster/pytorch_resnet_cifar10, accuracies on CIFAR-10's test pictures as its README names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from lamina.core.errors import LaminaError, UnknownNameError, unknown_name
from lamina.data.datasets.cifar10 import CLASSES as CIFAR10
from lamina.data.preprocess import Preprocess

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Weights:
    """One file of weights. `top1` and `top5` are its published accuracies in percent, None where none is published.

    `digest` is the published hash, or as many of its digits as are published. `classes` is "imagenet" or "cifar10". `arguments` are
    those that `networks.create` needs for it. `keys` names the key map (`networks.keys`) where its names are not ours.
    `optional` are parts that it holds and that the network may be built without. `parameters` counts the network's.
    """

    name: str
    urls: tuple[str, ...]
    digest: str
    licence: str
    trained_on: str
    preprocess: Preprocess
    classes: str
    parameters: int
    top1: float | None = None
    top5: float | None = None
    keys: str | None = None
    optional: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, hash=False)

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.urls[0].rpartition("/")[2]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return class_names(self.classes)


def class_names(of: str) -> tuple[str, ...]:
    """The names of the 1,000 classes of "imagenet" or the ten of "cifar10", in the order of the logits."""
    if of == "cifar10":
        return CIFAR10
    if of != "imagenet":
        raise unknown_name("list of classes", of, ("imagenet", "cifar10"))
    from torchvision.models import ResNet18_Weights  # slow to import, and only needed here

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _imagenet(
    stem: str,
    top1: float,
    top5: float,
    *,
    parameters: int,
    name: str = "imagenet1k_v1",
    side: int = 256,
    mean: tuple[float, ...] = _MEAN,
    std: tuple[float, ...] = _STD,
    keys: str | None = None,
    optional: tuple[str, ...] = (),
    arguments: Mapping[str, Any] = _NOTHING,
) -> dict[str, Weights]:
    """Torchvision's, for 224 pixels cut from a short side of `side`."""
    found = Weights(
        name=name,
        urls=(f"https://download.pytorch.org/models/{stem}.pth",),
        digest=f"sha256:{stem.rpartition('-')[2]}",
        licence="torchvision, BSD 3-clause; trained on ImageNet, whose pictures are for non-commercial research",
        trained_on="ImageNet-1K",
        preprocess=Preprocess(size=(224, 224), crop=224 / side, mean=mean, std=std),
        classes="imagenet",
        parameters=parameters,
        top1=top1,
        top5=top5,
        keys=keys,
        optional=optional,
        arguments=arguments,
    )
    return {name: found}


def _imagenet2(stem: str, top1: float, top5: float, *, parameters: int) -> dict[str, Weights]:
    """Torchvision's later ones, by a longer recipe, for a short side of 232."""
    return _imagenet(stem, top1, top5, parameters=parameters, name="imagenet1k_v2", side=232)


def _cifar10(stem: str, top1: float, *, parameters: int, sha256: str) -> dict[str, Weights]:
    return {
        "cifar10": Weights(
            name="cifar10",
            urls=(f"https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/{stem}.th",),
            digest=f"sha256:{sha256}",
            licence="Yerlan Idelbayev, BSD 2-clause",
            trained_on="CIFAR-10",
            preprocess=Preprocess(size=(32, 32), resize="stretch", mean=_MEAN, std=_STD),
            classes="cifar10",
            parameters=parameters,
            top1=top1,
        )
    }


# By network, best published accuracy last: that is what pretrained=True means.
WEIGHTS: dict[str, dict[str, Weights]] = {
    "alexnet": _imagenet("alexnet-owt-7be5be79", 56.522, 79.066, parameters=61_100_840),
    "vgg11": _imagenet("vgg11-8a719046", 69.020, 88.628, parameters=132_863_336),
    "vgg13": _imagenet("vgg13-19584684", 69.928, 89.246, parameters=133_047_848),
    "vgg16": _imagenet("vgg16-397923af", 71.592, 90.382, parameters=138_357_544),
    "vgg19": _imagenet("vgg19-dcbb9e9d", 72.376, 90.876, parameters=143_667_240),
    "vgg11_bn": _imagenet("vgg11_bn-6002323d", 70.370, 89.810, parameters=132_868_840),
    "vgg13_bn": _imagenet("vgg13_bn-abd245e5", 71.586, 90.374, parameters=133_053_736),
    "vgg16_bn": _imagenet("vgg16_bn-6c64b313", 73.360, 91.516, parameters=138_365_992),
    "vgg19_bn": _imagenet("vgg19_bn-c79401a0", 74.218, 91.842, parameters=143_678_248),
    "googlenet": _imagenet(
        "googlenet-1378be20",
        69.778,
        89.530,
        parameters=6_624_904,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        arguments=MappingProxyType(
            {"auxiliary": False}
        ),  # the file holds both auxiliary classifiers, which were never trained
        optional=("aux1", "aux2"),
    ),
    "resnet18": _imagenet("resnet18-f37072fd", 69.758, 89.078, parameters=11_689_512),
    "resnet34": _imagenet("resnet34-b627a593", 73.314, 91.420, parameters=21_797_672),
    "resnet50": {
        **_imagenet("resnet50-0676ba61", 76.130, 92.862, parameters=25_557_032),
        **_imagenet2("resnet50-11ad3fa6", 80.858, 95.434, parameters=25_557_032),
    },
    "resnet101": {
        **_imagenet("resnet101-63fe2227", 77.374, 93.546, parameters=44_549_160),
        **_imagenet2("resnet101-cd907fc2", 81.886, 95.780, parameters=44_549_160),
    },
    "resnet152": {
        **_imagenet("resnet152-394f9c45", 78.312, 94.046, parameters=60_192_808),
        **_imagenet2("resnet152-f82ba261", 82.284, 96.002, parameters=60_192_808),
    },
    "squeezenet1_0": _imagenet("squeezenet1_0-b66bff10", 58.092, 80.420, parameters=1_248_424),
    "squeezenet1_1": _imagenet("squeezenet1_1-b8a52dc0", 58.178, 80.624, parameters=1_235_496),
    "mobilenet_v2": {
        **_imagenet("mobilenet_v2-b0353104", 71.878, 90.286, parameters=3_504_872),
        **_imagenet2("mobilenet_v2-7ebf99e0", 72.154, 90.822, parameters=3_504_872),
    },
    "densenet121": _imagenet("densenet121-a639ec97", 74.434, 91.972, parameters=7_978_856, keys="densenet"),
    "densenet161": _imagenet("densenet161-8d451a50", 77.138, 93.560, parameters=28_681_000, keys="densenet"),
    "densenet169": _imagenet("densenet169-b2777c0a", 75.600, 92.806, parameters=14_149_480, keys="densenet"),
    "densenet201": _imagenet("densenet201-c1103571", 76.896, 93.370, parameters=20_013_928, keys="densenet"),
    "cifar_resnet20": _cifar10(
        "resnet20-12fca82f",
        91.73,
        parameters=269_722,
        sha256="12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
    ),
    "cifar_resnet32": _cifar10(
        "resnet32-d509ac18",
        92.63,
        parameters=464_154,
        sha256="d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850",
    ),
    "cifar_resnet44": _cifar10(
        "resnet44-014dd654",
        93.10,
        parameters=658_586,
        sha256="014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4",
    ),
    "cifar_resnet56": _cifar10(
        "resnet56-4bfd9763",
        93.39,
        parameters=853_018,
        sha256="4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367",
    ),
    "cifar_resnet110": _cifar10("resnet110-1d1ed7c2", 93.68, parameters=1_727_962, sha256="1d1ed7c2"),
}


def names(network: str) -> list[str]:
    """The names of a network's published weights, best last; none for a network without."""
    return list(WEIGHTS.get(network, ()))


def get(network: str, told: str | bool = True) -> Weights:
    """A network's weights by their name; True means the best. Raises UnknownNameError, or LaminaError where there are none."""
    known = WEIGHTS.get(network)
    if known is None and network.startswith("timm/"):
        raise LaminaError(
            f"Published weights were asked for {network!r}.",
            "timm fetches its own; lamina knows those of its own networks.",
            f"Let timm make the network, and pass it: Classifier(timm.create_model({network.removeprefix('timm/')!r}, pretrained=True)).",
        )
    if known is None:
        raise LaminaError(
            f"No published weights are known for {network!r}.",
            f"Such are known for {', '.join(WEIGHTS)}.",
            "Pass the path of a file of weights, or take one of these networks.",
        )
    if told is True:
        return known[next(reversed(known))]
    if told not in known:
        raise UnknownNameError(
            f"There are no weights of {network} called {told!r}.",
            f"Published are {', '.join(map(repr, known))}.",
            "Use one of these, or pass the path of a file.",
        )
    return known[str(told)]
