"""Traps of training that no one sees until their figures are wrong."""

import math
import os

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import layers, losses, metrics, models, optimizers
from lamina.core.errors import LaminaError, ShapeError
from lamina.data.augment import RandomShift
from lamina.training import Callback, EarlyStopping

RNG = np.random.default_rng(0)
X = RNG.random((64, 8), dtype=np.float32)
Y = RNG.integers(0, 3, 64)
LOADER = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=16
)


def small(dropout=0.5, loss="sparse_categorical_crossentropy", metric=("accuracy",), last="softmax"):
    model = models.Sequential(
        [
            layers.Dense(8, input_shape=(8,)),
            layers.BatchNormalization(),
            layers.Dropout(dropout),
            layers.Dense(3, activation=last),
        ]
    )
    model.compile("adam", loss, list(metric))
    return model


def test_a_call_after_fit_is_inference_and_leaves_the_statistics_alone():
    model = small()
    model.fit(X, Y, verbose=0)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    assert torch.equal(model(X), model(X))
    assert np.allclose(model(X).detach().numpy(), model.predict(X), atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert not torch.equal(model(X, training=True), model(X, training=True))


def test_fit_leaves_the_caller_s_random_numbers_where_they_were():
    torch.manual_seed(42)
    members = []
    for _ in range(3):
        model = small()
        model.fit(X, Y, verbose=0)
        members.append(model.predict(X))
    assert not np.array_equal(members[1], members[2])
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model.fit(X, Y, verbose=0)
    assert torch.equal(torch.rand(3), expected)


def test_probabilities_that_are_not_a_closing_layer_are_not_taken_for_logits():
    inputs = layers.Input((8,))
    average = layers.Average()([layers.Dense(3, activation="softmax")(inputs) for _ in range(2)])

    class Softmax(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, x):
            return self.layer(x).softmax(1)

    for model in (models.Model(inputs, average), models.Model(Softmax())):
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        probs = model.predict(X)
        expected = -np.log(probs[np.arange(64), Y]).mean()
        assert model.evaluate(X, Y)["loss"] == pytest.approx(expected, rel=1e-5)


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return torch.from_numpy(X[index])


@pytest.mark.parametrize("kind", ["tensors", "tensors in batches", "own", "own in batches", "tuples"])
def test_predict_takes_torch_s_data_without_targets(kind):
    model = small()
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X))
    given = {
        "tensors": rows,
        "tensors in batches": torch.utils.data.DataLoader(rows, batch_size=16),
        "own": Pictures(),
        "own in batches": torch.utils.data.DataLoader(Pictures(), batch_size=16),
        "tuples": [(X[:40],), (X[40:],)],
    }[kind]
    given = iter(given) if kind == "tuples" else given
    assert np.array_equal(model.predict(given), model.predict(X))


def test_predict_names_the_layer_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"The layer '', Linear.*was given \(2, 5\)"):
        models.Model(nn.Linear(6, 3)).predict(np.zeros((4, 5), dtype="float32"))
    inputs = layers.Input((1, None, None))
    model = models.Model(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 5, name="wide")(inputs)))
    with pytest.raises(ShapeError, match="The layer 'wide'"):
        model.predict(np.zeros((4, 1, 3, 3), dtype="float32"))


@pytest.mark.parametrize(
    "loss",
    [losses.SparseCategoricalCrossentropy(ignore_class=0), nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 5.0]))],
)
def test_losses_that_ignore_or_weigh_classes_do_not_depend_on_the_batch_size(loss):
    model = small(loss=loss, last=None)
    figures = [model.evaluate(X, Y, batch_size=size)["loss"] for size in (1, 7, 64)]
    assert figures == pytest.approx([figures[0]] * 3, rel=1e-5)
    ones = model.evaluate(X, Y, batch_size=7, sample_weight=np.ones(64))["loss"]
    assert ones == pytest.approx(figures[0], rel=1e-5)


def test_one_metric_object_serves_several_outputs_apart():
    inputs = layers.Input((8,))
    a, b = (layers.Dense(3, name=name)(inputs) for name in "ab")
    model = models.Model(inputs, [a, b])
    model.compile("adam", "sparse_categorical_crossentropy", [metrics.Accuracy("sparse")])
    figures = model.evaluate(X, [Y, (Y + 1) % 3])
    first, second = (predicted.argmax(1) for predicted in model.predict(X))
    assert figures["a_accuracy"] == pytest.approx((first == Y).mean())
    assert figures["b_accuracy"] == pytest.approx((second == (Y + 1) % 3).mean())


@pytest.mark.parametrize(
    "given",
    [{"class_weight": {0: 2.0}}, {"sample_weight": Y * 0.0}, {"validation_split": 0.5}, {"augment": RandomShift(1)}],
)
def test_what_acts_on_arrays_is_refused_beside_batches(given):
    with pytest.raises(LaminaError, match=next(iter(given))):
        small().fit(LOADER, verbose=0, **given)


def test_augmenting_channels_last_images_is_refused():
    inputs = layers.Input((28, 28, 1), data_format="channels_last")
    model = models.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(LaminaError, match="channels-last"):
        model.fit(RNG.random((6, 28, 28, 1)), Y[:6], augment=RandomShift(1), verbose=0)


def test_batches_are_checked_as_arrays_are():
    def loader(x, y):
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.as_tensor(x), torch.as_tensor(y)), 16)

    wrong = Y.copy()
    wrong[40] = 9
    for bad, says in ((loader(X, wrong), "9"), (loader(X[:, :5], Y), r"\(5,\)"), (loader(X * np.nan, Y), "NaN")):
        with pytest.raises(LaminaError, match=says):
            small().fit(bad, verbose=0)
    unbuilt = models.Sequential([layers.Dense(3)])
    unbuilt.compile("adam", "sparse_categorical_crossentropy")
    assert unbuilt.fit(LOADER, verbose=0).history["loss"]
    assert small().predict(LOADER).shape == (64, 3)
    with pytest.raises(LaminaError, match="iterator is empty"):
        small().fit(iter(list(LOADER)), epochs=2, verbose=0)


def test_what_was_compiled_goes_through_the_file(tmp_path):
    model = small(loss=losses.SparseCategoricalCrossentropy(label_smoothing=0.2), metric=("accuracy", "top5"))
    model.compile(optimizers.SGD(0.05, momentum=0.9), model._compiled["loss"], ("accuracy", "f1"))
    loaded = lamina.load(model.save(tmp_path / "m.safetensors"))
    assert loaded.evaluate(X, Y) == pytest.approx(model.evaluate(X, Y))
    assert loaded._compiled["optimizer"] == optimizers.SGD(0.05, momentum=0.9)


def test_layers_may_be_frozen_and_unfrozen_after_compile():
    model = small(dropout=0.0)
    model.fit(X, Y, verbose=0)
    first = model.net[0]
    first.requires_grad_(False)
    before = first.weight.clone()
    model.fit(X, Y, verbose=0)
    assert torch.equal(first.weight, before)
    first.requires_grad_(True)
    model.fit(X, Y, verbose=0)
    assert not torch.equal(first.weight, before)
    for parameter in model.net.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(LaminaError, match="no trainable parameters"):
        model.fit(X, Y, verbose=0)


def test_a_frozen_batch_norm_stays_frozen():
    model = small()
    norm = model.net[1].eval()
    before = norm.running_mean.clone()
    model.fit(X, Y, epochs=2, verbose=0)
    assert torch.equal(norm.running_mean, before)
    assert not norm.training


def test_an_early_stopped_run_is_finished(tmp_path, capsys):
    def fit():
        stop = EarlyStopping(monitor="loss", patience=1, min_delta=10.0)
        return small().fit(X, Y, epochs=9, run=tmp_path / "run", resume=True, callbacks=[stop], verbose=0)

    epochs = [len(fit().epoch) for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2] < 9
    assert "finished" in capsys.readouterr().out


def test_callbacks_may_be_added_when_a_run_is_resumed(tmp_path):
    class Count(Callback):
        seen = 0

        def on_epoch_end(self, epoch, logs):
            self.seen += 1

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    small().fit(X, Y, epochs=2, run=tmp_path / "run", callbacks=[Count()], verbose=0)
    count = Count()
    more = [lamina.callbacks.CSVLogger(tmp_path / "log.csv"), count]
    small().fit(X, Y, epochs=3, run=tmp_path / "run", resume=True, callbacks=more, verbose=0)
    assert count.seen == 3


def test_a_run_goes_on_with_the_batch_size_and_seed_it_began_with(tmp_path):
    small().fit(X, Y, epochs=1, run=tmp_path / "run", verbose=0)
    for other in ({"batch_size": 7}, {"seed": 5}):
        with pytest.raises(LaminaError, match=next(iter(other))):
            small().fit(X, Y, epochs=2, run=tmp_path / "run", resume=True, verbose=0, **other)


def test_every_callback_ends_although_another_fails():
    ended = []

    class Fails(Callback):
        def on_train_end(self, logs):
            raise RuntimeError("in a callback")

    class Ends(Callback):
        def on_train_end(self, logs):
            ended.append(True)

    with pytest.raises(RuntimeError, match="in a callback"):
        small().fit(X, Y, callbacks=[Fails(), Ends()], verbose=0)
    assert ended


def test_nan_is_never_the_best_epoch(tmp_path):
    class Spoil(Callback):
        def on_epoch_begin(self, epoch, logs):
            with torch.no_grad():
                self.model.net[-2].weight.fill_(math.nan if epoch == 0 else 0.1)

        def on_train_batch_end(self, batch, logs):
            if self.loop.epoch == 1:
                with torch.no_grad():
                    for parameter in self.model.net.parameters():
                        parameter.nan_to_num_(0.1)
                    for buffer in self.model.net.buffers():
                        if buffer.is_floating_point():
                            buffer.nan_to_num_(1.0)

    model = small(dropout=0.0)
    model.fit(X, Y, epochs=2, run=tmp_path / "run", validation_data=(X, Y), callbacks=[Spoil()], verbose=0)
    assert np.isfinite(lamina.load(tmp_path / "run" / "best.safetensors").predict(X)).all()


def test_without_validation_no_epoch_is_called_the_best(tmp_path):
    small().fit(X, Y, epochs=1, run=tmp_path / "run", verbose=0)
    assert (tmp_path / "run" / "last.safetensors").exists()
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_a_full_disk_and_an_unwritable_folder_are_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(LaminaError, match="could not be written"):
        small().fit(X, Y, run=tmp_path / "file" / "run", verbose=0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LaminaError, match="No space left"):
        small().fit(X, Y, run=tmp_path / "run", verbose=0)


def test_a_single_metric_and_a_named_schedule_are_taken(tmp_path):
    model = models.Sequential([layers.Dense(3, input_shape=(8,))])
    model.compile("adam", "sparse_categorical_crossentropy", metrics="accuracy", schedule="cosine")
    history = model.fit(X, Y, run=tmp_path / "run", verbose=0)
    assert "accuracy" in history.history
    assert "- accuracy" in (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(LaminaError, match="'cosine'"):
        model.compile("adam", "mse", schedule="cosin")
    with pytest.raises(LaminaError, match="'accuracy'"):
        models.Sequential([layers.Dense(3)]).compile("adam", "mse", metrics=["acuracy"])


def test_penalties_count_in_evaluation_too_as_in_keras():
    torch.manual_seed(0)
    plain = models.Sequential([layers.Dense(3, input_shape=(8,))])
    torch.manual_seed(0)
    penalised = models.Sequential([layers.Dense(3, input_shape=(8,), kernel_regularizer="l2")])
    for model in (plain, penalised):
        model.compile("adam", "sparse_categorical_crossentropy")
    extra = 0.01 * (plain.net[0].weight.detach() ** 2).sum().item()
    difference = penalised.evaluate(X, Y)["loss"] - plain.evaluate(X, Y)["loss"]
    assert difference == pytest.approx(extra, rel=1e-3)


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(LaminaError, match="cpu"):
        small().compile("adam", "mse", device="gpu")


def test_a_run_of_another_network_or_optimizer_is_not_gone_on_with(tmp_path):
    small().fit(X, Y, epochs=1, run=tmp_path / "run", verbose=0)
    other = models.Sequential([layers.Dense(3, input_shape=(8,))])
    other.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    with pytest.raises(LaminaError, match=r"network: net dense\.weight was 8x8"):
        other.fit(X, Y, epochs=2, run=tmp_path / "run", resume=True, verbose=0)
    faster = small()
    faster.compile(optimizers.Adam(0.5), "sparse_categorical_crossentropy", ["accuracy"])
    with pytest.raises(LaminaError, match="optimizer"):
        faster.fit(X, Y, epochs=2, run=tmp_path / "run", resume=True, verbose=0)
