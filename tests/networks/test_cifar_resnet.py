"""The CIFAR ResNets against their paper's figures, by definition, and with published weights."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import networks
from lamina.networks.cifar_resnet import CifarResNet


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_the_parameters_are_those_of_the_paper(depth, parameters):
    # n blocks a stage: two 3x3 convolutions and two BatchNorms each, the first of a stage from half the channels.
    n = (depth - 2) // 6
    by_hand = 3 * 9 * 16 + 32 + 64 * 10 + 10
    for fan, width in ((16, 16), (16, 32), (32, 64)):
        by_hand += fan * width * 9 + width * width * 9 * (2 * n - 1) + 2 * 2 * width * n
    net = networks.create(f"cifar_resnet{depth}")
    assert sum(p.numel() for p in net.parameters()) == by_hand == parameters


def test_layers_are_counted_as_in_the_paper():
    weighted = [m for m in CifarResNet(56).modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(weighted) == 56


@pytest.mark.parametrize("side", [32, 45])
@pytest.mark.parametrize("shortcut", ["pad", "projection", "none"])
def test_any_size_and_shortcut_gives_logits_and_every_parameter_a_gradient(side, shortcut):
    net = CifarResNet(8, num_classes=7, in_channels=1, shortcut=shortcut)
    logits = net(torch.randn(2, 1, side, side))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_rows_do_not_see_each_other_in_eval_mode():
    net = CifarResNet(8).eval()
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


def test_a_padded_shortcut_is_every_second_pixel_between_zeros():
    net = CifarResNet(8)
    x = torch.randn(1, 16, 6, 6)
    y = net.layer2[0].shortcut(x)
    assert y.shape == (1, 32, 3, 3)
    torch.testing.assert_close(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_an_unknown_shortcut_is_refused_and_not_left_out():
    with pytest.raises(ValueError, match=r"shortcut is 'padding'\. There are pad, projection, none"):
        CifarResNet(8, shortcut="padding")


def test_a_depth_that_is_no_6n_plus_2_is_refused():
    with pytest.raises(ValueError, match="6n \\+ 2"):
        CifarResNet(18)


def test_published_weights_classify_the_test_pictures_as_their_source_says(real_data):
    state = np.load(real_data / "weights" / "resnet20_cifar10.npz")
    net = networks.create("cifar_resnet20").eval()
    missing, unexpected = net.load_state_dict({k: torch.from_numpy(state[k]) for k in state.files}, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    file = np.load(real_data / "cifar10" / "cifar10_test.npz")
    data, offsets = file["data"], file["offsets"]
    pictures = [np.asarray(Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]].tobytes()))) for i in range(1000)]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        answers = net((images - mean[:, None, None]) / std[:, None, None]).argmax(1)
    right = int((answers == torch.from_numpy(file["labels"][:1000].astype(np.int64))).sum())
    assert right == 804  # 80.4 % of lossy copies; 91.78 % of the real ones


def test_a_plain_twin_is_the_network_without_shortcuts():
    net = networks.create("cifar_plain20").eval()
    assert sum(p.numel() for p in net.parameters()) == 269_722
    x = torch.randn(1, 3, 32, 32)
    y = net.bn1(net.conv1(x)).relu()
    for block in (*net.layer1, *net.layer2, *net.layer3):
        y = block.bn2(block.conv2(block.bn1(block.conv1(y)).relu())).relu()
    torch.testing.assert_close(net(x), net.linear(y.mean((2, 3))))
