import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.nn import Conv2d, image_convolution
from lamina.nn.image_convolution import _kernel

from .convolving import OwnTensor, layer, made, mixed

needs_kernel = pytest.mark.skipif(
    image_convolution.compiled("image_convolution") is None, reason="the kernels cannot be built here"
)


@pytest.fixture
def calls(monkeypatch):
    """The names of the kernels that have run."""
    _kernel()  # whose first call tries them
    ran = []
    for name in ("_forward", "_backward"):
        run = getattr(image_convolution, name)
        monkeypatch.setattr(image_convolution, name, lambda *given, name=name, run=run: ran.append(name) or run(*given))
    return ran


def pictures(size):
    return made(size).detach()


def assert_exact(conv, images, grads=None):
    """Answers and gradients against those in float64 of the same numbers, rounded as autocast rounds them."""
    exact = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=conv.padding)
    exact.weight.data.copy_(conv.weight.bfloat16())
    exact.bias.data.copy_(torch.zeros(()) if conv.bias is None else conv.bias.bfloat16())
    wanted = exact.double()(images.double()).relu()
    conv.zero_grad()
    answer = mixed(conv, images, relu=True)
    assert answer.dtype == torch.bfloat16
    assert answer.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(answer.double(), wanted, rtol=2**-8, atol=1e-6)
    grads = torch.randn_like(answer) if grads is None else grads
    answer.backward(grads)
    (wanted * 0 + exact(images.double()) * (answer.detach() > 0)).backward(grads.double())
    torch.testing.assert_close(conv.weight.grad.double(), exact.weight.grad, rtol=1e-5, atol=1e-4)
    if conv.bias is not None:
        torch.testing.assert_close(conv.bias.grad.double(), exact.bias.grad, rtol=1e-5, atol=1e-4)


@needs_kernel
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("pixels", [(8, 8), (7, 6), (6, 9), (3, 3), (5, 4), (4, 21)])
@pytest.mark.parametrize("channels", [(1, 16), (2, 32), (3, 48)])
def test_answers_and_gradients_are_exact(padding, pixels, channels, calls):
    assert_exact(layer(*channels, padding), pictures((3, channels[0], *pixels)))
    assert calls == ["_forward", "_backward"]


@needs_kernel
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_shares_the_rows(threads, calls):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_exact(layer(1), pictures((2, 1, 1, 4)))
    finally:
        torch.set_num_threads(before)
    assert len(calls) == 2


@needs_kernel
def test_pictures_in_float32_layers_without_bias_and_frozen_ones(calls):
    assert_exact(layer(3, bias=False), pictures((2, 3, 6, 6)).float().bfloat16().float())
    conv = layer(3)
    conv.bias.requires_grad_(False)
    mixed(conv, pictures((2, 3, 6, 6)), relu=True).sum().backward()
    assert conv.bias.grad is None
    assert conv.weight.grad is not None
    assert len(calls) == 4


@needs_kernel
def test_gradients_laid_out_or_stretched_in_another_way_are_right(calls):
    for grads in (torch.randn(2, 32, 6, 6).bfloat16(), torch.ones((), dtype=torch.bfloat16).expand(2, 32, 6, 6)):
        assert_exact(layer(1), pictures((2, 1, 6, 6)), grads)
    assert len(calls) == 4


@needs_kernel
def test_nan_comes_through(calls):
    conv, images = layer(3), pictures((2, 3, 6, 6))
    images[0, 1, 3, 3] = float("nan")
    answer = mixed(conv, images, relu=True)
    assert answer[0, :, 2:5, 2:5].isnan().all()
    assert answer.isnan().sum() == 32 * 9
    answer.sum().backward()
    assert conv.weight.grad[:, 1].isnan().all()
    assert conv.weight.grad[:, 0].isfinite().all()
    assert len(calls) == 2


@needs_kernel
def test_can_be_differentiated_twice(calls):
    images, found = pictures((3, 3, 6, 6)), []
    for conv in (layer(3), nn.Conv2d(3, 32, 3, padding=1)):
        conv.load_state_dict(layer(3).state_dict())
        answer = mixed(conv, images, relu=True) if isinstance(conv, Conv2d) else F.relu(mixed(conv, images))
        seeds = torch.ones_like(answer, requires_grad=True)
        (first,) = torch.autograd.grad(answer, conv.weight, seeds, create_graph=True)
        found.append((first, *torch.autograd.grad(first.float().square().sum(), seeds)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2 * float(theirs.detach().abs().max()))
    assert calls == ["_forward"]


LEFT_TO_TORCH = {
    "no ReLU": lambda conv, images: mixed(conv, images),
    "no gradient is wanted": lambda conv, images: mixed(conv.requires_grad_(False), images, relu=True),
    "gradients are off": lambda conv, images: torch.no_grad()(mixed)(conv, images, relu=True),
    "the picture's gradient is wanted": lambda conv, images: mixed(conv, images.requires_grad_(), relu=True),
    "float32": lambda conv, images: conv(images.float(), relu=True),
    "channels first": lambda conv, images: mixed(conv, images.contiguous(), relu=True),
    "one image": lambda conv, images: mixed(conv, images[0], relu=True),
    "none": lambda conv, images: mixed(conv, images[:0], relu=True),
    "a tensor of its own": lambda conv, images: mixed(conv, images.as_subclass(OwnTensor), relu=True),
    "strides": lambda conv, images: mixed(layer(3, stride=2), images, relu=True),
    "odd channels": lambda conv, images: mixed(layer(3, 24), images, relu=True),
    "many channels": lambda conv, images: mixed(layer(4), images[:, [0, 1, 2, 0]], relu=True),
    "other windows": lambda conv, images: mixed(Conv2d(3, 16, 5), images, relu=True),
}


@pytest.mark.parametrize("name", LEFT_TO_TORCH)
def test_is_left_to_torch(name, calls, monkeypatch):
    answer = LEFT_TO_TORCH[name](layer(3), pictures((2, 3, 8, 8)))
    assert calls == []
    assert name == "no ReLU" or not (answer < 0).any()


@pytest.mark.parametrize("missing", ["compiler", "right results"])
def test_without_the_kernels_it_is_torchs(missing, calls, monkeypatch):
    if missing == "compiler":
        monkeypatch.setattr(image_convolution, "compiled", lambda name: None)
    else:
        monkeypatch.setattr(image_convolution, "_is_right", lambda *_: False)
    monkeypatch.setattr(image_convolution, "_kernel", functools.cache(_kernel.__wrapped__))
    conv, images = layer(3), pictures((2, 3, 8, 8))
    assert torch.equal(mixed(conv, images, relu=True), F.relu(mixed(conv, images)))
    assert calls == []


@needs_kernel
@pytest.mark.parametrize("broken", ["image_convolution", "image_convolution_gradient"])
def test_a_kernel_that_computes_something_else_is_found_out(broken):
    class Broken:
        def __getattr__(self, name):
            return (lambda *_: None) if name == broken else getattr(_kernel(), name)

    assert image_convolution._is_right(_kernel())
    assert not image_convolution._is_right(Broken())


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_can_be_scripted_and_compiled_with_the_relu(calls):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = layer(3)

        def forward(self, images):
            return self.conv(images, relu=True)

    net, images = Net(), pictures((2, 3, 8, 8)).float()
    expected = F.relu(F.conv2d(images, net.conv.weight, net.conv.bias, padding=1))
    for other in (torch.jit.script(net), torch.compile(net, backend="eager", fullgraph=True)):
        assert torch.equal(other(images), expected)
    assert calls == []
