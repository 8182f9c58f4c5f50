"""Networks by their names: what a list says of them, and what `create` makes where nothing else is said."""

import inspect

import pytest
import torch

from lamina import networks
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.networks.headlines import HEADLINES


def test_every_network_has_a_line_of_its_own_that_fits_a_list():
    assert sorted(HEADLINES) == networks.names()
    for name in networks.names():
        assert 10 < len(networks.headline(name)) <= 42, name
    families = [name.rstrip("0123456789") for name in networks.names()]
    for name, family in zip(networks.names(), families, strict=True):
        if families.count(family) == 1:
            assert list(HEADLINES.values()).count(HEADLINES[name]) == 1, name


@pytest.mark.parametrize("name", networks.names())
def test_a_network_that_nobody_says_more_of_is_its_paper_s(name):
    with torch.device("meta"):
        net = networks.create(name)
    made_of = networks.architecture(net)["arguments"]
    assert made_of == {key: networks.default(name, key) for key in ("num_classes", "in_channels")}
    assert net.in_channels == (1 if name in {"lenet5", "deepconvnet", "fastconvnet"} else 3)


def test_lenet5_by_name_has_the_paper_s_parameters():
    assert sum(p.numel() for p in networks.create("lenet5").parameters()) == 60_850


def test_somebody_s_own_network_is_told_three_channels_where_nobody_says_how_many(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from torch import nn\ndef net(in_channels, num_classes=2):\n    return nn.Conv2d(in_channels, 2, 1)\n"
    )
    assert networks.create(f"{own}:net").in_channels == 3
    assert networks.create(f"{own}:net", in_channels=1).in_channels == 1


@pytest.mark.parametrize("argument", ["num_classes", "in_channels"])
@pytest.mark.parametrize("count", [0, -1, 2.0, "ten"])
def test_what_counts_no_classes_or_channels_is_refused(argument, count):
    with pytest.raises(LaminaError, match=rf"'resnet18' was given {argument}={count!r}\. A whole number"):
        networks.create("resnet18", **{argument: count})


def test_networks_take_no_arguments_unseen():
    for name in networks.names():
        kinds = {parameter.kind for parameter in inspect.signature(networks._NETWORKS[name]).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, name


def test_a_name_that_only_timm_knows_is_told_with_its_prefix():
    pytest.importorskip("timm")
    with pytest.raises(UnknownNameError, match="timm has it: write timm/efficientnet_b0"):
        networks.check_name("efficientnet_b0")
    with pytest.raises(UnknownNameError, match="Use one of these"):
        networks.check_name("resnet19")
