"""FCN: counts by hand, its bilinear beginning, and torchvision's head beside."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torchvision.models._utils import IntermediateLayerGetter

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.fcn import bilinear_kernel


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_the_parameters_on_vgg_are_counted_by_hand():
    score = (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 21
    skips = 2 * 16 * 21 * 21 + (512 + 1) * 21 + (256 + 1) * 21
    trunk = 14_714_688 + 8_448
    with torch.device("meta"):
        head = networks.fcn._dense(512, 21, 4096, dropout=0.5)
    assert count(head) == score == 119_631_893
    net = networks.create("fcn8s", num_classes=21, arguments={"hidden": 8})
    assert count(net.trunk) == trunk == 14_723_136
    assert count(net.skips) == skips == 30_282
    assert trunk + score + skips == 134_385_311


@pytest.mark.parametrize(("name", "skips"), [("fcn32s", []), ("fcn16s", ["16"]), ("fcn8s", ["16", "8"])])
def test_each_goes_down_to_its_stride(name, skips):
    net = networks.create(name, num_classes=2, arguments={"backbone": "vgg11_bn", "hidden": 4})
    assert list(net.skips) == skips
    assert [net.skips[each].score.in_channels for each in skips] == [512, 256][: len(skips)]  # pool4, pool3


def test_a_trunk_of_stride_64_has_no_skips():
    arguments = {"depth": 6, "width": 2}
    with pytest.raises(LaminaError, match=r"FCN-8s was asked for on UNetEncoder.*stride 64.*fcn32s"):
        networks.create_on("fcn8s", networks.create("unet_encoder", arguments=arguments), arguments={"num_classes": 2})
    net = networks.create_on(
        "fcn32s", networks.create("unet_encoder", arguments=arguments), arguments={"num_classes": 2}
    )
    assert net(torch.zeros(2, 3, 64, 70)).shape == (2, 2, 64, 70)


def test_pool4_and_pool3_are_the_maps_after_the_pooling():
    net = networks.create("fcn8s", num_classes=2, arguments={"backbone": "vgg11_bn", "hidden": 4}).eval()
    seen = {}
    for name, skip in net.skips.items():
        skip.score.register_forward_hook(lambda _, given, __, name=name: seen.update({name: given[0]}))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        net(images)
        x, pools = images, []
        for layer in net.trunk.net.features:
            x = layer(x)
            pools += [x] if isinstance(layer, torch.nn.MaxPool2d) else []
    assert torch.equal(seen["16"], pools[3])
    assert torch.equal(seen["8"], pools[2])


def test_a_transposed_convolution_begins_as_bilinear_interpolation():
    kernel = bilinear_kernel(2, 4)
    torch.testing.assert_close(kernel[0, 0, 0], torch.tensor([0.25, 0.75, 0.75, 0.25]) * 0.25)
    x = torch.randn(1, 2, 5, 6)
    up = F.conv_transpose2d(x, kernel, stride=2, padding=1)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_skips_add_nothing_at_first():
    torch.manual_seed(0)
    eight = networks.create("fcn8s", num_classes=2, arguments={"backbone": "resnet18"}).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = eight(images)
        for skip in eight.skips.values():
            assert not skip.score.weight.any()
            skip.score.weight.normal_()
        assert not torch.allclose(eight(images), before)


@pytest.mark.slow
def test_answers_on_resnet50_are_torchvision_s_with_its_weights(with_random_state):
    under = torchvision.models.resnet50(weights=None)
    theirs = torchvision.models.segmentation.FCN(
        IntermediateLayerGetter(under, {"layer4": "out"}), torchvision.models.segmentation.fcn.FCNHead(2048, 21)
    )
    _compare(networks.create("fcn32s", num_classes=21, arguments={"backbone": "resnet50"}), with_random_state(theirs))


def test_the_head_is_torchvision_s_with_its_weights(with_random_state):
    under = torchvision.models.resnet18(weights=None)
    theirs = torchvision.models.segmentation.FCN(
        IntermediateLayerGetter(under, {"layer4": "out"}), torchvision.models.segmentation.fcn.FCNHead(512, 5)
    )
    _compare(networks.create("fcn32s", num_classes=5, arguments={"backbone": "resnet18"}), with_random_state(theirs))


def _compare(ours, theirs):
    state = {name.replace("backbone.", "trunk.net."): value for name, value in theirs.state_dict().items()}
    own = {"classifier.0": "score.0.0", "classifier.1": "score.0.1", "classifier.4": "score.2"}
    for old, new in own.items():
        state = {new + name.removeprefix(old) if name.startswith(old + ".") else name: v for name, v in state.items()}
    ours.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images)["out"], rtol=1e-4, atol=1e-5)
