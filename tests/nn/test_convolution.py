"""SameConv2d: TensorFlow's padding at a stride, with torch's keys; and strided depthwise convolutions in bfloat16."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.core.errors import LaminaError
from lamina.nn import SameConv2d, SamePad2d, StridedDepthwiseConv2d, padded_conv2d


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (8, 9), (1, 2)])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (3, 1, 1), (5, 3, 1), (2, 2, 1), (3, 2, 2)])
def test_it_is_a_plain_convolution_of_the_padded_picture(size, kernel, stride, dilation):
    conv = SameConv2d(4, 6, kernel, stride, dilation=dilation, groups=2)
    images = torch.randn(2, 4, *size)
    pad = SamePad2d((kernel, kernel), stride=(stride, stride), dilation=(dilation, dilation))
    expected = F.conv2d(pad(images), conv.weight, conv.bias, stride, 0, dilation, 2)
    torch.testing.assert_close(conv(images), expected)
    assert conv(images).shape[2:] == tuple(-(-side // stride) for side in size)


def test_keys_and_initial_values_are_those_of_a_torch_convolution():
    torch.manual_seed(0)
    ours = SameConv2d(4, 6, 3, 2).state_dict()
    torch.manual_seed(0)
    theirs = nn.Conv2d(4, 6, 3, 2).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_channels_last_stays_channels_last():
    conv = SameConv2d(4, 8, 3, 2).to(memory_format=torch.channels_last)
    images = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    assert conv(images).is_contiguous(memory_format=torch.channels_last)


def test_at_a_stride_of_1_both_paddings_are_a_plain_convolution():
    for padding in ("torch", "same"):
        assert type(padded_conv2d(4, 4, 3, padding=padding)) is nn.Conv2d
    assert type(padded_conv2d(4, 4, 3, 2, padding="torch")) is nn.Conv2d
    assert type(padded_conv2d(4, 4, 3, 2, padding="same")) is SameConv2d
    assert type(padded_conv2d(4, 4, 3, 2, groups=4, padding="torch")) is StridedDepthwiseConv2d


def test_an_unknown_padding_is_refused():
    with pytest.raises(LaminaError, match="padding is 'valid'"):
        padded_conv2d(4, 4, 3, padding="valid")


def test_it_says_how_it_pads():
    assert str(SameConv2d(4, 6, 3, 2)) == "SameConv2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=same)"


@pytest.mark.parametrize("padding", ["torch", "same"])
def test_a_strided_depthwise_convolution_in_bfloat16_has_the_gradients_of_a_plain_one(padding):
    """The images' to a rounding of bfloat16, the weights' to the bit. Of 9 px both paddings are alike."""
    torch.manual_seed(0)
    conv = padded_conv2d(8, 8, 3, 2, groups=8, padding=padding).to(memory_format=torch.channels_last)
    images = torch.randn(2, 8, 9, 9).contiguous(memory_format=torch.channels_last)

    def gradients(run, weight, given):
        given = given.detach().requires_grad_()
        answer = run(given)
        back = torch.linspace(-1, 1, answer.numel()).view_as(answer).to(answer.dtype)
        return answer, *torch.autograd.grad(answer, (given, weight), back)

    def plain(given):
        return F.conv2d(given, conv.weight, None, 2, 1, 1, 8)

    exact = gradients(plain, conv.weight, images)
    with torch.autocast("cpu", torch.bfloat16):
        made, wanted = (gradients(run, conv.weight, images.bfloat16()) for run in (conv, plain))
    assert made[0].grad_fn.name() == "_StridedBackward"
    assert made[0].dtype == torch.bfloat16
    assert torch.equal(made[0], wanted[0])
    assert torch.equal(made[2], wanted[2])
    torch.testing.assert_close(made[1], wanted[1], rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(made[1].float(), exact[1], rtol=2e-2, atol=2e-2)
    assert made[1].is_contiguous(memory_format=torch.channels_last)


def test_a_strided_depthwise_convolution_is_a_plain_one_in_float32_and_where_nothing_is_differentiated():
    conv, images = StridedDepthwiseConv2d(8, 3, 2, padding=1), torch.randn(2, 8, 9, 9)
    assert "Convolution" in conv(images).grad_fn.name()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(conv(images.bfloat16()), F.conv2d(images, conv.weight, None, 2, 1, 1, 8))


def test_a_strided_depthwise_convolution_of_a_single_pixel_learns_from_it_alone():
    """oneDNN's gradient in bfloat16 has whatever lay in memory at the kernel's other eight places: here as often as not NaN."""
    conv = StridedDepthwiseConv2d(16, 3, 2, padding=1)
    images = torch.ones(2, 16, 1, 1, dtype=torch.bfloat16)
    for _ in range(10):
        waste = [torch.full((size,), torch.nan, dtype=torch.bfloat16) for size in (16, 64, 144, 256, 1024) * 20]
        del waste
        conv.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            conv(images).sum().backward()
        expected = torch.zeros(16, 1, 3, 3)
        expected[:, :, 1, 1] = 2
        assert torch.equal(conv.weight.grad, expected)
