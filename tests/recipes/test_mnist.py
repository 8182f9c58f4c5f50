"""Recipes are frozen settings; with few digits they run, with all of them (slow) they reach their number."""

import dataclasses

import pytest

from lamina import data, networks, recipes


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_frozen_names_what_exists_and_documents_its_result(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.network in networks.names()
    assert recipe.data in data.names()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 1
    documented = getattr(recipes, name).__doc__
    for word in ("n = 5", "+-", "benchmarks/recipes.py"):
        assert word in documented


def test_an_unknown_recipe_lists_the_nearest():
    with pytest.raises(ValueError, match="'mnist_fast'"):
        recipes.get("mnist_fats")


@pytest.mark.parametrize("name", recipes.names())
def test_the_same_seed_trains_the_same_classifier(name):
    train = data.load("mnist").train.limit(600)
    first, second, other = (recipes.get(name).fit(train, seed=seed, epochs=1, verbose=0) for seed in (1, 1, 2))
    assert first.history.history["loss"] == second.history.history["loss"]
    assert first.history.history["loss"] != other.history.history["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("mnist_fast", 0.994), ("mnist_deepconvnet", 0.993)])
def test_reaches_its_number_on_held_out_training_digits(name, accuracy):
    """On 10,000 digits of the training set, a sixth fewer to learn from: the test set is not read for a test."""
    train, held = data.load("mnist").train.split(1 / 6, seed=0)
    assert recipes.get(name).fit(train, verbose=0).evaluate(held)["accuracy"] >= accuracy
