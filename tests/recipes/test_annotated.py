"""Recipes of detectors and segmenters: frozen, of networks that exist, and the same seed gives the same run."""

import dataclasses

import numpy as np
import pytest
import torch

import lamina
from lamina import networks, recipes
from lamina.data import workers
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.preprocess import Preprocess
from lamina.structures.annotation import Annotation

RECIPES = [recipes.bccd_retinanet, recipes.camvid_unet, recipes.camvid_segnet, recipes.camvid_fcn8s]


@pytest.mark.parametrize("make", RECIPES)
def test_a_recipe_is_frozen_and_names_what_exists(make):
    recipe = make()
    assert recipe.name == make.__name__
    assert recipe.network in networks.names(recipe.model.task)
    assert recipe.backbone in networks.names()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 1
    assert f"benchmarks/{recipe.data}.py" in make.__doc__


def test_the_same_seed_trains_the_same_segmenter(monkeypatch):
    monkeypatch.setattr(workers, "worker_count", lambda asked, processes: 0)
    small = {
        "backbone": "cifar_resnet20",
        "preprocess": Preprocess(size=(24, 32), resize="pad"),
        "arguments": {"width": 2},
    }
    recipe = dataclasses.replace(recipes.camvid_unet(), **small)
    draw = np.random.default_rng(0)
    maps = torch.from_numpy(draw.integers(0, 3, (4, 24, 32)).astype(np.uint8))
    pictures = torch.from_numpy(draw.integers(0, 255, (4, 3, 24, 32)).astype(np.uint8))
    train = AnnotatedArrays(pictures, [Annotation(class_map=each) for each in maps], list("abc"), task="segmentation")
    told = {"pretrained": False, "epochs": 2, "verbose": 0}
    first, second, other = (recipe.fit(train, seed=seed, **told) for seed in (1, 1, 2))
    assert first.history.history["loss"] == second.history.history["loss"]
    assert first.history.history["loss"] != other.history.history["loss"]
    rates = {group["rate"] for group in first._step.updates["net"].optimizer.param_groups}
    assert rates == {1.0, recipe.trunk_rate}


def test_a_detector_is_trained_by_its_recipe(monkeypatch):
    monkeypatch.setattr(workers, "worker_count", lambda asked, processes: 0)
    small = {
        "backbone": "cifar_resnet20",
        "preprocess": Preprocess(size=(24, 32), resize="pad"),
        "arguments": {"channels": 8, "convs": 1, "levels": 2},
    }
    recipe = dataclasses.replace(recipes.bccd_retinanet(), **small)
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 3, 24, 32)).astype(np.uint8))
    known = [
        Annotation(boxes_xyxy=torch.tensor([[2.0, 2.0, 14.0, 20.0]]), labels=torch.tensor([place])) for place in (0, 1)
    ]
    train = AnnotatedArrays(pictures, known, ["red", "white"], task="detection")
    detector = recipe.fit(train, pretrained=False, epochs=1, verbose=0)
    assert len(detector.history.history["loss"]) == 1
    assert isinstance(detector, lamina.Detector)
