"""Recipes are frozen settings: they say what they reach, run on few pictures, and the same seed gives the same run."""

import dataclasses
import re

import pytest
import torch

import lamina
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
    assert re.search(r"\d \+- [\d.]+ % \(n = [3-9]\)|\d % \(n = 1\)", documented)
    assert f"benchmarks/recipes.py {name}" in documented


def test_an_unknown_recipe_lists_the_nearest():
    with pytest.raises(ValueError, match="'mnist_fast'"):
        recipes.get("mnist_fats")


@pytest.mark.parametrize("name", recipes.names())
def test_the_same_seed_trains_the_same_classifier(name):
    train = data.load("mnist").train.limit(200)
    first, second, other = (recipes.get(name).fit(train, seed=seed, epochs=1, verbose=0) for seed in (1, 1, 2))
    assert first.history.history["loss"] == second.history.history["loss"]
    assert first.history.history["loss"] != other.history.history["loss"]


def test_a_recipe_may_shape_its_network_and_set_its_initial_values_by_the_pictures(tmp_path):
    seen = []

    def shifted(net, images):
        seen.append(images)
        net.whiten(images)

    recipe = dataclasses.replace(recipes.get("cifar10_fast"), arguments={"width": 0.125}, initialise=shifted)
    train = data.load("mnist").train.limit(500)
    classifier = recipe.fit(train, epochs=1, verbose=0)
    assert [tuple(images.shape) for images in seen] == [(500, 3, 32, 32)]
    assert seen[0].min() < 0  # normalised
    kernels = classifier.net.whiten_conv.weight
    assert not kernels.requires_grad
    assert torch.equal(kernels[:12], -kernels[12:])
    classifier.save(tmp_path / "small.safetensors")
    again = lamina.load(tmp_path / "small.safetensors")
    assert again.net.head.in_features == 32
    assert again.evaluate(train) == classifier.evaluate(train)
