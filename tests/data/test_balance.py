"""The arithmetic of balance: weights, odds, and how many of each class an epoch has."""

import pytest
import torch

from lamina.core.errors import DataError
from lamina.data import ArrayBatches, balance

LABELS = torch.tensor([3] * 12 + [0] * 5 + [7] * 2 + [1])  # numbers that leave some out


def shares(weights):
    """The sum of the weights of each class."""
    return torch.stack([weights[label == LABELS].sum() for label in LABELS.unique()])


def test_inverse_frequencies_give_every_class_the_same_part_and_the_mean_1():
    weights = balance.inverse_frequency(LABELS)
    assert shares(weights).tolist() == pytest.approx([20 / 4] * 4)
    assert weights[LABELS == 3].tolist() == pytest.approx([20 / (4 * 12)] * 12)  # N / (K n)
    assert weights.mean() == pytest.approx(1)


def test_effective_numbers_are_those_of_the_paper():
    beta = 0.9
    weights = balance.inverse_effective_number(LABELS, beta=beta)
    # E_n = (1 - beta^n) / (1 - beta) = 1 + beta + ... + beta^(n - 1) (Cui 2019, proposition 1)
    numbers = {label: sum(beta**power for power in range(count)) for label, count in ((3, 12), (0, 5), (7, 2), (1, 1))}
    for label, number in numbers.items():
        assert (weights[label == LABELS] / weights[LABELS == 1]).tolist() == pytest.approx(
            [1 / number] * int((label == LABELS).sum())
        )
    assert weights.mean() == pytest.approx(1)
    assert balance.inverse_effective_number(LABELS, beta=0.0).tolist() == [1] * 20  # every sample is new
    nearly = balance.inverse_effective_number(LABELS, beta=1 - 1e-9)
    torch.testing.assert_close(nearly, balance.inverse_frequency(LABELS), rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="beta is 1"):
        balance.inverse_effective_number(LABELS, beta=1.0)


def test_under_takes_as_many_of_each_class_as_the_rarest_has_and_others_each_epoch():
    quota = balance.quota(LABELS, "under")
    assert quota.samples == 4
    epochs = [balance.draw(key, quota, shuffle=True) for key in range(60)]
    for drawn in epochs:
        assert LABELS[drawn].sort().values.tolist() == [0, 1, 3, 7]
    assert set(torch.cat(epochs).tolist()) == set(range(20))  # in time all are seen
    assert torch.equal(epochs[7], balance.draw(7, quota, shuffle=True))


def test_over_has_each_sample_and_repeats_those_of_a_class_evenly():
    quota = balance.quota(LABELS, "over")
    assert quota.samples == 48
    twice = set()
    for key in range(20):
        drawn = balance.draw(key, quota, shuffle=True)
        times = torch.bincount(drawn, minlength=20)
        assert torch.bincount(LABELS[drawn], minlength=8).tolist() == [12, 12, 0, 12, 0, 0, 0, 12]
        assert times[:12].tolist() == [1] * 12  # of the most frequent class each once
        assert set(times[12:17].tolist()) == {2, 3}  # 12 of 5
        assert times[17:].tolist() == [6, 6, 12]
        twice.add(tuple(times[12:17].tolist()))
    assert len(twice) > 3  # which come once more is drawn
    assert balance.draw(0, quota, shuffle=False).tolist() == sorted(balance.draw(0, quota, shuffle=True).tolist())


def test_batches_of_a_quota_have_its_length_and_are_the_same_for_any_number_of_processes():
    data, quota = torch.arange(20), balance.quota(LABELS, "over")
    arguments = {"batch_size": 10, "shuffle": True, "seed": 4, "sample_by": quota}
    whole = ArrayBatches(data, **arguments)
    assert len(whole) == 5
    assert whole.positions(4) == (40, 48)
    drawn = [batch.inputs for batch in whole.epoch(3)]
    assert torch.cat(drawn).tolist() == [row for batch in range(5) for row in whole.rows(3, batch)]
    assert torch.equal(torch.cat(drawn), balance.draw(balance.random.key(4, 3), quota, shuffle=True))
    halves = [list(ArrayBatches(data, shard=(rank, 2), **arguments).epoch(3)) for rank in range(2)]
    for batch, one, two in zip(drawn, *halves, strict=True):
        assert torch.equal(batch, torch.cat([one.inputs, two.inputs]))
    assert sorted(row for batch in whole for row in batch.inputs.tolist()) == list(range(20))  # looked at, each once
