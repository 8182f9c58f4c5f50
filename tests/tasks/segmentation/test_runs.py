"""A run of a Segmenter goes on where it was stopped, bit for bit, and is the same in two processes as in one."""

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina.optimizers import SGD, AdamW
from lamina.training import Callback

TOLD = {"batch_size": 4, "epochs": 2, "validation_split": 0.0, "verbose": 0}
SMALL = lamina.Preprocess(size=(16, 24), resize="pad")


def pictures():
    """Twelve pictures of noise, of which the brighter half is a class; most of the labels of every fourth are unknown."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 120, (12, 3, 16, 24)).astype(np.uint8)
    x[..., 12:] += 100
    y = np.zeros((12, 16, 24), np.uint8)
    y[..., 12:] = 1
    y[::4, 2:] = 255
    return x, y


def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))


class Stop(Callback):
    def on_train_batch_end(self, batch, logs):
        if self.loop.steps_done == 4:
            raise KeyboardInterrupt


def named_segmenter(seed=0):
    torch.manual_seed(seed)  # the network is made by fit
    told = {"backbone": "cifar_resnet20", "arguments": {"width": 2}}
    model = lamina.Segmenter("unet", preprocess=SMALL, **told)
    model.compile(AdamW(0.01), "pixel_crossentropy+dice", device="cpu")
    return model


def test_a_run_that_was_stopped_in_an_epoch_goes_on_bit_for_bit(tmp_path):
    x, y = pictures()
    told = {**TOLD, "balance": "median_frequency", "augment": "usual"}
    whole = named_segmenter()
    expected = whole.fit(x, y, **told)
    with pytest.raises(KeyboardInterrupt):
        named_segmenter().fit(x, y, run=tmp_path, callbacks=[Stop()], checkpoint_every=1, **told)
    resumed = named_segmenter(seed=1)  # other initial values, which give way to those of the run
    history = resumed.fit(x, y, run=tmp_path, resume=True, checkpoint_every=1, **told)
    for one, other in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    for name in ("loss", "mean_iou", "pixel_accuracy"):
        assert history.history[name] == expected.history[name]


def learnt():
    x, y = pictures()
    torch.manual_seed(0)
    model = lamina.Segmenter(plain(), preprocess=SMALL)
    model.compile(SGD(0.05), device="cpu", precision="float32")
    history = model.fit(x, y, validation_data=(x[:5], y[:5]), **TOLD)
    figures = {name: values[-1] for name, values in history.history.items()}
    weights = [each.detach() for each in model.net.parameters()]
    return {**figures, "measured": model.evaluate(x, y), "scores": model.scores(x, y).mean_iou}, weights


def learnt_of(world):
    del world
    return learnt()


def test_two_processes_learn_and_measure_what_one_does(together):
    expected, weights = learnt()
    for figures, own in together(learnt_of):
        for one, other in zip(own, weights, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        for name in ("loss", "val_loss", "mean_iou", "val_mean_iou", "val_pixel_accuracy", "scores"):
            assert figures[name] == pytest.approx(expected[name], rel=1e-5), name
        assert figures["measured"] == pytest.approx(expected["measured"], rel=1e-5)
