"""Losses by name."""

from __future__ import annotations

import dataclasses

import pytest
from torch import nn

from lamina import losses
from lamina.core.errors import LaminaError, UnknownNameError


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_name_gives_a_frozen_loss(name: str) -> None:
    loss = losses.get(name)
    assert type(loss) is losses.LOSSES[name]
    assert dataclasses.is_dataclass(loss)
    assert loss == losses.get(name)
    assert hash(loss) == hash(losses.get(name))


def test_objects_and_classes_are_taken() -> None:
    loss = losses.Huber(2.0)
    assert losses.get(loss) is loss
    assert losses.get(losses.Huber) == losses.Huber()
    assert isinstance(losses.get(nn.MSELoss), losses.TorchLoss)


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'sparse_categorical_crossentropy'"):
        losses.get("sparse_crossentropy")
    with pytest.raises(LaminaError, match="type int"):
        losses.get(3)  # type: ignore[arg-type]


def test_the_table_says_which_losses_take_logits() -> None:
    activations = {name: losses.get(name).activation for name in losses.LOSSES}
    assert {name for name, activation in activations.items() if activation == "sigmoid"} == {
        "bce",
        "binary_crossentropy",
        "binary_focal",
        "binary_focal_crossentropy",
    }
    softmax = {name for name, activation in activations.items() if activation == "softmax"}
    plain = {"categorical_crossentropy", "sparse_categorical_crossentropy", "focal", "kl", "kld", "kl_divergence"}
    robust = {"gce", "generalized_crossentropy", "sce", "symmetric_crossentropy", "small_loss"}
    maps = {"pixel_crossentropy", "dice", "lovasz", "lovasz_softmax", "pixel_crossentropy+dice"}
    assert softmax == plain | robust | maps
