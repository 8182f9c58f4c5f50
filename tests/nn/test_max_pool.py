import copy
import functools
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lamina.nn import MaxPool2d, max_pool, max_pool_2x2
from lamina.nn.max_pool import _kernel

TYPES = [torch.bfloat16, torch.float32]
needs_kernel = pytest.mark.skipif(max_pool.compiled("max_pool") is None, reason="the kernel cannot be built here")


def laid_out(images):
    return images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()


def made(size, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return laid_out(torch.randn(size, generator=generator).to(dtype))


def bits(tensor):
    """As integers, all NaNs as one: what bits a NaN has is no result."""
    tensor = torch.where(tensor.isnan(), float("nan"), tensor)
    return tensor.detach().contiguous().view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32)


@pytest.fixture
def calls(monkeypatch):
    """The names of the kernels that have run."""
    _kernel()  # whose first call tries it
    ran, run = [], max_pool._run
    monkeypatch.setattr(max_pool, "_run", lambda kernel, name, *rest: ran.append(name) or run(kernel, name, *rest))
    return ran


def assert_as_torch(images, gradient=None, **settings):
    """Values, gradients and memory format of both, to the last bit."""
    pooled = {}
    for kind in (MaxPool2d, nn.MaxPool2d):
        copied = laid_out(images)
        out = kind(2, **settings)(copied)
        given = torch.randn_like(out) if gradient is None else gradient
        gradient = given
        out.backward(given)
        pooled[kind] = out, copied.grad
    (ours, our_grad), (theirs, their_grad) = pooled.values()
    for one, other in ((ours, theirs), (our_grad, their_grad)):
        assert one.dtype == other.dtype
        assert one.stride() == other.stride()
        assert torch.equal(bits(one), bits(other))


@needs_kernel
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [16, 17, 31, 32, 48])
@pytest.mark.parametrize("pixels", [(8, 8), (7, 6), (6, 9), (5, 5), (2, 2), (3, 2)])
def test_values_and_gradients_are_torchs_to_the_bit(dtype, channels, pixels, calls):
    assert_as_torch(made((3, channels, *pixels), dtype))
    assert calls == ["max_pool", "max_pool_gradient"]


@needs_kernel
@pytest.mark.parametrize("dtype", TYPES)
def test_ties_zeros_of_both_signs_infinities_and_nan_go_where_torchs_go(dtype, calls):
    values = torch.tensor(
        [0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), float("nan"), -float("nan"), 1e-40, -1e-40]
    )
    chosen = torch.randint(len(values), (64, 20, 6, 6), generator=torch.Generator().manual_seed(0))
    images = values.to(dtype)[chosen]
    assert_as_torch(images)
    assert_as_torch(images[:, :, :3], gradient=torch.full((64, 20, 1, 3), -0.0, dtype=dtype))
    assert len(calls) == 4


@needs_kernel
@pytest.mark.parametrize("dtype", TYPES)
def test_every_order_of_every_float_near_another_is_kept(dtype, calls):
    patterns = torch.randint(-(2**15), 2**15, (8, 16, 64, 64), generator=torch.Generator().manual_seed(0)).short()
    near = patterns // 3 * 3  # many neighbours and many ties
    images = torch.where(torch.rand(near.shape) < 0.5, near, patterns).view(torch.bfloat16).to(dtype)
    assert_as_torch(images.nan_to_num(nan=1.0))
    assert len(calls) == 2


@needs_kernel
def test_gradients_laid_out_or_stretched_in_another_way_are_right(calls):
    images = made((2, 16, 4, 6))
    for gradient in (torch.randn(2, 16, 2, 3), torch.randn(()).expand(2, 16, 2, 3)):
        assert_as_torch(images, gradient)
    assert len(calls) == 4


@needs_kernel
def test_ceil_mode_is_the_same_where_nothing_is_left_over(calls):
    assert_as_torch(made((2, 16, 4, 6)), ceil_mode=True)
    assert len(calls) == 2
    assert_as_torch(made((2, 16, 5, 6)), ceil_mode=True)
    assert len(calls) == 2


@needs_kernel
def test_can_be_differentiated_twice(calls):
    for size in ((2, 16, 6, 6), (2, 17, 5, 7)):
        found = []
        for kind in (MaxPool2d, nn.MaxPool2d):
            images = made(size)
            (first,) = torch.autograd.grad(kind(2)(images * images).pow(2).sum(), images, create_graph=True)
            (second,) = torch.autograd.grad(first.pow(2).sum(), images, create_graph=True)
            (third,) = torch.autograd.grad(second.pow(2).sum(), images)
            found.append((first, second, third))
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert calls.count("max_pool") == 2


@needs_kernel
def test_saved_choices_may_be_moved_and_gradients_taken_in_batches(calls):
    images = made((2, 16, 6, 6))
    with torch.autograd.graph.save_on_cpu():
        ours = max_pool_2x2(images)
    theirs = F.max_pool2d(images, 2)
    seeds = torch.randn(3, *ours.shape)
    for several in (False, True):
        given = seeds if several else seeds[0]
        grads = [
            torch.autograd.grad(out, images, given, retain_graph=True, is_grads_batched=several)[0]
            for out in (ours, theirs)
        ]
        assert torch.equal(*grads)
    assert calls == ["max_pool", "max_pool_gradient"]


@needs_kernel
def test_memory_that_training_keeps_is_a_byte_for_each_window():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        max_pool_2x2(made((2, 16, 8, 8)))
    assert sum(tensor.nbytes for tensor in kept) == 2 * 16 * 4 * 4


@needs_kernel
@pytest.mark.parametrize("dtype", TYPES)
def test_applies_under_mixed_precision_too(dtype, calls):
    conv = nn.Conv2d(3, 16, 3).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        maps = conv(made((2, 3, 10, 10)))
        pooled = MaxPool2d(2)(maps)
        assert torch.equal(pooled, F.max_pool2d(maps, 2))
    assert (pooled.dtype, calls) == (dtype, ["max_pool"])
    pooled.sum().backward()
    assert len(calls) == 2


class _Own(torch.Tensor):
    pass


def _watched(images):
    with FlopCounterMode(display=False):
        return max_pool_2x2(images)


def _tangent(images):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(images, torch.ones_like(images))
        assert torch.autograd.forward_ad.unpack_dual(max_pool_2x2(dual)).tangent is not None
        return max_pool_2x2(images)


def _moded(images):
    with torch.device("cpu"):
        return max_pool_2x2(images)


def _beside(images):
    """A transform of something else, with the images coming from around it."""
    return torch.func.grad(lambda scale: (max_pool_2x2(images) * scale).sum())(torch.ones(()))


LEFT_TO_TORCH = {
    "no gradient is wanted": lambda images: max_pool_2x2(images.detach()),
    "gradients are off": lambda images: torch.no_grad()(max_pool_2x2)(images),
    "channels first": lambda images: max_pool_2x2(images.contiguous()),
    "strides": lambda images: max_pool_2x2(images[..., ::2]),
    "one image": lambda images: max_pool_2x2(images[0]),
    "none": lambda images: max_pool_2x2(images[:0]),
    "few channels": lambda images: max_pool_2x2(laid_out(images[:, :15])),
    "float64": lambda images: max_pool_2x2(images.double()),
    "float16": lambda images: max_pool_2x2(images.half()),
    "a tensor of its own": lambda images: max_pool_2x2(images.as_subclass(_Own)),
    "negated unseen": lambda images: max_pool_2x2(torch._neg_view(images)),
    "watched": _watched,
    "under a mode": _moded,
    "tangents": _tangent,
    "gradients of other things": _beside,
    "gradients of functions": lambda images: torch.func.grad(lambda x: max_pool_2x2(x).sum())(images),
    "many at a time": lambda images: torch.vmap(lambda x: max_pool_2x2(x))(images[None]),
    "meta": lambda images: max_pool_2x2(laid_out(images.to("meta"))),
    "traced": lambda images: torch.jit.trace(MaxPool2d(2), images, check_trace=False)(images),
    "as a graph": lambda images: torch.fx.symbolic_trace(nn.Sequential(MaxPool2d(2)))(images),
    "larger windows": lambda images: MaxPool2d(3)(images),
    "overlapping": lambda images: MaxPool2d(2, 1)(images),
    "padding": lambda images: MaxPool2d(2, padding=1)(images),
    "dilation": lambda images: MaxPool2d(2, dilation=2)(images),
    "places": lambda images: MaxPool2d(2, return_indices=True)(images),
}


@pytest.mark.parametrize("name", LEFT_TO_TORCH)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of jit
def test_is_left_to_torch(name, calls, monkeypatch):
    pooled = LEFT_TO_TORCH[name](made((2, 16, 8, 8)))
    assert calls == []
    monkeypatch.setattr(max_pool, "_applies", lambda *_: False)
    for one, other in zip(torch.utils._pytree.tree_leaves(pooled), again(name), strict=True):
        assert one.shape == other.shape
        assert one.is_meta or torch.equal(one, other)


def again(name):
    return torch.utils._pytree.tree_leaves(LEFT_TO_TORCH[name](made((2, 16, 8, 8))))


def test_compiles_into_one_graph(calls):
    images = made((2, 16, 8, 8))
    pooled = torch.compile(MaxPool2d(2), backend="eager", fullgraph=True)(images)
    assert torch.equal(pooled, F.max_pool2d(images, 2))
    assert calls == []


def test_is_exported_as_torchs(calls):
    net = nn.Sequential(MaxPool2d(2))
    program = torch.export.export(net, (made((2, 16, 8, 8)),))
    assert any("max_pool2d" in str(node.target) for node in program.graph.nodes)
    assert calls == []


@pytest.mark.parametrize("missing", ["compiler", "right results"])
def test_without_the_kernel_it_is_torchs(missing, calls, monkeypatch):
    if missing == "compiler":
        monkeypatch.setattr(max_pool, "compiled", lambda name: None)
    else:
        monkeypatch.setattr(max_pool, "_is_right", lambda *_: False)
    monkeypatch.setattr(max_pool, "_kernel", functools.cache(_kernel.__wrapped__))
    assert_as_torch(made((2, 16, 8, 8)))
    assert calls == []


@needs_kernel
@pytest.mark.parametrize("broken", ["max_pool32", "max_pool_gradient16"])
def test_a_kernel_that_computes_something_else_is_found_out(broken):
    class Broken:
        def __init__(self, library):
            self.library = library

        def __getattr__(self, name):
            return (lambda *_: None) if name == broken else getattr(self.library, name)

    assert not all(max_pool._is_right(Broken(_kernel()), dtype) for dtype in TYPES)


def test_too_small_images_are_torchs_error():
    with pytest.raises(RuntimeError, match="too small"):
        max_pool_2x2(made((2, 16, 1, 8)))


def test_looks_like_torchs_and_can_be_copied_and_kept():
    pool = MaxPool2d(2)
    assert repr(pool) == repr(nn.MaxPool2d(2))
    assert isinstance(pool, nn.MaxPool2d)
    assert pool.state_dict() == {}
    images = made((2, 16, 8, 8))
    for other in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        assert torch.equal(other(images), pool(images))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_network_with_it_can_be_scripted():
    net = nn.Sequential(nn.Conv2d(1, 16, 3), MaxPool2d(2)).eval()
    images = torch.rand(2, 1, 9, 8)
    assert torch.equal(torch.jit.script(net)(images), net(images))
