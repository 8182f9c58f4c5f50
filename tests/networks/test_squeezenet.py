"""SqueezeNet: the paper's table 1 row by row, torchvision's answers, and published weights."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lamina import networks
from lamina.core.errors import LaminaError, ShapeError
from lamina.networks.squeezenet import SqueezeNet

NAMES = ("squeezenet1_0", "squeezenet1_1")
# Table 1 of the paper, its column of parameters before pruning: conv1, fires 2 to 9, conv10.
ROWS_1_0 = [14_208, 11_920, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184, 513_000]
ROWS_1_1 = [1_792, 11_408, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184, 513_000]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("name", "rows", "total"), [(NAMES[0], ROWS_1_0, 1_248_424), (NAMES[1], ROWS_1_1, 1_235_496)])
def test_each_layer_has_the_parameters_of_the_paper_s_table(name, rows, total):
    net = networks.create(name)
    weighted = [module for module in net.features if count(module)]
    assert [count(module) for module in [*weighted, net.classifier]] == rows
    assert count(net) == sum(rows) == total


@pytest.mark.parametrize("name", NAMES)
def test_answers_and_gradients_are_torchvision_s(name, compare_with_torchvision, with_random_state):
    theirs = with_random_state(torchvision.models.get_model(name))
    compare_with_torchvision(networks.create(name), theirs, sides=(64, 97))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_features_are_the_last_maps_of_each_resolution(version):
    net = SqueezeNet(version, num_classes=3, in_channels=1).eval()
    images = torch.randn(2, 1, 224, 224)
    pooled = []
    for layer in net.features:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    with torch.no_grad():
        maps = net.features(images)
        assert all(one is other for one, other in zip(list(maps.values())[:3], pooled, strict=True))
        assert torch.equal(net.classifier(maps[16]), net(images))
    assert {stride: m.shape[1] for stride, m in maps.items()} == dict(net.feature_dims)
    sides = [109, 54, 27, 13] if version == "1.0" else [111, 55, 27, 13]
    assert [m.shape[-1] for m in maps.values()] == sides


def test_initial_values_are_he_s_uniform_ones_and_a_hundredth_for_the_classes():
    torch.manual_seed(0)
    net = SqueezeNet("1.1")
    bound = (6 / (64 * 9)) ** 0.5
    weight = net.features[12].expand3x3.weight.detach()
    assert bound * 0.99 < float(weight.abs().max()) <= bound
    assert net.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_an_unknown_version_and_small_pictures_are_refused():
    with pytest.raises(LaminaError, match=r"version is '1\.2'\. There are 1\.0 and 1\.1"):
        SqueezeNet("1.2")
    for version, smallest in (("1.0", 21), ("1.1", 17)):
        net = SqueezeNet(version, num_classes=2)
        assert net(torch.zeros(1, 3, smallest, smallest)).shape == (1, 2)
        with pytest.raises(ShapeError, match=f"{smallest} x {smallest} px"):
            net(torch.zeros(1, 3, smallest - 1, smallest))


def test_published_weights_know_the_photos(real_data):
    state = np.load(real_data / "weights" / "squeezenet1_1_imagenet.npz")
    net = networks.create("squeezenet1_1").eval()
    net.load_state_dict({name: torch.from_numpy(state[name]) for name in state.files}, strict=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    answers = {}
    for name in ("cat", "chelsea_cat", "coffee", "parrot", "bird", "dragonfly", "motorcycle", "sunflower"):
        with Image.open(real_data / "photos" / f"{name}.jpg") as file:
            picture = file.convert("RGB")
        scale = 256 / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        left, top = (width - 227) // 2, (height - 227) // 2
        picture = picture.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 227, top + 227))
        pixels = torch.from_numpy(np.array(picture)) / 255
        with torch.inference_mode():
            answers[name] = int(net(((pixels - mean) / std).permute(2, 0, 1)[None]).argmax())
    assert answers == {
        "cat": 285,
        "chelsea_cat": 285,
        "coffee": 967,
        "parrot": 88,
        "bird": 19,
        "dragonfly": 319,
        "motorcycle": 535,
        "sunflower": 309,
    }
