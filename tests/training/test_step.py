"""A step of one's own that is not what the loop expects is told so before or at its first batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import lamina
from lamina.core.errors import LaminaError, ShapeError
from lamina.structures.batch import Logs
from lamina.training import Loop
from lamina.training.step import checked_logs


class Plain:
    """A step without an update."""

    def __init__(self, answer: Any = None) -> None:
        self.networks: Any = {"net": nn.Linear(1, 1)}
        self.updates: Any = {}
        self.metrics: Any = {}
        self.answer = answer

    def train(self, batch: Any) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("networks", None, "has no 'networks'"),
        ("updates", None, "has no 'updates'"),
        ("metrics", None, "has no 'metrics'"),
        ("networks", nn.Linear(1, 1), "has networks of type Linear"),
        ("networks", {"net": 3}, "holds networks that are no torch modules"),
        ("updates", {"net": torch.optim.SGD}, r"holds updates that are no training\.Update"),
    ],
)
def test_a_step_without_what_the_loop_needs_is_refused_before_the_first_batch(name: str, value: Any, says: str) -> None:
    step = Plain()
    delattr(step, name) if value is None else setattr(step, name, value)
    with pytest.raises(LaminaError, match=rf"The step Plain {says}.*Set self\.{name}"):
        Loop(step)  # type: ignore[arg-type]


def test_a_step_without_train_or_evaluate_is_refused_where_it_is_needed() -> None:
    with pytest.raises(LaminaError, match="no method 'evaluate'"):
        Loop(Plain(Logs(1, loss=torch.ones(())))).fit([1, 2], validation=[1])  # type: ignore[arg-type]
    assert Loop(Plain(Logs(1, loss=torch.ones(())))).fit([1, 2]).history == {"loss": [1.0]}  # type: ignore[arg-type]
    bare = type("Bare", (), {"networks": {}, "updates": {}, "metrics": {}})()
    with pytest.raises(LaminaError, match="no method 'train'"):
        Loop(bare)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, r"returned nothing.*Return Logs\(len\(batch\), loss=loss\)"),
        ({"loss": 1.0}, "returned a dict"),
        (Logs(1, loss=0.5), r"logged loss=0\.5, of type float"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_logs_is_refused_at_the_first_batch(answer: Any, says: str) -> None:
    with pytest.raises(LaminaError, match=says):
        Loop(Plain(answer)).fit([1, 2])  # type: ignore[arg-type]


def test_logs_pass_as_they_are() -> None:
    logs = Logs(3, loss=torch.ones(()))
    assert checked_logs(logs) is logs


@pytest.mark.parametrize("left_over", [1, 2])
def test_a_single_picture_left_over_for_a_batch_is_told_with_the_cure_where_batchnorm_cannot_take_it(left_over):
    net = nn.Sequential(nn.Conv2d(1, 2, 4), nn.BatchNorm2d(2), nn.Flatten())
    classifier = lamina.Classifier(net, classes=["a", "b"], preprocess=lamina.Preprocess(channels=1, size=(4, 4)))
    x, y = torch.zeros(4 + left_over, 1, 4, 4, dtype=torch.uint8), torch.arange(4 + left_over) % 2
    told: dict[str, Any] = {"batch_size": 4, "validation_split": 0.0, "verbose": 0}
    if left_over > 1:
        classifier.fit(x, y, **told)
        return
    with pytest.raises(ShapeError, match=r"a batch of 1 .*\[1, 2, 1, 1\].* Pass another batch_size"):
        classifier.fit(x, y, **told)
    classifier.fit(x, y, **{**told, "batch_size": 5})
