"""MobileNet v2: the paper's counts, answers beside torchvision's, and the published weights on photographs."""

import numpy as np
import pytest
import torch
import torchvision

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.data.preprocess import Preprocess
from lamina.models.measure import Measure
from lamina.networks.mobilenet_v2 import MobileNetV2

# The paper's table 2: expansion, channels, how many, stride of the first.
TABLE_2 = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def test_the_parameters_and_operations_are_those_of_the_paper():
    by_hand, before = 27 * 32 + 2 * 32, 32
    for expansion, after, count, _ in TABLE_2:
        for _ in range(count):
            wide = expansion * before
            by_hand += (before * wide + 2 * wide if expansion > 1 else 0) + 9 * wide + 2 * wide
            by_hand += wide * after + 2 * after
            before = after
    by_hand += 320 * 1280 + 2 * 1280 + 1281 * 1000
    with torch.device("meta"):
        net = networks.create("mobilenet_v2").eval()
    found = sum(p.numel() for p in net.parameters())
    assert found == by_hand == 3_504_872
    assert found / 1e6 == pytest.approx(3.4, abs=0.11)  # table 4
    measure = Measure()
    with measure, torch.no_grad():
        net(torch.empty(1, 3, 224, 224, device="meta"))
    assert round(measure.multiply_adds / 1e6) == pytest.approx(300, abs=1)


@pytest.mark.parametrize("width", [1.0, 0.35])
def test_answers_and_gradients_are_torchvisions_in_both_modes(width, compare_with_torchvision, with_random_state):
    theirs = with_random_state(torchvision.models.MobileNetV2(width_mult=width))
    compare_with_torchvision(MobileNetV2(width=width), theirs, sides=(64, 75), batch=4)


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5, 0.75, 1.3, 1.4])
def test_any_width_has_torchvisions_shapes(width):
    with torch.device("meta"):
        ours, theirs = MobileNetV2(width=width), torchvision.models.MobileNetV2(width_mult=width)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_tensorflows_padding_has_the_same_keys_and_shifts_the_windows_of_a_stride_of_2():
    torch.manual_seed(0)
    even, tensorflow = MobileNetV2(5, width=0.1).eval(), MobileNetV2(5, width=0.1, padding="same").eval()
    tensorflow.load_state_dict(even.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 64)
    assert not torch.allclose(even(images), tensorflow(images))
    first = tensorflow.features[0]
    by_hand = torch.nn.functional.conv2d(torch.nn.functional.pad(images, (0, 1, 0, 1)), first[0].weight, stride=2)
    torch.testing.assert_close(first[0](images), by_hand)


def test_maps_have_the_sizes_and_channels_that_are_told_and_are_not_changed_afterwards():
    net = MobileNetV2(5, width=0.5, in_channels=1).eval()
    seen = []
    for index in (1, 3, 6, 13, 18):
        net.features[index].register_forward_hook(lambda _, __, value: seen.append(value.clone()))
    maps = net.features(torch.randn(1, 1, 64, 96))
    assert all(torch.equal(one, other) for one, other in zip(maps.values(), seen, strict=True))
    assert net.feature_dims == {2: 8, 4: 16, 8: 16, 16: 48, 32: 1280}
    assert {s: tuple(m.shape[1:]) for s, m in maps.items()} == {
        stride: (dim, 64 // stride, 96 // stride) for stride, dim in net.feature_dims.items()
    }


def test_a_width_or_padding_that_is_none_is_refused():
    with pytest.raises(LaminaError, match=r"width is 0\.0"):
        MobileNetV2(width=0.0)
    with pytest.raises(LaminaError, match="padding is 'SAME'"):
        MobileNetV2(padding="SAME")


# The cat of chelsea_cat (tabby, 281 to 285) and the vehicle (moped 665, scooter 670) are near ties that the padding decides.
@pytest.mark.parametrize(
    ("padding", "close"), [("torch", {"chelsea_cat": 282}), ("same", {"chelsea_cat": 285, "motorcycle": 670})]
)
def test_published_weights_know_photographs(real_data, padding, close):
    net = networks.create("mobilenet_v2", arguments={"padding": padding}).eval()
    file = np.load(real_data / "weights" / "mobilenet_v2_1.0_224_imagenet.npz")
    missing, unexpected = net.load_state_dict({k: torch.from_numpy(file[k]) for k in file.files}, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    photos = {"cat": 285, "coffee": 967, "parrot": 88, "bird": 19, "dragonfly": 319, "sunflower": 985}
    photos |= {"grace_hopper": 667} | close
    preprocess = Preprocess(size=(224, 224), crop=0.875, mean=(128 / 255,), std=(128 / 255,))
    images = preprocess.normalize()(preprocess.stack([real_data / "photos" / f"{name}.jpg" for name in photos]))
    with torch.inference_mode():
        answers = net(images).argmax(1).tolist()
    assert dict(zip(photos, answers, strict=True)) == photos
