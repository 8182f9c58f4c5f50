"""Each bad input gets an error in three parts, before anything is lost."""

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import layers, models
from lamina.core.errors import LaminaError
from lamina.models import arrays, balancing
from lamina.training import EarlyStopping

RNG = np.random.default_rng(0)
X, Y = RNG.random((20, 6), dtype=np.float32), RNG.integers(0, 3, 20)
ONE_HOT = np.eye(3, dtype=np.float32)[Y]


def model_of(loss="sparse_categorical_crossentropy"):
    torch.manual_seed(0)
    model = models.Sequential([layers.Dense(3, activation="softmax", input_shape=(6,))])
    model.compile("adam", loss, ["accuracy"])
    return model


def with_value(y, value):
    y = np.array(y)
    y[3] = value
    return y


def nan_at(x, index):
    x = x.copy()
    x[index] = np.nan
    return x


@pytest.mark.parametrize(
    ("loss", "x", "y", "says"),
    [
        ("sparse_categorical_crossentropy", X, Y[:15], ["20", "15"]),
        ("sparse_categorical_crossentropy", X, with_value(Y, 3), ["3"]),
        ("sparse_categorical_crossentropy", X, with_value(Y, -1), ["-1"]),
        ("sparse_categorical_crossentropy", X, Y + 0.5, ["integer"]),
        ("sparse_categorical_crossentropy", X, ONE_HOT, ["one-hot", "categorical_crossentropy"]),
        ("categorical_crossentropy", X, Y, ["sparse_categorical_crossentropy"]),
        ("sparse_categorical_crossentropy", nan_at(X, (4, 2)), Y, ["NaN", "sample 4"]),
        ("sparse_categorical_crossentropy", X[:0], Y[:0], ["empty"]),
        ("sparse_categorical_crossentropy", X[:, :5], Y, ["(5,)", "(6,)"]),
        ("sparse_categorical_crossentropy", "text", Y, ["x"]),
        ("mse", X, ONE_HOT[:, :2], ["(20, 2)", "(20, 3)"]),
    ],
)
def test_what_does_not_fit_is_said_before_the_first_step(loss, x, y, says):
    model = model_of(loss)
    before = model.net[0].weight.clone()
    with pytest.raises(LaminaError) as caught:
        model.fit(x, y, verbose=0)
    for text in says:
        assert text in str(caught.value)
    assert caught.value.remedy
    assert torch.equal(model.net[0].weight, before)


def test_a_torch_module_that_does_not_fit_names_the_layer_and_both_shapes():
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(5, 3))
    model = models.Model(net)
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(LaminaError, match=r"The layer '2', Linear\(in_features=5.*\(2, 4\)"):
        model.fit(X, Y, verbose=0)


def test_integer_images_that_nobody_scales_warn_with_what_to_add():
    images = RNG.integers(0, 256, (20, 1, 4, 4), dtype=np.uint8)
    plain = models.Sequential([layers.Flatten(input_shape=(1, 4, 4)), layers.Dense(3)])
    plain.compile("adam", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match=r"layers\.Rescaling\(1 / 255\)"):
        plain.fit(images, Y, verbose=0)
    scaled = models.Sequential([layers.Rescaling(1 / 255, input_shape=(1, 4, 4)), layers.Flatten(), layers.Dense(3)])
    scaled.compile("adam", "sparse_categorical_crossentropy")
    scaled.fit(images, Y, verbose=0)  # warnings are errors in these tests


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        ({"optimizer": "adamm", "loss": "mse"}, "'adam'"),
        ({"optimizer": "adam", "loss": "crossentropy"}, "crossentropy'"),
        ({"optimizer": "adam", "loss": "mse", "metrics": ["acuracy"]}, "'accuracy'"),
    ],
)
def test_unknown_names_list_the_nearest(arguments, near):
    with pytest.raises(LaminaError) as caught:
        models.Sequential([layers.Dense(3, input_shape=(6,))]).compile(**arguments)
    assert near in str(caught.value)


def test_fit_before_compile_and_compile_without_loss_say_so():
    model = models.Sequential([layers.Dense(3, input_shape=(6,))])
    with pytest.raises(LaminaError, match="not compiled"):
        model.fit(X, Y)
    with pytest.raises(LaminaError, match="without a loss"):
        model.compile("adam")


def test_a_torch_call_on_a_symbol_is_refused_with_advice():
    inputs = layers.Input((1, 8, 8))
    with pytest.raises(LaminaError, match=r"layers\.Torch"):
        nn.Conv2d(1, 4, 3)(inputs)


def test_arrays_beside_several_inputs_are_counted_and_named():
    a, b = layers.Input((6,), name="a"), layers.Input((6,), name="b")
    model = models.Model([a, b], layers.Dense(3)(layers.Add()([a, b])))
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(LaminaError, match="a, b"):
        model.fit(X, Y, verbose=0)
    with pytest.raises(LaminaError, match=r"keys \['a', 'c'\]"):
        model.fit({"a": X, "c": X}, Y, verbose=0)


def test_a_validation_split_that_leaves_nothing_is_refused():
    with pytest.raises(LaminaError, match="leaves 20 to train and 0"):
        model_of().fit(X, Y, validation_split=0.01, verbose=0)


def test_binary_labels_of_shape_b_do_not_broadcast_against_outputs_of_b_1():
    model = models.Sequential([layers.Dense(1, activation="sigmoid", input_shape=(6,))])
    model.compile("adam", "binary_crossentropy", ["accuracy"])
    y = (Y > 0).astype(np.int64)
    flat, column = model.evaluate(X, y), model.evaluate(X, y[:, None])
    assert flat == pytest.approx(column)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), batch_size=5
    )
    assert model.evaluate(loader) == pytest.approx(flat, abs=1e-6)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64, ">f4", ">i2"])
def test_arrays_that_torch_cannot_reckon_with_are_taken_as_they_are_meant(kind):
    assert arrays.collect(X.astype(kind)).inputs[0].max() == X.astype(kind).max()
    assert arrays.collect(torch.zeros(3, dtype=torch.uint16)).inputs[0].dtype == torch.int32


def test_reversed_and_read_only_arrays_are_copied_and_others_shared():
    frozen = X.copy()
    frozen.flags.writeable = False
    for array in (X[::-1], X[:, ::-1], frozen, frozen[::-1]):  # warnings are errors in these tests
        tensor = arrays.to_tensor(array, "x")
        assert np.array_equal(tensor.numpy(), array)
        tensor[0] = 7
        assert frozen.max() < 1
        assert X.max() < 1
    assert arrays.to_tensor(X, "x").data_ptr() == X.ctypes.data


@pytest.mark.parametrize("shape", [(20, 28, 28), (20, 784)])
def test_kerass_mnist_and_flat_pictures_of_uint8_warn_too(shape):
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    with pytest.warns(UserWarning, match=r"layers\.Rescaling\(1 / 255\)"):
        arrays.warn_unscaled(arrays.collect(images), nn.Linear(1, 1))
    arrays.warn_unscaled(arrays.collect(images // 200), nn.Linear(1, 1))
    arrays.warn_unscaled(arrays.collect(images), nn.Embedding(256, 2))
    arrays.warn_unscaled(arrays.collect(images.astype(np.int64)), nn.Linear(1, 1))


def test_class_weights_are_those_of_each_sample_s_class():
    weights = {1: 3.0}
    expected = np.where(Y == 1, 3.0, 1.0)
    for y in (Y, Y[:, None], ONE_HOT, ONE_HOT.astype(np.int64), ONE_HOT * 0.8 + 0.1):
        assert np.array_equal(balancing.sample_weights(arrays.collect(X, y), weights), expected)
    assert balancing.sample_weights(arrays.collect(X, Y), {}) is None
    assert balancing.sample_weights(arrays.collect(X, np.where(Y == 0, -1, Y)), {2: 5.0}).tolist() == [
        5.0 if y == 2 else 1.0 for y in Y
    ]


@pytest.mark.parametrize(
    ("y", "weights", "says"),
    [
        (RNG.integers(0, 3, (20, 4, 4)), {1: 2.0}, ["(20, 4, 4)", "CrossEntropyLoss(weight"]),
        (RNG.integers(0, 3, (20, 4)), {1: 2.0}, ["(20, 4)"]),
        (Y, {"cat": 2.0}, ["'cat'", "integers"]),
        (Y, {-1: 2.0}, ["[-1]"]),
    ],
)
def test_class_weights_without_a_class_for_each_sample_are_refused(y, weights, says):
    with pytest.raises(LaminaError) as caught:
        balancing.sample_weights(arrays.collect(X, y), weights)
    for text in says:
        assert text in str(caught.value)
    assert caught.value.remedy


def test_channels_that_stand_last_are_transposed_and_never_reshaped():
    model = models.Sequential([layers.Rescaling(1 / 255, input_shape=(3, 16, 16)), layers.Flatten(), layers.Dense(2)])
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(LaminaError, match=r"transpose\(0, 3, 1, 2\)"):
        model.fit(np.zeros((4, 16, 16, 3), np.uint8), np.zeros(4, np.int64), verbose=0)


def test_a_loss_and_a_metric_of_y_true_and_y_pred_are_called_in_keras_s_order():
    def asymmetric(y_true, y_pred):
        return ((y_true - y_pred) * (1 + y_true)).square().mean(dim=1)

    def largest(y_true, y_pred):
        return y_true.amax(dim=1)

    model = models.Sequential([layers.Dense(3, input_shape=(6,))])
    model.compile("adam", asymmetric, [largest])
    figures = model.evaluate(X, ONE_HOT)
    outputs = model.predict(X)
    assert figures["loss"] == pytest.approx(np.square((ONE_HOT - outputs) * (1 + ONE_HOT)).mean(), rel=1e-5)
    assert figures["largest"] == 1.0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"callbacks": [EarlyStopping]}, "the class EarlyStopping"),
        ({"callbacks": ["stop"]}, "a str"),
        ({"epochs": 1.5}, "1.5"),
        ({"epochs": -1}, "-1"),
    ],
)
def test_callbacks_and_epochs_that_are_none_are_told(given, says):
    with pytest.raises(LaminaError, match=says):
        model_of().fit(X, Y, verbose=0, **given)


def test_a_data_set_of_several_parts_and_a_path_say_what_to_pass():
    for data in (lamina.data.load("mnist"), "photos/"):
        with pytest.raises(LaminaError, match=r"\.train"):
            model_of().fit(data, verbose=0)
