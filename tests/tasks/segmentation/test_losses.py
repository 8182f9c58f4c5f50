"""Whatever loss a Segmenter is compiled with, pixels without a class count nowhere."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lamina
from lamina import losses
from lamina.core.errors import LaminaError

SIZE = (16, 24)


def own(outputs, targets):
    return F.cross_entropy(outputs, targets, ignore_index=255)


class Own(nn.Module):
    def forward(self, outputs, targets):
        return own(outputs, targets)


def data():
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (4, 3, *SIZE), dtype=np.uint8), draw.integers(0, 3, (4, *SIZE)).astype(np.uint8)
    y[1:, :10] = 255  # of the first picture, by which targets are checked, all is known
    return x, y


def segmenter(loss):
    torch.manual_seed(0)
    model = lamina.Segmenter(nn.Conv2d(3, 3, 1))
    model.compile(lamina.optimizers.SGD(0.0), loss, ["mean_iou"], device="cpu")
    return model


@pytest.mark.parametrize(
    "loss",
    ["pixel_crossentropy", "sparse_categorical_crossentropy", nn.CrossEntropyLoss(), own, Own(), Own],
    ids=["pixels", "keras", "torch", "function", "module", "class"],
)
def test_the_cross_entropy_is_that_of_the_labelled_pixels(loss):
    x, y = data()
    model = segmenter(loss)
    told = model.fit(x, y, batch_size=4, validation_data=(x, y), verbose=0).history
    logits = model.net(model._prepare()(torch.from_numpy(x)))
    expected = own(logits, torch.from_numpy(y).long()).item()
    assert [told["loss"][-1], told["val_loss"][-1], model.evaluate(x, y)["loss"]] == pytest.approx(
        [expected] * 3, rel=1e-5
    )


@pytest.mark.parametrize("name", ["focal", "pixel_crossentropy+focal", "dice+sparse_categorical_crossentropy"])
def test_other_losses_by_name_ignore_the_same(name):
    x, y = data()
    model = segmenter(name)
    expected = model.fit(x, y, batch_size=4, validation_split=0.0, verbose=0).history["loss"]
    spoilt = np.where((y == 255)[:, None], 255 - x, x)  # what stands there changes nothing
    model = segmenter(name)
    assert model.fit(spoilt, y, batch_size=4, validation_split=0.0, verbose=0).history["loss"] == pytest.approx(
        expected
    )


def test_a_loss_that_cannot_ignore_is_refused_and_names_stay_names():
    with pytest.raises(LaminaError, match=r"counts every label.*label 255"):
        segmenter("mse")
    with pytest.raises(LaminaError, match="compile came without a loss"):
        segmenter(None)
    assert segmenter("pixel_crossentropy+dice")._compiled["loss"] == "pixel_crossentropy+dice"
    assert segmenter("pixel_crossentropy+focal")._compiled["loss"] == "pixel_crossentropy+focal"
    assert segmenter("focal")._compiled["loss"] == losses.FocalCrossentropy(ignore_class=255)


def test_the_loss_stays_so_in_the_file(tmp_path):
    x, y = data()
    torch.manual_seed(0)
    model = lamina.Segmenter("unet", backbone="cifar_resnet20", arguments={"width": 2})
    model.compile(loss="focal", device="cpu")
    model.fit(x, y, validation_split=0.0, verbose=0)
    again = lamina.load(model.save(tmp_path / "model.safetensors"))
    assert again._compiled["loss"] == losses.FocalCrossentropy(ignore_class=255)
