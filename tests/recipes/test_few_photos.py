"""The recipe for a few hundred photographs, with a small network in the place of its own."""

from dataclasses import replace

import numpy as np
import torch

import lamina
from lamina import networks, recipes
from lamina.data.augment import RandomFlip


def test_fine_tunes_a_borrowed_network_and_the_seed_decides_all(tmp_path):
    torch.manual_seed(0)
    body = networks.create("fastconvnet", num_classes=7, in_channels=1).state_dict()
    np.savez(tmp_path / "seven.npz", **{name: value.numpy() for name, value in body.items()})
    mnist = lamina.data.load("mnist").train.limit(40)
    recipe = replace(recipes.few_photos(), network="fastconvnet", epochs=1, freeze_epochs=3, augment=(RandomFlip(),))
    told = {"pretrained": tmp_path / "seven.npz", "verbose": 0}
    told["preprocess"] = lamina.Preprocess(channels=1, size=(28, 28), mean=(0.13,), std=(0.31,))
    first, again, other = (recipe.fit(mnist, seed=seed, **told) for seed in (3, 3, 4))
    assert first.history.epoch == [0, 1, 2, 3]
    assert first.classes == mnist.classes
    pairs = [(first.net.state_dict()[name], again.net.state_dict()[name]) for name in body]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.net.head.weight, other.net.head.weight)
