"""Networks are filled whole or not at all, and the error names what does not fit and why."""

import numpy as np
import pytest
import torch
from torch import nn

from lamina import networks
from lamina.core.errors import FileFormatError, LaminaError, UnknownNameError
from lamina.networks import keys, load, weights
from lamina.networks.load import Filled, fill, pretrained
from lamina.networks.weights import Weights


@pytest.fixture(autouse=True)
def few_networks(monkeypatch):
    """Hints compare with every network there is; four will do."""
    monkeypatch.setattr(networks, "names", lambda: ["airbench", "cifar_resnet20", "cifar_resnet32", "fastconvnet"])


class Pair(nn.Module):
    """Two class layers behind a body, and an optional part."""

    def __init__(self, classes=3, *, aux=True):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.aux = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, classes)) if aux else None
        self.fc = nn.Linear(4, classes)


def test_every_tensor_is_copied_by_name():
    source, net = Pair(), Pair()
    told = fill(net, source.state_dict(), "a.pth")
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in source.state_dict().items())
    assert told == Filled("a.pth", len(source.state_dict()))
    assert str(told) == "a.pth: 13 tensors."


def test_half_precision_weights_fill_a_single_precision_network():
    net = Pair()
    fill(net, {key: value.half() for key, value in Pair().state_dict().items()}, "a.pth")
    assert net.fc.weight.dtype == torch.float32


def test_the_counter_of_batchnorm_may_lack_as_it_does_in_old_files():
    state = {key: value for key, value in Pair().state_dict().items() if "num_batches" not in key}
    assert fill(Pair(), state, "a.pth").tensors == 12


@pytest.mark.parametrize("how", ["missing", "unexpected", "shape"])
def test_what_does_not_fit_is_listed_by_name_and_nothing_is_filled(how):
    state, net = Pair().state_dict(), Pair()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    if how == "missing":
        del state["body.0.bias"]
    elif how == "unexpected":
        state["tail.weight"] = torch.zeros(1)
    else:
        state["body.0.weight"] = torch.zeros(4, 3, 5, 5)
    text = {
        "missing": r"Missing: body\.0\.bias\.",
        "unexpected": r"Unexpected: tail\.weight\.",
        "shape": r"Of another shape: body\.0\.weight \(4, 3, 5, 5\) for \(4, 3, 3, 3\)\.",
    }
    with pytest.raises(FileFormatError, match=rf"a\.pth do not fit the network\. {text[how]}"):
        fill(net, state, "a.pth", class_layers=("fc",))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_long_lists_are_cut_and_counted():
    net = nn.Sequential(*(nn.Linear(1, 1) for _ in range(10)))
    with pytest.raises(FileFormatError, match=r"Missing: 0\.weight, .*3\.bias and 12 more\."):
        fill(net, {}, "a.pth")


def test_class_layers_for_other_classes_keep_fresh_values_and_that_is_told():
    source, net = Pair(7), Pair(3)
    before = net.fc.weight.clone()
    told = fill(net, source.state_dict(), "a.pth", class_layers=("fc", "aux.1"))
    assert torch.equal(net.fc.weight, before)
    assert torch.equal(net.body[0].weight, source.body[0].weight)
    assert torch.equal(net.aux[0].weight, source.aux[0].weight)
    assert told.fresh == ("fc", "aux.1")
    assert str(told) == (
        "a.pth: 9 tensors; the class layers fc, aux.1 are new and untrained (7 classes there, 3 here)."
    )


def test_a_file_without_a_class_layer_fills_the_rest_and_says_so():
    state = {key: value for key, value in Pair().state_dict().items() if not key.startswith("fc")}
    told = fill(Pair(), state, "a.npz", class_layers=("fc",))
    assert str(told).endswith("the class layer fc is new and untrained (the file has none).")


@pytest.mark.parametrize("broken", ["half of it", "other width"])
def test_a_class_layer_that_differs_in_more_than_classes_is_an_error(broken):
    state = Pair(7).state_dict()
    if broken == "half of it":
        del state["fc.bias"]
    else:
        state["fc.weight"] = torch.zeros(7, 5)
    with pytest.raises(FileFormatError, match=r"fc\."):
        fill(Pair(3), state, "a.pth", class_layers=("fc", "aux.1"))


def test_without_class_layers_named_other_classes_are_an_error_that_says_how_many():
    net = networks.create("cifar_resnet20", num_classes=3)
    with pytest.raises(
        FileFormatError, match=r"network 'cifar_resnet20'\..* a network with 10 classes, and this one has 3"
    ):
        fill(net, networks.create("cifar_resnet20", num_classes=10).state_dict(), "a.pth")


def test_optional_parts_are_left_out_where_the_network_has_none():
    told = fill(Pair(aux=False), Pair().state_dict(), "a.pth", optional=("aux",))
    assert told.left_out == ("aux",)
    assert "aux of the file left out" in str(told)
    assert fill(Pair(), Pair().state_dict(), "a.pth", optional=("aux",)).left_out == ()
    with pytest.raises(FileFormatError, match=r"Unexpected: aux\.0\.weight"):
        fill(Pair(aux=False), Pair().state_dict(), "a.pth")


def small(name, **told):
    return networks.create(name, **told).state_dict()


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (lambda: {f"module.{k}": v for k, v in small("cifar_resnet20").items()}, "begin with 'module.'"),
        (lambda: small("fastconvnet"), "They are those of 'fastconvnet' with 10 classes"),
        (lambda: small("cifar_resnet32", num_classes=100), "those of 'cifar_resnet32' with 100 classes"),
        (
            lambda: small("cifar_resnet20", in_channels=1),
            "takes 1 channels, and this one 3: build it with in_channels=1",
        ),
        (lambda: {"a": torch.zeros(1)}, "No name is in both"),
        (lambda: {k: v for k, v in small("cifar_resnet20").items() if k != "bn1.bias"}, "arguments"),
        (lambda: small("airbench", arguments={"width": 0.25}), "names are those of 'airbench', in another width"),
    ],
)
def test_a_hint_says_what_the_weights_look_like(state, text):
    with pytest.raises(FileFormatError, match=text):
        fill(networks.create("cifar_resnet20", num_classes=10), state(), "a.pth")


def test_folded_batchnorm_is_recognised():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    with pytest.raises(FileFormatError, match="It has no BatchNorm: that was folded"):
        fill(net, nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict(), "a.pth")


def test_a_module_that_renames_its_keys_by_a_hook_still_may():
    net = nn.Linear(2, 2)

    def rename(_, state, prefix, *__):
        state[f"{prefix}weight"] = state.pop(f"{prefix}kernel")

    net.register_load_state_dict_pre_hook(rename)
    fill(net, {"kernel": torch.ones(2, 2), "bias": torch.ones(2)}, "a.pth")
    assert net.weight.sum() == 4
    with pytest.raises(FileFormatError, match="do not fit the network"):
        fill(net, {"kernel": torch.ones(3, 2), "bias": torch.ones(2)}, "a.pth")


# Published weights ------------------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch, tmp_path):
    """cifar_resnet20 with weights that lie in the cache already."""
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    net = networks.create("cifar_resnet20", num_classes=10)
    path = tmp_path / "weights" / "resnet20.th"
    path.parent.mkdir()
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}, "best_prec1": 91.0}, path)
    import hashlib

    told = weights.get("cifar_resnet20")
    changed = {field: getattr(told, field) for field in told.__dataclass_fields__}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed |= {"urls": ("http://127.0.0.1:1/resnet20.th",), "digest": f"sha256:{digest[:8]}"}
    monkeypatch.setitem(weights.WEIGHTS, "cifar_resnet20", {"cifar10": Weights(**changed)})
    return net, path


@pytest.mark.parametrize("told", [True, "cifar10", "path"])
def test_pretrained_is_true_or_a_name_or_a_path(published, told):
    source, path = published
    found = pretrained("cifar_resnet20", path if told == "path" else told)
    net = networks.create("cifar_resnet20", num_classes=10, arguments=found.arguments)
    assert str(found.fill(net)) == f"cifar_resnet20 cifar10: {len(source.state_dict())} tensors."
    assert torch.equal(net.linear.weight, source.linear.weight)
    assert found.weights.class_names[0] == "airplane"


def test_a_network_for_other_classes_gets_all_but_its_class_layer(published):
    net = networks.create("cifar_resnet20", num_classes=2)
    told = pretrained("cifar_resnet20", True).fill(net)
    assert told.fresh == ("linear",)
    assert "10 classes there, 2 here" in str(told)


def test_a_file_of_ones_own_has_no_published_facts(published, tmp_path):
    _, path = published
    own = tmp_path / "own.npz"
    np.savez(own, **{key: value.numpy() for key, value in published[0].state_dict().items()})
    found = pretrained("cifar_resnet20", str(own))
    assert found.weights is None
    assert found.arguments == {}
    assert found.source == str(own)
    path.write_bytes(b"other bytes under a published name")
    with pytest.raises(FileFormatError, match="no file of weights"):
        pretrained("cifar_resnet20", path)


def test_a_published_file_is_known_by_its_hash_whatever_it_is_called(published, tmp_path):
    _, path = published
    other = tmp_path / "renamed.th"
    other.write_bytes(path.read_bytes())
    assert pretrained("cifar_resnet20", other).source == "cifar_resnet20 cifar10"


def test_a_file_without_optional_parts_needs_the_network_without_them(tmp_path):
    for auxiliary, told in ((False, {"auxiliary": False}), (True, {})):
        net = networks.create("googlenet", num_classes=3, arguments={"auxiliary": auxiliary})
        torch.save(net.state_dict(), tmp_path / "g.pth")
        assert pretrained("googlenet", tmp_path / "g.pth").arguments == told
    assert pretrained("resnet18", tmp_path / "g.pth").arguments == {}


def test_false_is_none():
    assert pretrained("cifar_resnet20", False) is None


def test_unknown_weights_and_networks_without_any_are_told():
    with pytest.raises(UnknownNameError, match=r"no weights of resnet50 called 'imagenet1k_v3'.*'imagenet1k_v2'"):
        pretrained("resnet50", "imagenet1k_v3")
    with pytest.raises(LaminaError, match="No published weights are known for 'mobilenet_v1'"):
        pretrained("mobilenet_v1", True)
    with pytest.raises(FileFormatError, match=r"weights\.pth is not there"):
        pretrained("mobilenet_v1", "weights.pth")
    with pytest.raises(LaminaError, match=r"The address https://host/resnet18\.pth was given.*Fetch the file yourself"):
        pretrained("resnet18", "https://host/resnet18.pth")


# Key maps ---------------------------------------------------------------------------------------------------------


def test_densenet_keys_of_torchvisions_file_become_ours():
    state = networks.create("densenet121", num_classes=3, arguments={"growth_rate": 4}).state_dict()
    old = {key.replace(".norm1.", ".norm.1.").replace(".norm2.", ".norm.2."): value for key, value in state.items()}
    old = {key.replace(".conv1.", ".conv.1.").replace(".conv2.", ".conv.2."): value for key, value in old.items()}
    assert old.keys() != state.keys()
    assert keys.recognised(old) == "densenet"
    assert keys.renamed(old, "densenet").keys() == state.keys()
    assert keys.recognised(state) is None


def test_folded_batchnorm_of_mobilenet_v1_is_put_back_exactly():
    torch.manual_seed(0)
    net = networks.create("mobilenet_v1", num_classes=3, arguments={"width": 0.25}).eval()
    folded = {"fc.weight": net.fc.weight, "fc.bias": net.fc.bias}
    for name in [f"block{n}.{part}" for n in range(1, 14) for part in ("dw", "pw")] + ["conv0"]:
        folded[f"{name}.weight"] = net.get_submodule(f"features.{name}.conv").weight
        folded[f"{name}.bias"] = torch.randn(len(folded[f"{name}.weight"]))
    made = keys.renamed(folded, keys.recognised(folded))
    fill(net, made, "a.npz")
    x = torch.randn(1, 3, 32, 32)
    conv, bn = net.features.conv0.conv, net.features.conv0.bn
    torch.testing.assert_close(bn(conv(x)), conv(x) + folded["conv0.bias"].view(1, -1, 1, 1))


def test_key_maps_that_weights_name_are_there():
    used = {w.keys for known in weights.WEIGHTS.values() for w in known.values()} - {None}
    assert used <= set(keys.names())
    with pytest.raises(UnknownNameError):
        keys.renamed({}, "densnet")


def test_the_old_names_of_the_book_are_still_here():
    assert callable(load.book_state)
    assert callable(load.read_arrays)
