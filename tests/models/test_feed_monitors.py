"""What is asked of callbacks before the first step: figures that will be logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina import callbacks, layers, models
from lamina.core.errors import LaminaError

X, Y = np.zeros((8, 3), np.float32), np.arange(8) % 2


def fitted(callback: Any, **options: Any) -> list[str]:
    """What was logged when a small model was fitted with the callback."""
    model = models.Sequential([layers.Dense(2, input_shape=(3,))])
    model.compile("sgd", "sparse_categorical_crossentropy", ["acc"])
    return sorted(model.fit(X, Y, callbacks=[callback], verbose=0, **options).history)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (callbacks.EarlyStopping, r"EarlyStopping monitors 'val_loss'.*Logged: loss, acc\. Give fit validation_data"),
        (lambda: callbacks.ReduceLROnPlateau("accuracy"), r"'accuracy'.*Logged: loss, acc\. Monitor one of these"),
        (
            lambda: callbacks.ModelCheckpoint("x.safetensors", "f1", save_best_only=True),
            "ModelCheckpoint monitors 'f1'",
        ),
    ],
)
def test_an_unknown_monitor_is_refused_before_training(tmp_path: Path, make: Any, says: str) -> None:
    with pytest.raises(LaminaError, match=says):
        fitted(make(), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_figures_that_will_be_logged_are_accepted(tmp_path: Path) -> None:
    expected = ["acc", "loss", "val_acc", "val_loss"]
    for monitor in expected:
        assert fitted(callbacks.EarlyStopping(monitor), validation_split=0.5) == expected
    assert fitted(callbacks.ModelCheckpoint(str(tmp_path / "m.safetensors"))) == ["acc", "loss"]


def test_the_losses_of_several_outputs_can_be_monitored() -> None:
    x = layers.Input(shape=(3,))
    model = models.Model(x, [layers.Dense(1, name="one")(x), layers.Dense(1, name="two")(x)])
    model.compile("sgd", "mse")
    both = {"validation_data": (X, [Y, Y]), "verbose": 0}
    model.fit(X, [Y, Y], callbacks=[callbacks.EarlyStopping("val_two_loss")], **both)
    with pytest.raises(LaminaError, match="one_loss, two_loss, val_loss"):
        model.fit(X, [Y, Y], callbacks=[callbacks.EarlyStopping("three_loss")], **both)
