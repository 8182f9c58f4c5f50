"""The table of published weights: the same facts as torchvision's, and such as prove themselves."""

import re

import pytest
import torchvision

from lamina import networks
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.data.preprocess import Preprocess
from lamina.networks import weights
from lamina.networks.weights import WEIGHTS, class_names

TORCHVISION = [name for name in WEIGHTS if not name.startswith("cifar_")]
ALL = [(network, name) for network, known in WEIGHTS.items() for name in known]


def torchvisions(network):
    """Its weights for classification, by the names that ours have. Some of VGG-16's are features alone."""
    found = torchvision.models.get_model_weights(network)
    return {w.name.lower(): w for w in found if w.meta["categories"] is not None}


@pytest.mark.parametrize("network", TORCHVISION)
def test_every_fact_is_torchvisions(network):
    theirs = torchvisions(network)
    assert list(WEIGHTS[network]) == list(theirs)
    for name, ours in WEIGHTS[network].items():
        other = theirs[name]
        assert ours.urls == (other.url,)
        assert (ours.top1, ours.top5) == tuple(other.meta["_metrics"]["ImageNet-1K"].values())
        assert ours.parameters == other.meta["num_params"]
        assert ours.class_names == tuple(other.meta["categories"])
        given, transforms = ours.preprocess, other.transforms()
        assert given.size == (transforms.crop_size[0],) * 2
        assert int(given.size[0] / given.crop) == transforms.resize_size[0]
        assert given.resize == "crop"
        assert given.interpolation == transforms.interpolation.value
        if network == "googlenet":  # whose network shifts them to these by itself, at torchvision
            assert (given.mean, given.std) == ((0.5,) * 3, (0.5,) * 3)
        else:
            assert (given.mean, given.std) == (tuple(transforms.mean), tuple(transforms.std))


def test_googlenets_preprocessing_is_what_torchvisions_own_shift_amounts_to():
    import torch

    theirs = torchvision.models.googlenet(weights=None, transform_input=True, init_weights=False)
    images = torch.rand(1, 3, 4, 4)
    usual = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    torch.testing.assert_close(theirs._transform_input(usual), (images - 0.5) / 0.5)


@pytest.mark.parametrize("network", TORCHVISION)
def test_true_means_torchvisions_default(network):
    default = torchvision.models.get_model_weights(network).DEFAULT
    assert weights.get(network, True).name == default.name.lower()


@pytest.mark.parametrize(("network", "name"), ALL)
def test_the_hash_is_the_one_in_the_files_published_name(network, name):
    known = WEIGHTS[network][name]
    assert known.name == name
    published = re.fullmatch(r".+-([0-9a-f]{8})\.(pth|th)", known.file)[1]
    assert known.digest.startswith(f"sha256:{published}")
    assert all(url.startswith("https://") for url in known.urls)
    assert known.licence
    assert isinstance(known.preprocess, Preprocess)


@pytest.mark.parametrize("network", [name for name in WEIGHTS if name in networks.names()])
def test_the_network_has_the_published_parameters_and_takes_the_arguments(network):
    import torch

    known = weights.get(network)
    with torch.device("meta"):
        net = networks.create(network, num_classes=len(known.class_names), arguments=known.arguments)
    assert sum(p.numel() for p in net.parameters()) == known.parameters


def test_the_names_of_the_classes():
    assert len(class_names("imagenet")) == 1000
    assert class_names("imagenet")[0] == "tench"
    assert class_names("cifar10")[:2] == ("airplane", "automobile")
    with pytest.raises(UnknownNameError, match="'imagenet'"):
        class_names("imagnet")


def test_the_class_names_are_in_the_order_of_the_files_at_hand(real_data):
    lines = (real_data / "weights" / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    same = sum(ours.lower() in theirs.lower() for ours, theirs in zip(class_names("imagenet"), lines, strict=True))
    assert same >= 990  # torchvision tells a few synonyms apart


def test_unknown_names_are_told():
    assert weights.names("resnet50") == ["imagenet1k_v1", "imagenet1k_v2"]
    assert weights.names("lenet5") == []
    with pytest.raises(UnknownNameError, match="'imagenet1k_v1'"):
        weights.get("resnet18", "imagenet")
    with pytest.raises(LaminaError, match=r"No published weights are known for 'lenet5'.*alexnet"):
        weights.get("lenet5")
