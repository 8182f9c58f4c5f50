"""Somebody's own networks by path: for a person who names one, never for a file."""

import dataclasses
import json
import sys

import pytest
import torch
from torch import nn

import lamina
from lamina import models, networks
from lamina.core import sealed
from lamina.core.errors import FileFormatError, LaminaError, UnknownNameError
from lamina.models import file

OWN = """
'''Mine.'''
import pathlib
from torch import nn

pathlib.Path(__file__).with_name("ran").touch()

class Net(nn.Sequential):
    '''My net.'''
    def __init__(self, num_classes=4, *, in_channels=3, width=2):
        super().__init__(nn.Conv2d(in_channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

def fixed():
    return nn.Flatten()

def anything(**options):
    return nn.Linear(1, options["width"])

def number():
    return 3
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own_net.py"
    path.write_text(OWN)
    return path


def test_a_class_in_a_file_is_told_classes_channels_and_further_arguments(own):
    net = networks.create(f"{own}:Net", num_classes=7, in_channels=1, arguments={"width": 5})
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    assert net[0].out_channels == 5
    assert networks.arguments(f"{own}:Net") == ["num_classes", "in_channels", "width"]
    assert networks.headline(f"{own}:Net") == "My net."


def test_a_function_need_not_take_classes_and_channels_but_what_else_it_is_given_it_must(own):
    assert isinstance(networks.create(f"{own}:fixed", num_classes=7), nn.Flatten)
    with pytest.raises(LaminaError, match=r"was given width, image_size|was given image_size, width"):
        networks.create(f"{own}:fixed", image_size=3, arguments={"width": 5})
    assert networks.create(f"{own}:anything", arguments={"width": 5}).out_features == 5


def test_a_class_of_an_installed_package_is_found_by_its_module():
    net = networks.create("torchvision.models.resnet:resnet18", num_classes=3)
    assert type(net).__name__ == "ResNet"
    assert networks.architecture(net) is None


def test_a_classifier_takes_a_path_and_its_file_asks_for_the_module(own, tmp_path):
    x, y = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8).numpy(), torch.arange(8).remainder(2).numpy()
    classifier = lamina.Classifier(f"{own}:Net")
    classifier.fit(x, y, epochs=1, verbose=0, validation_split=0.0)
    saved = classifier.save(tmp_path / "own.safetensors")
    with pytest.raises(FileFormatError, match=r"holds the weights of your module own_net\.Net"):
        lamina.load(saved)
    again = lamina.load(saved, modules={"own_net.Net": networks.create(f"{own}:Net", num_classes=2)})
    assert (again.predict_probs(x) == classifier.predict_probs(x)).all()


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("{own}:Nett", UnknownNameError, "has no function 'Nett'. It has: Net"),
        ("{own}x.py:Net", LaminaError, "There is no file"),
        ("no_such_package.part:Net", LaminaError, "There is no module no_such_package.part"),
        ("torch.nn:NoSuchThing", UnknownNameError, "torch.nn has no function 'NoSuchThing'"),
        ("{own}:number", LaminaError, "gave something of the type int"),
        ("own net.py", LaminaError, "There is no network called"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(own, name, error, told):
    with pytest.raises(error, match=told):
        networks.create(name.format(own=own))


def test_checking_a_name_runs_nothing(own):
    networks.check_name(f"{own}:Net")
    assert not own.with_name("ran").exists()


def test_a_file_with_the_name_of_a_module_does_not_take_its_place(tmp_path):
    (tmp_path / "json.py").write_text(OWN)
    networks.create(f"{tmp_path / 'json.py'}:Net")
    assert sys.modules["json"] is json


def forged(path, network):
    """A model file of a small network that says it is of another, with a right hash."""
    contents = file.read(models.Model(networks.create("fastconvnet", in_channels=1)).save(path))
    text = json.dumps(contents.description | {"network": {"made_of": "network", **network}}, sort_keys=True)
    digest = sealed.digest(file.VERSION, text, contents.tensors)
    sealed.write(path, contents.tensors, {"format": "lamina", "version": file.VERSION, "model": text, "sha256": digest})
    return path


CODE = [
    "{own}:Net",
    "own_net:Net",
    "os:system",
    "own_net.py:Net",
    "http://host/net.py:Net",
    "timm/own_net.py:Net",
    "timm/own_net:Net",
]


@pytest.mark.parametrize("name", CODE)
def test_a_model_file_that_names_code_runs_none(own, tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = forged(tmp_path / "m.safetensors", {"name": name.format(own=own), "arguments": {}})
    with pytest.raises(FileFormatError, match="a file may name no code"):
        lamina.load(path)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileFormatError, match="a file may name no code"):
        networks.recreate(name.format(own=own), {})


@pytest.mark.parametrize("name", CODE)
def test_nor_does_one_that_names_code_to_stand_on(own, tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "own_net.py").write_text(own.read_text())
    under = {"backbone": name.format(own=own), "backbone_arguments": {}}
    deeper = {"backbone": "unet", "backbone_arguments": under}
    for arguments in (under, deeper):
        path = forged(tmp_path / "m.safetensors", {"name": "fcos", "arguments": {"num_classes": 2, **arguments}})
        with pytest.raises(FileFormatError, match="a file may name no code"):
            lamina.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_model_file_of_a_network_that_is_not_known_is_told_the_nearest(tmp_path):
    path = forged(tmp_path / "m.safetensors", {"name": "resnet81", "arguments": {}})
    with pytest.raises(FileFormatError, match=r"m\.safetensors describes cannot be made.*resnet18"):
        lamina.load(path)


@pytest.mark.parametrize("argument", ["pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir", "features_only"])
def test_a_network_of_timm_is_given_nothing_that_fetches_or_opens_files(tmp_path, argument):
    pytest.importorskip("timm")
    told = {argument: str(tmp_path / "evil.pth")}
    with pytest.raises(LaminaError, match=f"was given {argument}"):
        networks.create("timm/resnet18", arguments=told)
    path = forged(tmp_path / "m.safetensors", {"name": "timm/resnet18", "arguments": told})
    with pytest.raises(FileFormatError, match=f"was given {argument}"):
        lamina.load(path)


@pytest.mark.parametrize("name", ["hf-hub:somebody/net", "local-dir:/tmp/net", "resnet81"])
def test_a_name_that_timm_does_not_list_is_refused(name):
    pytest.importorskip("timm")
    with pytest.raises(UnknownNameError, match="There is no network called 'timm/"):
        networks.create(f"timm/{name}")


def test_a_model_file_of_a_network_of_timm_loads_again(tmp_path):
    pytest.importorskip("timm")
    net = networks.create("timm/mobilenetv3_small_050", num_classes=5, in_channels=1, dropout=0.3)
    assert net.drop_rate == 0.3
    networks.replace_head(net, 3)
    images = torch.rand(2, 1, 32, 32)
    saved = models.Model(net).save(tmp_path / "timm.safetensors")
    again = lamina.load(saved)
    assert torch.equal(again.net.eval()(images), net.eval()(images))
    assert networks.architecture(again.net) == {
        "name": "timm/mobilenetv3_small_050",
        "arguments": {"num_classes": 3, "in_channels": 1, "dropout": 0.3},
    }


def test_what_a_network_of_timm_takes_and_is():
    pytest.importorskip("timm")
    assert networks.arguments("timm/resnet18") == ["num_classes", "in_channels", "dropout"]
    assert "image_size" in networks.arguments("timm/vit_tiny_patch16_224")
    assert networks.headline("timm/resnet18") == "resnet18 of timm: PyTorch ResNet"
    assert networks.create("timm/test_vit", image_size=64, num_classes=2)(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    with pytest.raises(LaminaError, match="could not make 'resnet18'"):
        networks.create("timm/resnet18", arguments={"depht": 3})


def test_without_timm_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "lamina\[timm\]"'):
        networks.check_name("timm/resnet18")


def test_dataclasses_in_a_file_work(tmp_path):
    (tmp_path / "with_options.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass\nclass Options:\n    width: int = 3\n"
        "def net():\n    made = nn.Linear(1, Options().width)\n    made.options = Options()\n    return made\n"
    )
    made = networks.create(f"{tmp_path / 'with_options.py'}:net")
    assert dataclasses.asdict(made.options) == {"width": 3}


def test_a_file_without_a_name_tells_the_names_that_it_has_and_is_not_run(own):
    with pytest.raises(LaminaError, match=r"it has: Net, fixed, anything, number\. Write .*own_net\.py:number"):
        lamina.Classifier(str(own))
    assert not (own.parent / "ran").exists()
    with pytest.raises(LaminaError, match=r"no network called 'nowhere\.py', and no such file"):
        networks.create("nowhere.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import there_is_no_such_module", r"ModuleNotFoundError: .*there_is_no_such_module"),
        ("def net(:", r"SyntaxError: .*line 1"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_file_that_fails_is_named_with_its_failure(tmp_path, text, said):
    path = tmp_path / "failing_net.py"
    path.write_text(text)
    with pytest.raises(LaminaError, match=f"failing_net.py fails when it is run \\({said}"):
        networks.create(f"{path}:net")
