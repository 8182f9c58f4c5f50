import copy
import functools
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.nn import Conv2d, weight_gradient
from lamina.nn.weight_gradient import _kernel

from .convolving import OwnTensor, laid_out, layer, made, mixed, pruned, repacked

needs_kernel = pytest.mark.skipif(
    weight_gradient.compiled("weight_gradient") is None, reason="the kernel cannot be built here"
)


@pytest.fixture
def calls(monkeypatch):
    """An entry for each time that the kernel has run, which few pixels do not hinder."""
    monkeypatch.setattr(weight_gradient, "_LEAST_PIXELS", 0)
    _kernel()  # whose first call tries it
    ran, run = [], weight_gradient._by_kernel
    monkeypatch.setattr(weight_gradient, "_by_kernel", lambda *given: ran.append(given) or run(*given))
    return ran


def assert_exact(conv, images, grads=None):
    """The gradients of weight and bias against those in float64 of the same numbers, and the rest as torch has it, to the bit."""
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=conv.padding, bias=conv.bias is not None)
    plain.load_state_dict(conv.state_dict())
    plain.to(memory_format=torch.channels_last)
    ours, theirs = laid_out(images), laid_out(images)
    out, expected = mixed(conv, ours), mixed(plain, theirs)
    assert torch.equal(out, expected)
    grads = torch.randn_like(out) if grads is None else grads
    conv.zero_grad()
    out.backward(grads)
    expected.backward(grads)
    assert torch.equal(ours.grad, theirs.grad)
    exact = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=conv.padding).double()
    exact(images.detach().double()).backward(grads.double())
    assert (conv.weight.grad.dtype, conv.weight.grad.stride()) == (torch.float32, plain.weight.grad.stride())
    torch.testing.assert_close(conv.weight.grad.double(), exact.weight.grad, rtol=1e-5, atol=1e-4)
    if conv.bias is not None:
        torch.testing.assert_close(conv.bias.grad.double(), exact.bias.grad, rtol=1e-5, atol=1e-4)


@needs_kernel
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("pixels", [(8, 8), (7, 6), (6, 9), (5, 5), (3, 3), (3, 4)])
@pytest.mark.parametrize("channels", [(16, 16), (32, 16), (16, 48)])
def test_gradients_are_exact_to_float32(padding, pixels, channels, calls):
    assert_exact(layer(*channels, padding), made((5, channels[0], *pixels)))
    assert len(calls) == 1


@needs_kernel
@pytest.mark.parametrize("pixels", [(1, 1), (1, 7), (2, 1)])
def test_images_smaller_than_the_window_stand_in_their_padding(pixels, calls):
    assert_exact(layer(), made((5, 16, *pixels)))
    assert_exact(layer(padding=2), made((5, 16, *pixels)))
    assert len(calls) == 2


@needs_kernel
@pytest.mark.parametrize("pairs", [500, 2_000, 8_000, 40_000])
def test_images_are_taken_in_any_number_of_blocks(pairs, calls, monkeypatch):
    monkeypatch.setattr(weight_gradient, "_CACHE_PAIRS", pairs)
    for padding in (0, 1, 2):
        assert_exact(layer(32, 16, padding), made((7, 32, 19, 11)))
    assert len(calls) == 3


@needs_kernel
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_shares_the_images(threads, calls):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_exact(layer(), made((4, 16, 6, 6)))
    finally:
        torch.set_num_threads(before)
    assert len(calls) == 1


@needs_kernel
def test_layers_without_bias_and_images_that_want_no_gradient(calls):
    assert_exact(layer(bias=False), made((4, 16, 6, 6)))
    conv, images = layer(), made((4, 16, 6, 6))
    mixed(conv, images.detach()).sum().backward()
    wanted = conv.weight.grad.clone()
    conv.zero_grad()
    conv.bias.requires_grad_(False)
    mixed(conv, images.float().detach()).sum().backward()
    assert torch.equal(conv.weight.grad, wanted)
    assert conv.bias.grad is None
    assert len(calls) == 3


@needs_kernel
def test_a_network_all_in_bfloat16_gets_gradients_in_bfloat16(calls):
    conv = layer().bfloat16()
    conv(made((4, 16, 6, 6))).sum().backward()
    assert (conv.weight.grad.dtype, conv.bias.grad.dtype, len(calls)) == (torch.bfloat16, torch.bfloat16, 1)


@needs_kernel
def test_gradients_laid_out_or_stretched_in_another_way_are_right(calls):
    for grads in (torch.randn(4, 32, 6, 6).bfloat16(), torch.ones((), dtype=torch.bfloat16).expand(4, 32, 6, 6)):
        assert_exact(layer(), made((4, 16, 6, 6)), grads)
    assert len(calls) == 2


@needs_kernel
def test_infinities_and_nan_come_through(calls):
    conv, images = layer(), made((4, 16, 5, 5)).detach()
    images[0, 3, 2, 2], images[1, 7, 4, 4] = float("nan"), float("inf")
    mixed(conv, images).sum().backward()
    assert conv.weight.grad[:, 3].isnan().all()
    assert not conv.weight.grad[:, 7, 1, 1].isfinite().any()
    assert conv.weight.grad[:, 0].isfinite().all()
    assert len(calls) == 1


@needs_kernel
def test_can_be_differentiated_twice(calls):
    images, found = made((4, 16, 6, 6)), []
    for conv in (layer(), nn.Conv2d(16, 32, 3, padding=1)):
        conv.load_state_dict(layer().state_dict())
        (first,) = torch.autograd.grad(mixed(conv, images).square().sum(), images, create_graph=True)
        found.append((first, *torch.autograd.grad(first.float().square().sum(), [images, conv.weight])))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2 * float(theirs.detach().abs().max()))
    assert len(calls) == 1  # in the last of three, which is not differentiated again


@needs_kernel
def test_what_is_saved_is_checked_and_may_be_moved(calls):
    conv, images = layer(), made((4, 16, 6, 6))
    with torch.autograd.graph.save_on_cpu():
        mixed(conv, images).sum().backward()
    expected = conv.weight.grad.clone()
    conv.zero_grad()
    with repacked():
        mixed(conv, images).sum().backward()
    assert torch.equal(conv.weight.grad, expected)
    assert len(calls) == 2
    out = mixed(conv, images)
    with torch.no_grad():
        images.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@needs_kernel
def test_a_weight_may_change_before_the_backward_pass_as_under_autocast(calls):
    conv, images = layer(), made((4, 16, 6, 6))
    mixed(conv, images).sum().backward()
    expected, images.grad = images.grad, None
    out = mixed(conv, images)
    with torch.no_grad():
        conv.weight.zero_()
    out.sum().backward()
    assert torch.equal(images.grad, expected)
    assert len(calls) == 2


LEFT_TO_TORCH = {
    "no gradient is wanted": lambda conv, images: mixed(conv.requires_grad_(False), images),
    "gradients are off": lambda conv, images: torch.no_grad()(mixed)(conv, images),
    "float32": lambda conv, images: conv(images.float()),
    "float16": lambda conv, images: conv.half()(images.half()),
    "channels first": lambda conv, images: mixed(conv, images.contiguous()),
    "one image": lambda conv, images: mixed(conv, images[0]),
    "few images": lambda conv, images: mixed(conv, images[:0]),
    "a tensor of its own": lambda conv, images: mixed(conv, images.as_subclass(OwnTensor)),
    "gradients of functions": lambda conv, images: torch.func.grad(lambda x: mixed(conv, x).sum())(images),
    "many at a time": lambda conv, images: torch.vmap(conv.bfloat16())(images[None]),
    "as a graph": lambda conv, images: mixed(torch.fx.symbolic_trace(nn.Sequential(conv)), images),
    "strides": lambda conv, images: mixed(layer(stride=2), images),
    "dilation": lambda conv, images: mixed(layer(dilation=2), images),
    "groups": lambda conv, images: mixed(layer(groups=2), images),
    "reflected": lambda conv, images: mixed(layer(padding_mode="reflect"), images),
    "the same": lambda conv, images: mixed(layer(padding="same"), images),
    "much padding": lambda conv, images: mixed(layer(padding=3), images),
    "uneven padding": lambda conv, images: mixed(layer(padding=(0, 1)), images),
    "pruned since": lambda conv, images: mixed(pruned(conv), images),
    "odd channels": lambda conv, images: mixed(layer(outputs=24), images),
    "other windows": lambda conv, images: mixed(Conv2d(16, 16, 5), images),
}


@pytest.mark.parametrize("name", LEFT_TO_TORCH)
def test_is_left_to_torch(name, calls, monkeypatch):
    monkeypatch.setattr(weight_gradient, "convolved", lambda *_: pytest.fail("the kernel's"))
    LEFT_TO_TORCH[name](layer(), made((4, 16, 8, 8)))


@needs_kernel
@pytest.mark.parametrize("bound", ["_MOST_SUMS", "_LEAST_PIXELS", "threads"])
def test_wide_layers_on_many_cores_are_left_to_torch(bound, calls, monkeypatch):
    if bound == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    elif bound == "_MOST_SUMS":
        monkeypatch.setattr(weight_gradient, bound, 16 * 32 * 9 * torch.get_num_threads() - 1)
    else:
        monkeypatch.setattr(weight_gradient, bound, (4 * 64 // torch.get_num_threads() + 1) / (16 * 32 * 9))
    mixed(layer(), made((4, 16, 8, 8))).sum().backward()
    assert calls == []


def test_misfits_are_torchs_errors():
    with pytest.raises(RuntimeError, match="to have 16 channels, but got 32"):
        mixed(layer(), made((4, 32, 8, 8)))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        mixed(layer(padding=0), made((4, 16, 2, 8)))


@pytest.mark.parametrize("missing", ["compiler", "right results"])
def test_without_the_kernel_it_is_torchs(missing, calls, monkeypatch):
    if missing == "compiler":
        monkeypatch.setattr(weight_gradient, "compiled", lambda name: None)
    else:
        monkeypatch.setattr(weight_gradient, "_is_right", lambda *_: False)
    monkeypatch.setattr(weight_gradient, "_kernel", functools.cache(_kernel.__wrapped__))
    mixed(layer(), made((4, 16, 8, 8))).sum().backward()
    assert calls == []


@needs_kernel
def test_a_kernel_that_computes_something_else_is_found_out():
    class Broken:
        pairs_of_a_thread = _kernel().pairs_of_a_thread

        def weight_gradient(self, *given):
            _kernel().weight_gradient(*given[:11], 1 - given[11], *given[12:])

    assert weight_gradient._is_right(_kernel())
    assert not weight_gradient._is_right(Broken())


def test_compiles_into_one_graph_and_is_exported_as_torchs(calls):
    conv, images = layer(), made((4, 16, 8, 8)).detach().float()
    assert torch.equal(torch.compile(conv, backend="eager", fullgraph=True)(images), conv(images))
    program = torch.export.export(nn.Sequential(conv), (images,))
    assert any("conv2d" in str(node.target) for node in program.graph.nodes)
    assert calls == []


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_looks_like_torchs_and_can_be_copied_kept_and_scripted():
    conv, images = layer(), made((4, 16, 8, 8)).float()
    assert repr(conv) == repr(nn.Conv2d(16, 32, 3, padding=1))
    assert conv.state_dict().keys() == nn.Conv2d(16, 32, 3).state_dict().keys()
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv)), torch.jit.script(conv)):
        assert torch.equal(other(images), F.conv2d(images, conv.weight, conv.bias, padding=1))


@pytest.mark.parametrize("use", [lambda conv, images: conv(images.float()), mixed])
def test_a_weight_made_anew_each_time_is_made_once(use):
    class Counted(nn.Module):
        count = 0

        def forward(self, weight):
            self.count += 1
            return weight * 2

    conv = layer()
    torch.nn.utils.parametrize.register_parametrization(conv, "weight", Counted())
    (counted,) = conv.parametrizations["weight"]
    counted.count = 0
    use(conv, made((4, 16, 6, 6))).sum().backward()
    assert counted.count == 1
    assert conv.parametrizations["weight"].original.grad is not None


@pytest.mark.parametrize("bias", [True, False])
def test_without_the_kernel_a_padding_of_2_is_taken_in_two_parts(bias, monkeypatch):
    monkeypatch.setattr(weight_gradient, "_kernel", lambda: None)
    seen, run = [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *given, **named: seen.append(named) or run(*given, **named))
    conv, images = layer(padding=2, bias=bias), made((4, 16, 6, 6))
    answer = mixed(conv, images)
    assert seen == [{"padding": 1}]
    assert torch.equal(answer, mixed(torch.no_grad()(conv), images))
    assert torch.equal(conv(images.float()), run(images.float(), conv.weight, conv.bias, padding=2))
