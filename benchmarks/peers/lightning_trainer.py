"""Lightning's Trainer over the plain loop's DataLoader and step, without logger, checkpoints or bar."""

# /// script
# dependencies = ["lightning>=2.5"]
# [tool.benchmark]
# torch = "ours"
# ///

from __future__ import annotations

import logging
import warnings

from protocol import BATCH_SIZE, LEARNING_RATE, OPTIONS, THREADS, run  # isort: skip  (limits the threads)

import lightning
import torch
from deepconvnet import answers, deepconvnet
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*does not have many workers.*")


class Digits(lightning.LightningModule):
    def __init__(self, ended):
        super().__init__()
        self.net, self.ended = deepconvnet(), ended

    def training_step(self, batch, _index):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)

    def on_train_epoch_end(self):
        self.ended()


def train(images, labels, epochs, ended):
    torch.set_num_threads(THREADS)
    lightning.seed_everything(OPTIONS.seed, verbose=False)
    data = TensorDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels))
    module = Digits(ended)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
        precision="bf16-mixed" if OPTIONS.precision == "bfloat16" else "32-true",
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch_size=BATCH_SIZE, shuffle=True))

    return answers(module.net)


run(train, "lightning", "torch")
