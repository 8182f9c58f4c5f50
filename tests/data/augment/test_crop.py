"""Crops by definition, and resampled ones beside torchvision's."""

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from lamina.core.errors import ShapeError
from lamina.data.augment import RandomCrop, RandomResizedCrop, RandomShift


def noise(batch=6, height=9, width=12):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255


def uniforms(batch, draws, seed=1):
    return torch.rand(batch, draws, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("size", [None, 7, (8, 11)])
def test_a_crop_is_torchvisions_pad_and_crop(mode, size):
    numbers = uniforms(6, 2)
    cropped = RandomCrop(3, size=size, padding_mode=mode)(noise(), numbers)
    height, width = (9, 12) if size is None else (size, size) if isinstance(size, int) else size
    for image, (across, down), ours in zip(noise(), numbers.tolist(), cropped, strict=True):
        left, top = int(across * (12 + 6 - width + 1)), int(down * (9 + 6 - height + 1))
        padded = tv.pad(image, [3], padding_mode=mode)
        assert torch.equal(ours, tv.crop(padded, top, left, height, width))


def test_a_crop_as_large_as_the_image_is_a_shift_to_the_other_side():
    numbers = uniforms(6, 2)
    assert torch.equal(RandomCrop(2)(noise(), 1 - numbers), RandomShift(2)(noise(), numbers))


def test_all_windows_are_equally_likely():
    image = torch.arange(25.0).view(1, 1, 5, 5).expand(9000, 1, 5, 5)
    corners = RandomCrop(size=3)(image, uniforms(9000, 2))[:, 0, 0, 0]
    assert sorted(corners.unique().tolist()) == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    assert (corners.unique(return_counts=True)[1] - 1000).abs().max() < 120
    last = torch.tensor([[1 - 2**-24, 1 - 2**-24]])
    assert RandomCrop(size=3)(image[:1], last)[0, 0, 2, 2] == 24


def test_a_window_larger_than_the_image_and_a_border_wider_than_it_are_refused():
    with pytest.raises(ShapeError, match=r"9 x 12 px.*hold the window"):
        RandomCrop(1, size=13)(noise(), uniforms(6, 2))
    with pytest.raises(ShapeError, match="mirrored border"):
        RandomCrop(9, padding_mode="reflect")(noise(), uniforms(6, 2))


@pytest.mark.parametrize("size", [8, (20, 30), (5, 40)])  # smaller, larger and mixed
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
def test_a_resized_crop_is_torchvisions_with_antialias(size, scale):
    images, transform = noise(6, 33, 21), RandomResizedCrop(size, scale=scale)
    numbers = uniforms(6, 4)
    boxes = torch.stack(transform.boxes(numbers, 33, 21), 1).int().tolist()
    for image, (left, top, width, height), ours in zip(images, boxes, transform(images, numbers), strict=True):
        wanted = tv.resized_crop(image, top, left, height, width, [size] * 2 if isinstance(size, int) else list(size))
        torch.testing.assert_close(ours, wanted, atol=0.01, rtol=0)


def test_windows_have_the_areas_and_shapes_that_were_asked_for():
    transform = RandomResizedCrop(224, scale=(0.1, 0.5), ratio=(0.5, 2.0))
    left, top, width, height = transform.boxes(uniforms(20000, 4), 1000, 1000)
    area, shape = width * height / 1e6, width / height
    assert 0.099 < area.min() < area.max() < 0.501
    assert 0.49 < shape.min() < shape.max() < 2.01
    assert area.mean() == pytest.approx(0.3, abs=0.005)
    assert shape.log().mean() == pytest.approx(0, abs=0.01)
    assert (shape < 1).float().mean() == pytest.approx(0.5, abs=0.02)
    assert min(left.min(), top.min()) >= 0
    assert max((left + width).max(), (top + height).max()) <= 1000
    assert (left / (1001 - width)).mean() == pytest.approx(0.5, abs=0.01)


def test_a_window_that_is_too_long_is_cut_to_the_side():
    _, _, width, height = RandomResizedCrop(8, scale=(1, 1), ratio=(3, 3)).boxes(uniforms(1, 4), 30, 30)
    assert (width.item(), height.item()) == (30, 17)
