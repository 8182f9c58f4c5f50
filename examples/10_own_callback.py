"""A callback of your own: keeps the weights of the best epoch and stops when the validation loss has been low enough."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from lamina import layers, models
from lamina.training import Callback


class StopWhenGood(Callback):
    """Stops below a validation loss and remembers the network of that moment."""

    def __init__(self, val_loss: float) -> None:
        self.val_loss = val_loss
        self.kept: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if logs["val_loss"] < self.val_loss:
            self.kept = copy.deepcopy(self.model.net.state_dict())
            self.model.stop_training = True


torch.manual_seed(0)
x = torch.rand(2000, 2)
y = (x.sum(dim=1) > 1).long()

model = models.Sequential([layers.Dense(16, activation="relu", input_shape=(2,)), layers.Dense(2)])
model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
stop = StopWhenGood(0.25)
history = model.fit(x, y, epochs=100, validation_split=0.2, callbacks=[stop])

print(f"stopped after {len(history.epoch)} epochs at a validation loss of {history.history['val_loss'][-1]:.3f}")
assert len(history.epoch) < 100
assert stop.kept
