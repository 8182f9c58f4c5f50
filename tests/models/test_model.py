"""The front door: describe, compile, fit, evaluate, predict."""

import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers, models, optimizers
from lamina.core.errors import LaminaError, ShapeError
from lamina.training import Callback

RNG = np.random.default_rng(0)
X = RNG.random((200, 20), dtype=np.float32)
Y = (X[:, :10].sum(1) > X[:, 10:].sum(1)).astype(np.int64)
ONE_HOT = np.eye(2, dtype=np.float32)[Y]
IMAGES = RNG.random((40, 1, 8, 8), dtype=np.float32)
LABELS = (IMAGES.mean(axis=(1, 2, 3)) > 0.5).astype(np.int64)


def dense(outputs=2, activation="softmax", loss="sparse_categorical_crossentropy", metrics=("accuracy",), **options):
    torch.manual_seed(0)
    model = models.Sequential(
        [layers.Dense(16, activation="relu", input_shape=(20,)), layers.Dense(outputs, activation=activation)]
    )
    model.compile(optimizers.Adam(0.01), loss, list(metrics), **options)
    return model


def test_the_code_of_the_front_page_runs_as_it_stands():
    x_train, y_train = RNG.random((64, 784), dtype=np.float32), np.eye(10, dtype=np.float32)[RNG.integers(0, 10, 64)]

    model = models.Sequential()
    model.add(layers.Dense(32, activation="relu", input_shape=(784,)))
    model.add(layers.Dense(10, activation="softmax"))

    inputs = layers.Input(shape=(784,))
    x = layers.Dense(32, activation="relu")(inputs)
    outputs = layers.Dense(10, activation="softmax")(x)
    model = models.Model(inputs=inputs, outputs=outputs)

    model.compile(optimizer=optimizers.RMSprop(lr=0.001), loss="mse", metrics=["accuracy"])
    history = model.fit(x_train, y_train, batch_size=128, epochs=10, verbose=0)
    assert len(history.history["loss"]) == 10
    assert history.history["loss"][-1] < history.history["loss"][0]


@pytest.mark.parametrize(
    ("activation", "loss", "y", "outputs"),
    [
        ("softmax", "sparse_categorical_crossentropy", Y, 2),
        ("softmax", "categorical_crossentropy", ONE_HOT, 2),
        (None, "sparse_categorical_crossentropy", Y, 2),
        ("sigmoid", "binary_crossentropy", Y, 1),
        ("softmax", "mse", ONE_HOT, 2),
        ("softmax", "kl", ONE_HOT, 2),
        ("tanh", "hinge", Y * 2 - 1, 1),
    ],
)
def test_learns_with_every_loss_of_classes(activation, loss, y, outputs):
    model = dense(outputs, activation, loss)
    history = model.fit(X, y, epochs=20, batch_size=32, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert history["accuracy"][-1] > 0.8


def test_an_mse_regression_learns():
    y = X @ RNG.random((20, 1), dtype=np.float32)
    model = dense(1, None, "mse", ["mae"])
    history = model.fit(X, y, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert model.evaluate(X, y)["mae"] < 0.5


def test_a_closing_softmax_trains_from_logits_and_does_not_overflow():
    model = dense()
    with torch.no_grad():
        model.net[-2].weight.mul_(1e4)  # saturates the softmax: a logarithm of its output would be infinite
    assert np.isfinite(model.evaluate(X, Y)["loss"])
    assert np.allclose(model.predict(X).sum(1), 1)
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"][0])


def test_predict_and_evaluate_do_not_depend_on_the_batch_size():
    model = dense()
    model.fit(X, Y, verbose=0)
    assert np.abs(model.predict(X, batch_size=1) - model.predict(X, batch_size=200)).max() < 1e-5
    assert model.evaluate(X, Y, batch_size=7) == pytest.approx(model.evaluate(X, Y, batch_size=200), abs=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    def losses(seed):
        return dense().fit(X, Y, epochs=2, seed=seed, verbose=0).history["loss"]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_a_second_fit_continues():
    once, twice = dense(), dense()
    a = once.fit(X, Y, epochs=4, verbose=0).history["loss"]
    b = [*twice.fit(X, Y, epochs=2, verbose=0).history["loss"], *twice.fit(X, Y, epochs=2, verbose=0).history["loss"]]
    assert a == b


def test_validation_split_holds_out_the_last_samples_as_in_keras():
    split, given = dense(), dense()
    a = split.fit(X, Y, validation_split=0.25, verbose=0).history
    b = given.fit(X[:150], Y[:150], validation_data=(X[150:], Y[150:]), verbose=0).history
    assert a == b
    assert "val_accuracy" in a


def test_sample_and_class_weights_multiply_the_loss():
    weights = np.where(Y == 1, 3.0, 1.0)
    by_sample = dense().fit(X, Y, sample_weight=weights, verbose=0).history["loss"]
    by_class = dense().fit(X, Y, class_weight={0: 1.0, 1: 3.0}, verbose=0).history["loss"]
    assert by_sample == pytest.approx(by_class, rel=1e-6)
    assert by_sample[0] > 1.3 * dense().fit(X, Y, verbose=0).history["loss"][0]


def test_data_may_come_as_tensors_data_sets_and_loaders():
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    expected = dense().evaluate(X, Y)
    for data in (
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (tensors, None),
        (torch.utils.data.Subset(tensors, range(200)), None),
        (torch.utils.data.DataLoader(tensors, batch_size=32), None),
    ):
        assert dense().evaluate(*data) == pytest.approx(expected, abs=1e-5)
    history = (
        dense().fit(torch.utils.data.DataLoader(tensors, batch_size=32, shuffle=True), epochs=8, verbose=0).history
    )
    assert history["loss"][-1] < history["loss"][0]


def two_outputs():
    torch.manual_seed(0)
    left, right = layers.Input((10,), name="left"), layers.Input((10,), name="right")
    joined = layers.Concatenate()([left, right])
    x = layers.Dense(16, activation="relu")(joined)
    kind = layers.Dense(2, activation="softmax", name="kind")(x)
    total = layers.Dense(1, name="total")(x)
    return models.Model([left, right], [kind, total])


def test_several_outputs_are_weighted_into_one_loss():
    totals = X.sum(1, keepdims=True)
    model = two_outputs()
    model.compile(
        "adam",
        {"kind": "sparse_categorical_crossentropy", "total": "mse"},
        {"kind": ["accuracy"], "total": ["mae"]},
        loss_weights={"kind": 1.0, "total": 0.5},
    )
    figures = model.evaluate({"left": X[:, :10], "right": X[:, 10:]}, [Y, totals])
    assert set(figures) == {"loss", "kind_loss", "total_loss", "kind_accuracy", "total_mae"}
    assert figures["loss"] == pytest.approx(figures["kind_loss"] + 0.5 * figures["total_loss"], rel=1e-5)
    history = model.fit([X[:, :10], X[:, 10:]], {"kind": Y, "total": totals}, epochs=15, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    kind, total = model.predict([X[:, :10], X[:, 10:]])
    assert kind.shape == (200, 2)
    assert total.shape == (200, 1)


def test_regularizers_add_to_the_training_loss():
    def loss(**options):
        torch.manual_seed(0)
        model = models.Sequential([layers.Dense(2, input_shape=(20,), **options)])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model, model.fit(X, Y, batch_size=200, verbose=0).history["loss"][0]

    plain, without = loss()
    _, penalised = loss(kernel_regularizer="l2")
    torch.manual_seed(0)
    kernel = models.Sequential([layers.Dense(2, input_shape=(20,))]).net[0].weight
    assert penalised - without == pytest.approx(0.01 * (kernel**2).sum().item(), rel=1e-4)
    assert plain.evaluate(X, Y)["loss"] > 0


def test_any_torch_module_trains_and_stays_the_user_s():
    net = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
    model = models.Model(net)
    assert model.net is net
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(X, Y, epochs=10, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert net.training


def test_a_user_s_loss_metric_optimizer_and_callback_are_taken():
    def squared(outputs, targets):
        return (outputs - targets).square().mean()

    def largest_error(outputs, targets):
        return (outputs - targets).abs().amax(dim=1)

    seen = []

    class Note(Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(sorted(logs))

    torch.manual_seed(0)
    model = models.Sequential([layers.Dense(2, input_shape=(20,))])
    model.compile(lambda p: torch.optim.Adam(p, lr=0.01), squared, [largest_error])
    history = model.fit(X, ONE_HOT, epochs=5, callbacks=[Note()], verbose=0).history
    assert seen[0] == ["largest_error", "loss"]
    assert history["loss"][-1] < history["loss"][0]


def test_a_callback_may_stop_training_as_in_keras():
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = epoch == 1

    assert len(dense().fit(X, Y, epochs=9, callbacks=[Stop()], verbose=0).history["loss"]) == 2


def test_a_sequential_without_shape_is_built_at_its_first_call():
    model = models.Sequential([layers.Flatten(), layers.Dense(2)])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(IMAGES, LABELS, verbose=0)
    assert model.net(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


def test_a_model_is_no_module_and_says_where_the_module_is():
    model = dense()
    assert not isinstance(model, nn.Module)
    for name in ("parameters", "to", "train", "state_dict"):
        with pytest.raises(AttributeError, match=rf"use model\.net\.{name}"):
            getattr(model, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        model.nonsense  # noqa: B018


def test_a_model_joins_a_graph_as_a_layer():
    inner = dense()
    inputs = layers.Input((20,))
    outer = models.Model(inputs, layers.Dense(1)(inner(inputs)))
    assert outer.predict(X).shape == (200, 1)
    assert any(p is inner.net[0].weight for p in outer.net.parameters())


def test_a_sequential_without_shape_joins_a_graph_and_another_sequential():
    inner = models.Sequential([layers.Dense(8, activation="relu")])
    inputs = layers.Input((20,))
    outer = models.Model(inputs, layers.Dense(1)(inner(inputs)))
    assert outer.predict(X).shape == (200, 1)
    assert inner.net[0].in_features == 20
    nested = models.Sequential([models.Sequential([layers.Dense(8)]), layers.Dense(3)])
    assert nested(X).shape == (200, 3)
    pictures = layers.Input((9, 7, 2), data_format="channels_last")
    maps = models.Sequential([layers.Conv2D(4, 3)])(pictures)
    assert maps.shape == (7, 5, 4)
    with pytest.raises(LaminaError, match=r"has no layers.*Add layers first"):
        models.Sequential()(layers.Input((3,)))


@pytest.mark.parametrize("wrap", [lambda layer: layer, lambda layer: models.Sequential([layer])])
def test_data_of_a_wrong_shape_leave_a_sequential_as_it_was(wrap):
    model = models.Sequential(
        [wrap(layers.Flatten()), wrap(layers.Dense(5)), layers.Reshape((1, 5)), layers.Conv2D(8, 3)]
    )
    with pytest.raises(ShapeError, match="Conv2D"):
        model(X)
    model = models.Sequential(
        [wrap(layers.Dense(5)), layers.Conv2D(8, 3, padding="same"), layers.Flatten(), layers.Dense(3)]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ShapeError, match="Conv2D"):
        model.fit(X, Y, verbose=0)
    model.fit(X.reshape(200, 1, 4, 5), Y, verbose=0)
    assert model.predict(X.reshape(200, 1, 4, 5)).shape == (200, 3)


def test_a_layer_that_does_not_fit_is_not_kept():
    model = models.Sequential([layers.Dense(4, input_shape=(20,))])
    with pytest.raises(ShapeError, match="Conv2D"):
        model.add(layers.Conv2D(8, 3))
    model.add(layers.Dense(3))
    assert model.predict(X).shape == (200, 3)
    assert len(model.layers) == 2


def test_calling_a_model_on_data_gives_the_network_s_output():
    model = dense()
    assert torch.equal(model(X[:4]), model.net(torch.from_numpy(X[:4])))


def test_keras_habits_are_kept():
    model = dense()
    assert [type(layer).__name__ for layer in model.layers] == ["Dense", "Dense"]
    assert model.get_layer("dense") is model.layers[0]
    assert model.get_layer(index=1) is model.layers[1]
    assert model.fit(X, Y, verbose=0) is model.history


def test_layers_go_through_json_and_draw_themselves():
    model = two_outputs()
    again = models.model_from_json(model.to_json())
    assert list(again.net.state_dict()) == list(model.net.state_dict())
    again.net.load_state_dict(model.net.state_dict())
    x = [X[:, :10], X[:, 10:]]
    for one, other in zip(model.predict(x), again.predict(x), strict=True):
        assert np.array_equal(one, other)
    assert "<svg" in model.draw().svg


def test_summary_prints_in_a_script_and_is_returned(capsys):
    table = dense().summary()
    assert table.parameters == 20 * 16 + 16 + 16 * 2 + 2
    assert "370" in capsys.readouterr().out
    dense().summary(show=False)
    assert capsys.readouterr().out == ""


def test_augmentation_changes_training_batches_only():
    class Black:
        draws = 1

        def __call__(self, images, uniforms):
            return images * 0

    torch.manual_seed(0)
    model = models.Sequential([layers.Flatten(input_shape=(1, 8, 8)), layers.Dense(2)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.net.state_dict()["dense.weight"].clone()
    expected = model.evaluate(IMAGES, LABELS)
    model.fit(IMAGES, LABELS, augment=Black(), verbose=0)
    assert torch.equal(model.net.state_dict()["dense.weight"], before)  # black pictures give no gradient
    assert expected["loss"] > 0
