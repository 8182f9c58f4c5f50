"""The contract holds for every network here, and each kind of fault breaks it at the check that is named for it."""

from functools import partial
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import UnknownNameError
from lamina.networks import Network
from lamina.networks.airbench import Airbench
from lamina.networks.cifar_resnet import CifarResNet
from lamina.networks.preact_resnet import CifarPreactResNet
from lamina.testing import ContractError, check_network

PARAMETERS = {
    "airbench": 1_972_792,
    "alexnet": 61_100_840,
    "deepconvnet": 123_552,
    "densenet121": 7_978_856,
    "fastconvnet": 62_290,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "squeezenet1_1": 1_235_496,
    "vgg16": 138_357_544,
}

# Too dear for every test run: each has a sibling of the same file that is not.
DEAR = {"alexnet", "alexnet_2012", "densenet161", "densenet169", "densenet201"}
DEAR |= {"resnet34", "resnet50", "resnet101", "resnet152", "plain34", "preact_resnet34", "preact_resnet101"}
DEAR |= {"preact_resnet152", "preact_resnet200", "cifar_preact_resnet164", "cifar_preact_resnet1001"}
DEAR |= {f"{family}{depth}" for family in ("cifar_resnet", "cifar_plain") for depth in (44, 56, 110)}


def every_name() -> list[object]:
    dear = [name for name in networks.names() if name in DEAR or name.startswith("vgg")]
    return [pytest.param(name, marks=pytest.mark.slow if name in dear else ()) for name in networks.names()]


@pytest.mark.parametrize("name", every_name())
def test_every_network_keeps_the_contract(name):
    check_network(name, PARAMETERS.get(name))


@pytest.mark.parametrize(
    "make",
    [
        partial(Airbench, 4, in_channels=1, width=0.25),
        partial(CifarResNet, 8, shortcut="projection"),
        partial(CifarPreactResNet, 11, bottleneck=True),
        partial(CifarPreactResNet, 8, 3, in_channels=2),
    ],
)
def test_arguments_keep_the_contract_too(make):
    check_network(make)


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_050", "timm/resnet18", "timm/test_vit"])
def test_networks_of_timm_keep_it(name):
    pytest.importorskip("timm")
    check_network(name)


class Small(Network):
    """What is broken below, one fault at a time."""

    class_layers = ("head",)
    feature_dims = {1: 4, 2: 8}  # noqa: RUF012

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> object:
        return self.head(self.features(images)[2].mean((2, 3)))

    def features(self, images: Tensor) -> dict[int, Tensor]:
        first = F.relu(self.norm(self.first(images)))
        return {1: first, 2: F.relu(self.second(first))}


def test_a_sound_network_passes_and_the_generator_is_left_alone():
    before = torch.get_rng_state()
    check_network(Small, 4 * 27 + 4 + 8 + 8 * 36 + 8 + 27)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_ordinary_module_is_not_asked_for_maps():
    check_network(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))


class UnusedHead(Small):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(8, 3)


class Detached(Small):
    def features(self, images):
        first = F.relu(self.norm(self.first(images)))
        return {1: first, 2: F.relu(self.second(first.detach()))}


class Dead(Small):
    def features(self, images):
        first = F.relu(self.norm(self.first(images)))
        return {1: first, 2: F.relu(self.second(first)) + 0 * first.mean((1, 2, 3), keepdim=True)}

    def forward(self, images):
        return self.head(self.features(images)[2].mean((2, 3))).round() + 0 * self.head.bias


class Exploding(Small):
    def forward(self, images):
        return super().forward(images) + (self.head.bias - self.head.bias.detach()).abs().sqrt().sum()


class BatchStatistics(Small):
    def features(self, images):
        x = self.first(images)
        first = F.relu(
            (x - x.mean((0, 2, 3), keepdim=True)) * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]
        )
        return {1: first, 2: F.relu(self.second(first))}


class NeedsThreeRows(Small):
    def forward(self, images):
        return (
            super().forward(images).view(-1, 3) if len(images) > 1 else super().forward(images.expand(3, -1, -1, -1))[9]
        )


class Pair(NamedTuple):
    logits: Tensor
    aux: Tensor | None


class TypeByMode(Small):
    def forward(self, images):
        logits = super().forward(images)
        return Pair(logits, 2 * logits) if self.training else logits


class FieldByMode(Small):
    def forward(self, images):
        logits = super().forward(images)
        return Pair(logits, 2 * logits if self.training else None)


class AlwaysDropping(Small):
    def forward(self, images):
        return F.dropout(super().forward(images))


class CountsInEval(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images):
        self.seen += len(images)
        return super().forward(images)


class Unkept(Small):
    """Its statistics are in no state."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(4, 1, 1)

    def features(self, images):
        x = self.first(images)
        if self.training:
            self.mean = x.detach().mean((0, 2, 3))[:, None, None] + torch.rand(4, 1, 1)
        first = F.relu(self.norm(x - self.mean.to(x.dtype)))
        return {1: first, 2: F.relu(self.second(first))}


class Pickled(Small):
    def get_extra_state(self):
        return {"more": 1}

    def set_extra_state(self, state):
        pass


class SharesItself(Small):
    def __deepcopy__(self, memo):
        raise RuntimeError("cannot be copied")


class View(Small):
    def forward(self, images):
        return self.head(self.features(images)[2].view(len(images), -1, 4).view(len(images), 8, -1).mean(2))


class ByStride(Small):
    def forward(self, images):
        return super().forward(images) * (1 + images.stride(1))


class Float32Constant(Small):
    def forward(self, images):
        return super().forward(images) + torch.zeros(3)


class OneSizeOnly(Small):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8 * 16 * 16, 3)

    def forward(self, images):
        return self.head(self.features(images)[2].flatten(1))


class ClassesBySize(Small):
    def forward(self, images):
        return super().forward(images)[:, : 2 + (images.shape[-1] > 32)]


class Maps(Small):
    def forward(self, images):
        return self.head(self.features(images)[2].permute(0, 2, 3, 1))


class Dictionary(Small):
    def forward(self, images):
        return {"out": super().forward(images)}


class WrongChannels(Small):
    feature_dims = {1: 4, 2: 4}  # noqa: RUF012


class WrongStride(Small):
    feature_dims = {1: 4, 4: 8}  # noqa: RUF012

    def features(self, images):
        first, second = super().features(images).values()
        return {1: first, 4: second}

    def forward(self, images):
        return self.head(self.features(images)[4].mean((2, 3)))


class WrongKeys(Small):
    feature_dims = {1: 4, 4: 8}  # noqa: RUF012


class NoDims(Network):
    class_layers = ("2",)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images):
        return self.layers(images)


class WrongHead(Small):
    class_layers = ("second",)


class TwoHeads(Small):
    """Only one of them is told."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(4, 3)

    def forward(self, images):
        first, second = self.features(images).values()
        return Pair(self.head(second.mean((2, 3))), self.aux(first.mean((2, 3))))


class Tampering(Small):
    def replace_head(self, num_classes):
        super().replace_head(num_classes)
        nn.init.zeros_(self.first.bias)


@pytest.mark.parametrize(
    ("broken", "check", "told"),
    [
        (UnusedHead, "gradients", r"other\.weight, other\.bias got no gradient"),
        (Detached, "gradients", r"first\.weight, first\.bias, norm\.weight, norm\.bias got no gradient"),
        (Dead, "gradients", r"first\.weight.* got a gradient of zeros"),
        (Exploding, "gradients", r"head\.bias got a gradient that is not finite"),
        (BatchStatistics, "rows", "with other pictures in the other rows"),
        (NeedsThreeRows, "rows", "IndexError"),
        (TypeByMode, "modes", "Train mode gives a Pair of .*, eval mode a Tensor"),
        (FieldByMode, "modes", "the same type, fields"),
        (AlwaysDropping, "modes", "answered differently the second time"),
        (CountsInEval, "modes", "changed seen"),
        (Unkept, "state", "new network with the old one's state answers differently"),
        (Pickled, "state", "_extra_state in the state is a dict"),
        (SharesItself, "deepcopy", "cannot be copied"),
        (View, "channels-last", "view size is not compatible"),
        (ByStride, "channels-last", "differ by"),
        (Float32Constant, "bfloat16", "answered in torch.float32"),
        (ClassesBySize, "output", "has 3 classes for pictures of 48 x 40 px"),
        (Maps, "output", r"of the shape \(2, 16, 16, 3\)"),
        (Dictionary, "output", "gave a dict"),
        (WrongChannels, "features", "tells 4 channels"),
        (WrongStride, "features", r"stride 4 has 16 x 16 places"),
        (WrongKeys, "features", r"strides \[1, 2\], feature_dims \[1, 4\]"),
        (NoDims, "features", "gives no maps|feature_dims"),
        (WrongHead, "head", "replace_head|outputs have"),
        (TwoHeads, "head", r"'logits': 5, 'aux': 3"),
        (Tampering, "head", "changed first.bias"),
    ],
)
def test_each_fault_breaks_the_check_that_is_named_for_it(broken, check, told):
    with pytest.raises(ContractError, match=f"(?i)^({check}): .*{told}") as caught:
        check_network(broken)
    assert caught.value.expected.endswith(".")
    assert caught.value.remedy.endswith(".")


def test_a_network_of_one_size_is_checked_at_it():
    with pytest.raises(ContractError, match=r"output: .*48 x 40"):
        check_network(OneSizeOnly, sizes=(32, (48, 40)))
    check_network(OneSizeOnly)


def test_no_sizes_are_those_that_it_takes():
    check_network(OneSizeOnly, sizes=())


def test_another_number_of_parameters_is_told_by_how_many():
    with pytest.raises(
        ContractError, match=r"parameters: The network has 443 parameters\. It should have 450: 7 more\."
    ):
        check_network(Small, 450)


def test_what_cannot_be_made_or_shown_pictures_is_told():
    with pytest.raises(ContractError, match="making: TypeError: a int was made"):
        check_network(lambda: 3)
    with pytest.raises(ContractError, match="making: ZeroDivisionError"):
        check_network(lambda: 1 / 0)
    with pytest.raises(ContractError, match="output: No picture with 3 channels was taken"):
        check_network(lambda: nn.Linear(7, 3))
    with pytest.raises(UnknownNameError, match="resnet18"):
        check_network("resnet81")
