"""fastai's Learner on its own DataLoaders, with torch's Adam; nothing is validated between epochs."""

# /// script
# dependencies = ["fastai>=2.8"]
# [tool.benchmark]
# torch = "ours"
# ///

from __future__ import annotations

from functools import partial

from protocol import BATCH_SIZE, LEARNING_RATE, OPTIONS, THREADS, run  # isort: skip  (limits the threads)

import torch
from deepconvnet import answers, deepconvnet
from fastai.callback.core import Callback, CancelValidException
from fastai.callback.progress import ProgressCallback  # noqa: F401  (gives Learner its no_bar)
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch.nn import functional as F
from torch.utils.data import TensorDataset


class Marks(Callback):
    def __init__(self, ended):
        self.ended = ended

    def before_validate(self):
        raise CancelValidException

    def after_epoch(self):
        self.ended()


def train(images, labels, epochs, ended):
    torch.set_num_threads(THREADS)
    torch.manual_seed(OPTIONS.seed)
    data = TensorDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels))
    held = TensorDataset(*data[:BATCH_SIZE])
    loaders = DataLoaders.from_dsets(data, held, bs=BATCH_SIZE, num_workers=0, drop_last=False, device="cpu")
    net = deepconvnet()
    optimizer = partial(OptimWrapper, opt=torch.optim.Adam)
    learner = Learner(loaders, net, loss_func=F.cross_entropy, opt_func=optimizer, cbs=Marks(ended))
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, LEARNING_RATE)

    return answers(net)


run(train, "fastai", "torch")
