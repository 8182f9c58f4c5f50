"""State taken apart and put together again, exactly."""

import json
import math

import pytest
import torch

from lamina.core.errors import LaminaError
from lamina.core.tree import Flat, flatten, unflatten


def there_and_back(tree):
    flat = flatten(tree)
    return unflatten(Flat(json.loads(json.dumps(flat.plain, allow_nan=False)), flat.tensors))


@pytest.mark.parametrize(
    "tree",
    [
        None,
        {},
        [],
        (),
        {"a": [1, 2.5, True, None, "x"], "b": {"c": (1, (2, [3]))}},
        {0: "int", "0": "text", (1, 2): "tuple", None: 3, True: 4},
        {"$tensor": "no tensor", "$tuple": [1], "$dict": {}, "$float": "nan"},
        [1e-320, 0.1, -0.0, math.inf, -math.inf, 2**80, -(2**70)],
        "\ud800 and ü",
    ],
)
def test_what_is_no_tensor_comes_back_with_its_type(tree):
    assert repr(there_and_back(tree)) == repr(tree)


def test_nan_comes_back():
    assert math.isnan(there_and_back({"a": math.nan})["a"])


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (4, 3, 2, 5)])
def test_tensors_come_back_with_type_and_shape(dtype, shape):
    value = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 10).to(dtype)
    back = there_and_back({"a": [value]})["a"][0]
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    assert torch.equal(back, value)


@pytest.mark.parametrize(
    "value",
    [
        torch.rand(4, 3, 2, 5).to(memory_format=torch.channels_last),
        torch.rand(4, 1, 3, 3).to(memory_format=torch.channels_last),
        torch.rand(3, 4).t(),
        torch.rand(2, 3, 4).permute(2, 0, 1),
    ],
)
def test_tensors_come_back_with_their_memory_laid_out_as_it_was(value):
    """A fused optimizer runs over the memory of a weight and of its momentum side by side."""
    back = there_and_back(value)
    assert back.stride() == value.stride()
    assert torch.equal(back, value)


def test_a_resumed_optimizer_goes_on_bit_for_bit_with_kernels_in_channels_last():
    def made():
        torch.manual_seed(0)
        net = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return net, torch.optim.Adam(net.parameters(), fused=True)

    def steps(net, optimizer, count):
        for index in range(count):
            optimizer.zero_grad()
            net(torch.full((1, 3, 5, 5), 0.1 * index)).square().sum().backward()
            optimizer.step()

    whole, optimizer = made()
    steps(whole, optimizer, 3)
    state = there_and_back({"net": whole.state_dict(), "optimizer": optimizer.state_dict()})
    resumed, other = made()
    resumed.load_state_dict(state["net"])
    other.load_state_dict(state["optimizer"])
    for net, of_net in ((whole, optimizer), (resumed, other)):
        steps(net, of_net, 3)
    assert torch.equal(whole.weight, resumed.weight)


def test_a_tree_taken_apart_does_not_follow_the_tree():
    value = torch.zeros(3)
    flat = flatten({"a": value, "b": [value]})
    value += 1
    assert unflatten(flat)["a"].tolist() == unflatten(flat)["b"][0].tolist() == [0, 0, 0]


def test_names_of_tensors_tell_their_place_and_never_collide():
    tree = {
        "a": {"b": torch.tensor(1)},
        "a/b": torch.tensor(2),
        "__metadata__": torch.tensor(3),
        7: {"": torch.tensor(4)},
    }
    flat = flatten(tree)
    assert "a/b" in flat.tensors
    assert "__metadata__" not in flat.tensors
    back = unflatten(flat)
    assert [back["a"]["b"], back["a/b"], back["__metadata__"], back[7][""]] == [1, 2, 3, 4]


@pytest.mark.parametrize(("leaf", "kind"), [({1, 2}, "a set"), (b"x", "a bytes"), (object(), "an object")])
def test_a_leaf_of_another_type_is_named_with_its_place(leaf, kind):
    with pytest.raises(LaminaError, match=rf"holds {kind} at step/buffer/1\."):
        flatten({"step": {"buffer": [1, leaf]}})


def test_a_sparse_tensor_is_refused():
    with pytest.raises(LaminaError, match="layout"):
        flatten({"a": torch.eye(3).to_sparse()})
