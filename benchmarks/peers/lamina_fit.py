"""Ours: `fit` on the same arrays, at its defaults."""

from __future__ import annotations

from protocol import BATCH_SIZE, LEARNING_RATE, OPTIONS, THREADS, run  # isort: skip  (limits the threads)

import torch
from deepconvnet import PARAMETERS

from lamina import models, networks, optimizers
from lamina.training import Callback


class Marks(Callback):
    def __init__(self, ended):
        self.ended = ended

    def on_epoch_end(self, epoch, logs):
        self.ended()


def train(images, labels, epochs, ended):
    torch.set_num_threads(THREADS)
    torch.manual_seed(OPTIONS.seed)
    net = networks.create("deepconvnet", num_classes=10, in_channels=1)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS
    model = models.Model(net)
    model.compile(
        optimizer=optimizers.Adam(learning_rate=LEARNING_RATE),
        loss=torch.nn.CrossEntropyLoss(),
        metrics=["accuracy"],
        precision="auto" if OPTIONS.precision == "default" else OPTIONS.precision,
    )
    model.fit(
        images[:, None], labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=0, seed=OPTIONS.seed,
        callbacks=[Marks(ended)],
    )  # fmt: skip
    return lambda digits: model.predict(digits[:, None]).argmax(1)


run(train, "lamina", "torch")
