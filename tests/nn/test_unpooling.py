"""Unpooling by switches is torch's by indices."""

import torch
import torch.nn.functional as F

from lamina.nn import ConvNorm, pad_to_multiple, switches, unpool


def test_values_go_back_to_where_they_were_the_maximum():
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 6, 8).relu()  # whose zeros tie
    pooled, places = F.max_pool2d(maps, 2, return_indices=True)
    values = torch.randn_like(pooled)
    assert torch.equal(unpool(values, switches(maps)), F.max_unpool2d(values, places, 2))


def test_exactly_one_pixel_of_four_is_chosen_where_all_are_equal():
    chosen = switches(torch.zeros(1, 1, 4, 4))
    assert chosen.sum(2).eq(1).all()
    assert chosen[:, :, 0].all()


def test_gradients_are_those_of_torch_s():
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 4, 4)
    pooled, places = F.max_pool2d(maps, 2, return_indices=True)
    weights = torch.randn_like(maps)
    gradients = []
    for back in (lambda x: unpool(x, switches(maps)), lambda x: F.max_unpool2d(x, places, 2)):
        values = pooled.clone().requires_grad_()
        (back(values) * weights).sum().backward()
        gradients.append(values.grad)
    assert torch.equal(*gradients)


def test_pictures_are_padded_below_and_to_the_right():
    padded = pad_to_multiple(torch.ones(1, 1, 5, 8), 4)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[..., :5, :].all()
    assert not padded[..., 5:, :].any()


def test_a_convolution_without_batch_norm_has_a_bias():
    assert [name for name, _ in ConvNorm(2, 3).named_parameters()] == ["0.weight", "1.weight", "1.bias"]
    assert [name for name, _ in ConvNorm(2, 3, batch_norm=False).named_parameters()] == ["0.weight", "0.bias"]
    assert ConvNorm(2, 3, 5, dilation=2)(torch.zeros(2, 2, 9, 9)).shape == (2, 3, 9, 9)
