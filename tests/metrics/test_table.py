"""Metrics by name, and how the loss decides what accuracy means."""

from __future__ import annotations

import pytest
import torch

from lamina import losses, metrics
from lamina.core.errors import LaminaError, UnknownNameError


@pytest.mark.parametrize("name", metrics.METRICS)
def test_every_name_gives_a_metric_that_keeps_it(name: str) -> None:
    assert metrics.get(name).name == name


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("sparse_categorical_crossentropy", "sparse"),
        ("categorical_crossentropy", "one_hot"),
        ("binary_crossentropy", "binary"),
        ("mse", "largest"),
        ("mae", "largest"),
        (torch.nn.CrossEntropyLoss(), "sparse"),
        (lambda outputs, targets: (outputs - targets).mean(), "targets"),
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "acc", "precision", "f1"])
def test_the_loss_decides_what_is_right(loss: losses.LossLike, kind: str, name: str) -> None:
    assert metrics.get(name, losses.get(loss)).kind == kind  # type: ignore[attr-defined]


def test_the_loss_also_says_what_is_ignored() -> None:
    loss = losses.SparseCategoricalCrossentropy(ignore_class=255)
    assert metrics.get("accuracy", loss).ignore_class == 255  # type: ignore[attr-defined]


def test_what_a_person_chose_stays() -> None:
    mine, open_one = metrics.Accuracy("binary"), metrics.Accuracy()
    assert metrics.get(mine, losses.get("mse")).kind == "binary"  # type: ignore[attr-defined]
    assert metrics.get("binary_accuracy", losses.get("mse")).kind == "binary"  # type: ignore[attr-defined]
    metrics.get(open_one, losses.get("mse"))
    assert open_one.kind is None  # it may serve beside another loss
    assert isinstance(metrics.get(metrics.Recall), metrics.Recall)


def test_one_object_may_serve_several_outputs_which_share_nothing() -> None:
    mine = metrics.Accuracy("sparse", name="mine")
    mine.update(torch.eye(2), torch.tensor([0, 0]))
    first, second = metrics.get(mine), metrics.get(mine, losses.get("mse"))
    first.defer(torch.eye(2), torch.tensor([0, 1]))
    second.defer(torch.eye(2), torch.tensor([1, 0]))
    assert (first.compute(), second.compute(), mine.compute()) == (1.0, 0.0, 0.5)
    assert first.name == "mine"


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'accuracy'"):
        metrics.get("acuracy")
    with pytest.raises(LaminaError, match="type int"):
        metrics.get(3)  # type: ignore[arg-type]
