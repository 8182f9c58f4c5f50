import pytest
import torch

from lamina.nn import SamePad2d, same_padding


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "dilation", "pads"),
    [
        (13, 6, 5, 1, (1, 2)),  # the example of TensorFlow's "Notes on padding"
        (28, 3, 1, 1, (1, 1)),
        (28, 2, 1, 1, (0, 1)),
        (28, 3, 2, 1, (0, 1)),
        (27, 3, 2, 1, (1, 1)),
        (28, 2, 2, 1, (0, 0)),
        (10, 3, 1, 2, (2, 2)),
        (5, 1, 3, 1, (0, 0)),
    ],
)
def test_pads_as_tensorflow_documents(size, kernel_size, stride, dilation, pads):
    assert same_padding(size, kernel_size, stride=stride, dilation=dilation) == pads


def test_pads_each_axis_by_its_own_rule_with_the_given_value():
    pad = SamePad2d((3, 2), stride=(2, 1), value=-7.0)
    padded = pad(torch.zeros(1, 1, 4, 3))
    assert padded.shape == (1, 1, 5, 4)
    assert padded[0, 0, 4].eq(-7).all()
    assert padded[0, 0, :, 3].eq(-7).all()
    assert padded[0, 0, :4, :3].eq(0).all()


def test_follows_the_size_of_the_image_at_run_time():
    pad = SamePad2d((3, 3), stride=(2, 2))
    assert pad(torch.zeros(1, 1, 8, 9)).shape == (1, 1, 9, 11)
