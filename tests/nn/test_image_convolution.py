import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.nn import Conv2d, conv_relu, image_convolution
from lamina.nn.image_convolution import _kernel

from .convolving import OwnTensor, layer, made, mixed, pruned, repacked

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


def relu_of(conv, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return conv_relu(conv, images)


def assert_exact(conv, images, grads=None):
    """Answers and gradients against those in float64 of the same numbers, rounded as autocast rounds them."""
    exact = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=conv.padding)
    exact.weight.data.copy_(conv.weight.bfloat16())
    exact.bias.data.copy_(torch.zeros(()) if conv.bias is None else conv.bias.bfloat16())
    wanted = exact.double()(images.double()).relu()
    conv.zero_grad()
    answer = relu_of(conv, images)
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
    relu_of(conv, pictures((2, 3, 6, 6))).sum().backward()
    assert conv.bias.grad is None
    assert conv.weight.grad is not None
    assert len(calls) == 4


@needs_kernel
def test_gradients_laid_out_or_stretched_in_another_way_are_right(calls):
    for grads in (torch.randn(2, 32, 6, 6).bfloat16(), torch.ones((), dtype=torch.bfloat16).expand(2, 32, 6, 6)):
        assert_exact(layer(1), pictures((2, 1, 6, 6)), grads)
    assert len(calls) == 4


@needs_kernel
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_comes_through(sign, calls):
    conv, images = layer(3), pictures((2, 3, 6, 6))
    images[0, 1, 3, 3] = torch.tensor(float("nan")).copysign(torch.tensor(float(sign)))
    answer = relu_of(conv, images)
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
        answer = relu_of(conv, images) if isinstance(conv, Conv2d) else F.relu(mixed(conv, images))
        seeds = torch.ones_like(answer, requires_grad=True)
        (first,) = torch.autograd.grad(answer, conv.weight, seeds, create_graph=True)
        found.append((first, *torch.autograd.grad(first.float().square().sum(), seeds)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2 * float(theirs.detach().abs().max()))
    assert calls == ["_forward"]


class _Otherwise(nn.Conv2d):
    def forward(self, input):
        return super().forward(input) + 1


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = layer(3)

    def forward(self, images):
        return conv_relu(self.conv, images)


LEFT_TO_TORCH = {
    "hooks": lambda conv, images: (conv.register_forward_hook(lambda *_: None), relu_of(conv, images))[1],
    "a layer that computes otherwise": lambda conv, images: relu_of(_Otherwise(3, 16, 3, padding=1), images),
    "pruned since": lambda conv, images: relu_of(pruned(conv), images),
    "as a graph": lambda conv, images: mixed(torch.fx.symbolic_trace(_Net()), images),
    "no gradient is wanted": lambda conv, images: relu_of(conv.requires_grad_(False), images),
    "gradients are off": lambda conv, images: torch.no_grad()(relu_of)(conv, images),
    "the picture's gradient is wanted": lambda conv, images: relu_of(conv, images.requires_grad_()),
    "float32": lambda conv, images: conv_relu(conv, images.float()),
    "channels first": lambda conv, images: relu_of(conv, images.contiguous()),
    "one image": lambda conv, images: relu_of(conv, images[0]),
    "none": lambda conv, images: relu_of(conv, images[:0]),
    "a tensor of its own": lambda conv, images: relu_of(conv, images.as_subclass(OwnTensor)),
    "strides": lambda conv, images: relu_of(layer(3, stride=2), images),
    "odd channels": lambda conv, images: relu_of(layer(3, 24), images),
    "many channels": lambda conv, images: relu_of(layer(4), images[:, [0, 1, 2, 0]]),
    "other windows": lambda conv, images: relu_of(Conv2d(3, 16, 5), images),
}


@pytest.mark.parametrize("name", LEFT_TO_TORCH)
def test_is_left_to_torch(name, calls, monkeypatch):
    answer = LEFT_TO_TORCH[name](layer(3), pictures((2, 3, 8, 8)))
    assert calls == []
    assert not (answer < 0).any()


@pytest.mark.parametrize("missing", ["compiler", "right results"])
def test_without_the_kernels_it_is_torchs(missing, calls, monkeypatch):
    if missing == "compiler":
        monkeypatch.setattr(image_convolution, "compiled", lambda name: None)
    else:
        monkeypatch.setattr(image_convolution, "_is_right", lambda *_: False)
    monkeypatch.setattr(image_convolution, "_kernel", functools.cache(_kernel.__wrapped__))
    conv, images = layer(3), pictures((2, 3, 8, 8))
    assert torch.equal(relu_of(conv, images), F.relu(mixed(conv, images)))
    assert calls == []


@needs_kernel
@pytest.mark.parametrize("broken", ["image_convolution", "image_convolution_gradient"])
def test_a_kernel_that_computes_something_else_is_found_out(broken):
    class Broken:
        def __getattr__(self, name):
            return (lambda *_: None) if name == broken else getattr(_kernel(), name)

    assert image_convolution._is_right(_kernel())
    assert not image_convolution._is_right(Broken())


def test_compiles_with_the_relu(calls):
    net, images = _Net(), pictures((2, 3, 8, 8)).float()
    expected = F.relu(F.conv2d(images, net.conv.weight, net.conv.bias, padding=1))
    assert torch.equal(torch.compile(net, backend="eager", fullgraph=True)(images), expected)
    assert calls == []


@needs_kernel
def test_torchs_own_layer_will_do(calls):
    conv = nn.Conv2d(3, 16, 3, padding=1)
    assert torch.equal(relu_of(conv, pictures((2, 3, 8, 8))) > 0, F.relu(mixed(conv, pictures((2, 3, 8, 8)))) > 0)
    assert calls == ["_forward"]


@needs_kernel
def test_what_is_saved_may_be_laid_out_anew(calls):
    conv, images = layer(3), pictures((2, 3, 8, 8))
    relu_of(conv, images).sum().backward()
    expected = conv.weight.grad.clone()
    conv.zero_grad()
    with repacked():
        relu_of(conv, images).sum().backward()
    assert torch.equal(conv.weight.grad, expected)
    assert len(calls) == 4


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_is_tried_under_any_default_type(dtype):
    torch.set_default_dtype(dtype)
    try:
        assert image_convolution._is_right(_kernel())
    finally:
        torch.set_default_dtype(torch.float32)
