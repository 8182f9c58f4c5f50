"""What a model answers to the names that people bring from Keras and torch."""

from __future__ import annotations

import pytest
from torch import nn

from lamina import layers, models
from lamina.models.holder import _KERAS_HABITS


def built() -> models.Sequential:
    return models.Sequential([layers.Flatten(input_shape=(1, 4, 4)), layers.Dense(3), layers.BatchNormalization()])


def test_count_params_is_what_the_summary_says() -> None:
    model = built()
    assert model.count_params() == 16 * 3 + 3 + 2 * 3 == model.summary(show=False).parameters
    assert models.Model(nn.Linear(3, 2, bias=False)).count_params() == 6


@pytest.mark.parametrize(("name", "ours"), [("load_weights", "lamina.load(path)"), ("train_on_batch", "training.Loop")])
def test_habits_that_are_not_kept_are_answered_with_what_to_call(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=f"A Sequential has no {name!r}") as caught:
        getattr(built(), name)
    assert ours in str(caught.value)


def test_no_habit_hides_something_that_a_model_has() -> None:
    for kind in (models.Model, models.Sequential):
        assert [name for name in _KERAS_HABITS if hasattr(kind, name)] == []
    for advice in _KERAS_HABITS.values():
        assert advice.count(". ") >= 1
        assert advice.endswith(".")


def test_a_torch_modules_names_and_unknown_ones_are_answered_as_before() -> None:
    with pytest.raises(AttributeError, match=r"use model\.net\.parameters"):
        built().parameters()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = built().nonsense
