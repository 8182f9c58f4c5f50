import pytest
import torch

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError, UnknownNameError
from lamina.layers.inputs import first_input


@pytest.mark.parametrize("shape", [(28, 28, 1), (224, 224, 3), (None, None, 3)])
def test_a_shape_that_looks_channels_last_is_an_error_with_both_remedies(shape):
    with pytest.raises(ShapeError) as caught:
        layers.Input(shape)
    assert str((shape[2], *shape[:2])) in caught.value.remedy
    assert 'data_format="channels_last"' in caught.value.remedy


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 3, 3), (64, 1, 1), (28, 28), (3, None, None)])
def test_other_shapes_are_taken_as_they_are(shape):
    assert layers.Input(shape).shape == shape


def test_an_explicit_layout_is_believed():
    assert layers.Input((28, 28, 1), data_format="channels_first").sizes == (28, 28, 1)
    assert layers.Input((28, 28, 1), data_format="channels_last").sizes == (1, 28, 28)


@pytest.mark.parametrize("shape", [784, (0, 3), (2.5,), (-1,), "ab", (True,)])
def test_refuses_what_is_no_shape(shape):
    with pytest.raises(ShapeError, match="positive integers"):
        layers.Input(shape)


@pytest.mark.parametrize("name", ["my image", "class", "self", "torch", "a.b"])
def test_refuses_a_name_that_is_no_argument_name(name):
    with pytest.raises(LaminaError, match="Python name"):
        layers.Input((4,), name=name)


def test_unknown_dtype_and_layout_are_named():
    with pytest.raises(UnknownNameError, match="'float32'"):
        layers.Input((4,), "float31")
    with pytest.raises(UnknownNameError, match="'channels_last'"):
        layers.Input((4,), data_format="channel_last")


def test_the_first_input_of_a_chain_has_the_numbers_its_layer_reads():
    assert first_input(layers.Embedding(10, 4), (7,)).dtype == torch.int64
    assert first_input(layers.Dense(10), (7,)).dtype == torch.float32
