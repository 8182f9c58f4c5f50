import json

import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.layer import snake_case


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Conv2D", "conv2d"),
        ("MaxPooling2D", "max_pooling2d"),
        ("Conv2DTranspose", "conv2d_transpose"),
        ("Dense", "dense"),
    ],
)
def test_names_are_keras_snake_case(kind, name):
    assert snake_case(kind) == name


def test_is_immutable_and_compared_by_identity():
    dense = layers.Dense(3)
    with pytest.raises(AttributeError):
        dense.units = 4
    assert dense != layers.Dense(3)
    assert len({dense, dense, layers.Dense(3)}) == 2


def test_shows_the_arguments_that_were_given():
    assert repr(layers.Dense(3, activation="relu", name="d")) == "Dense(name='d', units=3, activation='relu')"


def test_builds_once_and_shares_its_modules_between_calls():
    dense = layers.Dense(3)
    dense(layers.Input((4,)))
    module = dense.modules[""]
    dense(layers.Input((4,)))
    assert dense.modules[""] is module


def test_a_second_call_draws_no_random_numbers():
    dense = layers.Dense(3)
    dense(layers.Input((4,)))
    state = torch.get_rng_state()
    dense(layers.Input((4,)))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_second_shape_that_does_not_fit_names_the_layer_and_both_shapes():
    dense = layers.Dense(3, name="score")
    dense(layers.Input((4,)))
    with pytest.raises(ShapeError, match=r"Layer 'score' \(Dense\) was called on shape \(5,\).* built for \(4,\)"):
        dense(layers.Input((5,)))


def test_a_call_that_failed_binds_nothing():
    conv = layers.Conv2D(4, 9)
    with pytest.raises(ShapeError):
        conv(layers.Input((1, 5, 5)))
    assert conv(layers.Input((3, 16, 16))).shape == (4, 8, 8)


def test_a_misfit_is_named_by_the_name_it_would_get():
    x = layers.Input((3, 16, 16))
    for _ in range(2):
        x = layers.Conv2D(4, 3)(x)
    with pytest.raises(ShapeError, match=r"Layer 'conv2d_2' \(Conv2D\) was called on shape \(4, 12, 12\)"):
        layers.Conv2D(4, 13)(x)


@pytest.mark.parametrize("stranger", [torch.zeros(2, 4), 3, [], "x"])
def test_refuses_what_is_no_symbol(stranger):
    with pytest.raises(LaminaError, match="takes symbolic tensors"):
        layers.Dense(3)(stranger)


def test_refuses_several_tensors_where_it_takes_one():
    x = layers.Input((4,))
    with pytest.raises(LaminaError, match="It takes one"):
        layers.Dropout(0.5)([x, x])


def test_refuses_images_of_two_layouts():
    first, last = layers.Input((3, 8, 8)), layers.Input((8, 8, 3), data_format="channels_last")
    with pytest.raises(ShapeError, match="two data formats"):
        layers.Add()([first, last])


def test_refuses_a_module_that_mixes_the_samples_of_a_batch():
    class Mixer(nn.Module):
        def forward(self, x):
            return x.reshape(-1, 2)

    with pytest.raises(ShapeError, match="mixes the samples of a batch"):
        layers.Torch(Mixer())(layers.Input((4,)))


def test_open_sizes_stay_open_until_something_closes_them():
    x = layers.Input((3, None, None))
    y = layers.Conv2D(8, 3, strides=2)(x)
    assert y.shape == (8, None, None)
    assert layers.GlobalAveragePooling2D()(y).shape == (8,)


def test_probing_leaves_statistics_and_mode_alone():
    norm = layers.BatchNormalization()
    norm(layers.Input((4, 8, 8)))
    assert norm.modules[""].training
    assert norm.modules[""].num_batches_tracked == 0
    assert norm.modules[""].running_mean.eq(0).all()


def test_numbers_of_numpy_are_taken_as_numbers():
    labels = np.array([0, 3, 2])
    dense, pool = layers.Dense(labels.max() + 1), layers.MaxPooling2D((np.int64(2), np.int32(3)))
    assert (dense.units, type(dense.units)) == (4, int)
    assert pool.pool_size == (2, 3)
    assert json.loads(json.dumps(layers.Dropout(np.float32(0.5)).config()))["rate"] == 0.5
    assert layers.LeakyReLU(alpha=0.2).negative_slope == 0.2
