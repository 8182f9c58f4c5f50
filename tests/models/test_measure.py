import pytest
import torch
from torch import nn

from lamina.models.measure import Measure, field_of, mark, training_bytes


def measured(net, shape=(1, 3, 64, 48)):
    with torch.no_grad(), Measure() as measure:
        result = net.to("meta").eval()(mark(torch.zeros(shape, device="meta")))
    return measure.multiply_adds, field_of(result).pixels


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return torch.cat([x, self.conv(x) + x], 1)


@pytest.mark.parametrize(
    ("net", "pixels"),
    [
        (nn.Conv2d(3, 4, (3, 5)), (3, 5)),
        (nn.Conv2d(3, 4, 3, dilation=2), (5, 5)),
        (nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3)), (7, 7)),
        (nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.AvgPool2d(2)), (8, 8)),
        (nn.Sequential(nn.MaxPool2d(4), nn.Upsample(scale_factor=4.0), nn.Conv2d(3, 4, 3)), (6, 6)),
        (nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(3, 4, 4, 2), nn.Conv2d(4, 4, 3)), (6, 6)),
        (Residual(), (3, 3)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)), (3, 3)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)), (None, None)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), (3, 3)),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 48, 2)), (None, None)),
    ],
)
def test_receptive_field_is_the_formula_of_the_paper(net, pixels):
    assert measured(net)[1] == pixels


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Conv2d(2, 2, 3, dilation=2), nn.AvgPool2d(3, 2)),
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(2 - 1, 2, 3), nn.Conv2d(2, 1, (1, 5), stride=2)),
    ],
)
def test_receptive_field_is_where_the_gradient_is_not_zero(net):
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    outputs = net(image)
    middle = outputs[0, :, outputs.shape[2] // 2, outputs.shape[3] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, image)
    seen = gradient[0, 0].ne(0)
    spans = tuple(int(axis.nonzero().max() - axis.nonzero().min() + 1) for axis in (seen.any(1), seen.any(0)))
    assert measured(net, (1, 1, 64, 64))[1] == spans


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), 64 * 48 * 4 * 3 * 9),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), 64 * 48 * 6 * 9),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), 32 * 24 * 4 * 3 * 9),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 48, 7)), 3 * 64 * 48 * 7),
        (nn.ReLU(), 0),
    ],
)
def test_multiply_adds_are_counted_by_the_textbook(net, count):
    assert measured(net)[0] == count


def activations(net, shape=(1, 3, 8, 8)):
    net, image = net.to("meta").eval(), torch.zeros(shape, device="meta")
    with torch.no_grad(), Measure() as measure:
        net(image)
    return measure.activation_bytes


@pytest.mark.parametrize(
    ("net", "floats"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), 4 * 64),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), 2 * 4 * 64),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)), 4 * 64),  # in the memory of the other
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Dropout(0.5), nn.Flatten()), 4 * 64),  # does nothing; a view
        (nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 5)), 3 * 16 + 5),  # indices are no activations
        (nn.Sequential(nn.Flatten()), 0),
        (Residual(), (3 + 3 + 6) * 64),  # a convolution, a sum, and what they are put into
    ],
)
def test_activations_are_the_results_in_memory_of_their_own(net, floats):
    assert activations(net) == 4 * floats


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), 4 * 3 * 64),  # the weight's gradient needs the input
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), 4 * (3 + 4) * 64),  # ReLU keeps its result
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)), 4 * (3 + 4) * 64 + 8 * 4 * 16),  # int64 indices
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Dropout(0.5)), 4 * (192 + 5)),  # a mask
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).requires_grad_(False), 0),
    ],
)
def test_training_holds_what_gradients_need(net, count):
    assert training_bytes(net.to("meta").train(), [torch.zeros(2, 3, 8, 8, device="meta")]) == count


def test_what_training_holds_is_the_same_on_a_device_with_memory():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5))
    real = training_bytes(net, [torch.zeros(2, 3, 8, 8)])
    assert training_bytes(net.to("meta"), [torch.zeros(2, 3, 8, 8, device="meta")]) == real
