"""Batches of an epoch, wherever it is begun."""

import random as python_random

import numpy as np
import torch

from lamina.training.batches import batches_of, in_order, length_of


class Noise(torch.utils.data.Dataset):
    """Samples drawn from the generators of torch, numpy and Python."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor([index, float(torch.rand(())), np.random.rand(), python_random.random()])


def loader(workers=0):
    return torch.utils.data.DataLoader(Noise(), batch_size=3, shuffle=True, num_workers=workers)


class OwnNoise(Noise):
    """Samples drawn from generators of its own."""

    def __init__(self):
        self.drawn = np.random.default_rng(), np.random.RandomState(), python_random.Random()
        self.numpy, self.old, self.python = self.drawn

    def __getitem__(self, index):
        return torch.tensor([index, self.numpy.random(), self.old.rand(), self.python.random()])


def test_a_loader_with_generators_of_its_own_gives_what_one_does_that_was_never_interrupted():
    def own():
        generator = torch.Generator().manual_seed(int(torch.randint(1000, ())))
        return torch.utils.data.DataLoader(OwnNoise(), batch_size=3, shuffle=True, generator=generator)

    first = own()
    epochs = [torch.stack(list(batches_of(first, epoch, seed=1))) for epoch in (0, 1)]
    again = own()
    stood = again.generator.get_state()
    rest = list(batches_of(again, 1, seed=1, start=2))
    assert torch.equal(torch.stack(rest), epochs[1][2:])
    assert not torch.equal(*epochs)
    assert torch.equal(again.generator.get_state(), stood)  # who drew from it draws on


def test_an_epoch_of_a_loader_begun_in_its_midst_gives_the_batches_that_were_left():
    whole = list(batches_of(loader(), 4, seed=1))
    torch.rand(7)
    np.random.rand(3)
    python_random.random()
    rest = list(batches_of(loader(), 4, seed=1, start=2))
    assert len(whole) == 4
    assert torch.equal(torch.stack(rest), torch.stack(whole[2:]))


def test_what_a_step_draws_in_between_changes_no_batch():
    whole = list(batches_of(loader(), 0, seed=1))
    disturbed = [batch for batch in batches_of(loader(), 0, seed=1) if [torch.rand(3), np.random.rand()]]
    assert torch.equal(torch.stack(whole), torch.stack(disturbed))


def test_epochs_and_seeds_differ_and_the_draws_of_others_go_on():
    torch.manual_seed(0)
    np.random.seed(0)
    python_random.seed(0)
    wanted = np.random.rand(), python_random.random()
    np.random.seed(0)
    python_random.seed(0)
    made = [torch.stack(list(batches_of(loader(), epoch, seed=seed))) for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert (np.random.rand(), python_random.random()) == wanted


def test_an_evaluation_sees_the_same_batches_each_time():
    first, again = (torch.stack(list(in_order(loader(), seed=0))) for _ in range(2))
    assert torch.equal(first, again)


def test_what_has_epochs_of_its_own_is_asked_for_them():
    class Own:
        def epoch(self, epoch, *, start=0):
            return iter([(epoch, start)])

        def __iter__(self):
            return iter(["in order"])

    assert list(batches_of(Own(), 3, seed=0, start=2)) == [(3, 2)]
    assert list(in_order(Own(), seed=0)) == ["in order"]


def test_a_length_is_known_or_none():
    assert length_of([1, 2]) == 2
    assert length_of(iter([1, 2])) is None
