"""Every draw is a function of its key."""

import random as python_random

import numpy as np
import torch

from lamina.core import random


def test_keys_differ_for_neighbouring_parts_and_for_their_order():
    keys = {random.key(a, b) for a in range(50) for b in range(50)}
    assert len(keys) == 2500
    assert random.key(1, 2) != random.key(2, 1)
    assert all(0 <= k < 2**63 for k in keys)


def test_an_order_is_a_permutation_that_its_key_decides():
    one, same, other = random.order(7, 1000), random.order(7, 1000), random.order(8, 1000)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one.sort().values, torch.arange(1000))


def test_uniforms_do_not_depend_on_how_positions_are_cut_into_batches():
    whole = random.uniforms(5, torch.arange(100), 4)
    parts = torch.cat([random.uniforms(5, torch.arange(first, first + 10), 4) for first in range(0, 100, 10)])
    assert torch.equal(whole, parts)
    assert torch.equal(whole[37], random.uniforms(5, torch.tensor([37]), 4)[0])


def test_uniforms_are_uniform_and_uncorrelated():
    draws = random.uniforms(3, torch.arange(20000), 3).double()
    assert draws.min() >= 0
    assert draws.max() < 1
    assert (draws.mean(0) - 0.5).abs().max() < 0.01
    assert (draws.var(0) - 1 / 12).abs().max() < 0.002
    assert (torch.corrcoef(draws.T) - torch.eye(3)).abs().max() < 0.03
    neighbours = torch.corrcoef(torch.stack([draws[:-1, 0], draws[1:, 0]]))
    assert neighbours[0, 1].abs() < 0.03


def test_keys_of_two_epochs_give_other_draws():
    assert not torch.equal(random.uniforms(1, torch.arange(8), 2), random.uniforms(2, torch.arange(8), 2))


def test_reseeding_repeats_what_dropout_draws():
    random.reseed(11)
    one = torch.rand(5)
    random.reseed(11)
    assert torch.equal(one, torch.rand(5))


def test_what_a_worker_draws_from_is_set_without_a_look_at_other_devices(monkeypatch):
    def touched(*_):
        raise AssertionError("another device was asked")

    for name in ("is_initialized", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    monkeypatch.setattr(torch.mps, "manual_seed", touched)
    with random.keeping_others():
        drawn = []
        for _ in range(2):
            random.reseed_host(7)
            drawn.append((torch.rand(()).item(), np.random.rand(), python_random.random()))
    assert drawn[0] == drawn[1]
