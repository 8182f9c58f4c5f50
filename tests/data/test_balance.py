"""The arithmetic of balance: weights, odds, and how many of each class an epoch has."""

import numpy as np
import pytest
import torch

from lamina import losses
from lamina.core.errors import DataError
from lamina.data import AnnotatedDataset, ArrayBatches, balance
from lamina.data.columns import Beside
from lamina.data.paths import Paths

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


def maps_of(*maps, classes=3):
    """A data set of these maps, whose pictures are not looked at."""
    paths = [f"{number}.png" for number in range(len(maps))]
    pictures = {path: np.array(values, np.uint8) for path, values in zip(paths, maps, strict=True)}
    column = Beside(Paths(paths), lambda path, size: torch.from_numpy(pictures[path]))
    data = AnnotatedDataset(
        paths, {"class_map": column}, [f"class {n}" for n in range(classes)], task="segmentation", root="maps"
    )
    data.annotation = lambda index, size=None: AnnotatedDataset.annotation(data, index, (2, 2))
    return data


def test_median_frequency_counts_only_pictures_in_which_a_class_occurs():
    data = maps_of([[0, 0], [0, 1]], [[0, 0], [0, 0]], [[1, 255], [1, 2]], [[255, 255], [255, 255]], classes=4)
    counts = balance.pixel_counts(data)
    assert counts.pixels.tolist() == [7, 3, 1, 0]
    assert counts.around.tolist() == [8, 7, 3, 0]  # labelled pixels of pictures 0 and 1, 0 and 2, 2
    shares = [7 / 8, 3 / 7, 1 / 3]
    assert balance.median_frequency(counts).tolist() == pytest.approx([*(3 / 7 / share for share in shares), 1])


def test_the_square_root_of_median_frequency_lies_between_it_and_no_weights():
    counts = balance.pixel_counts(maps_of([[0, 0], [0, 1]], [[0, 0], [2, 0]]))
    half, whole = balance.sqrt_median_frequency(counts), balance.median_frequency(counts)
    torch.testing.assert_close(half**2, whole)
    assert ((half - 1).abs() <= (whole - 1).abs()).all()


def test_median_frequency_of_one_class_is_one():
    assert balance.median_frequency(balance.pixel_counts(maps_of([[0, 0]], classes=1))).tolist() == [1]


def test_weights_of_pixels_are_what_the_loss_takes():
    weights = balance.median_frequency(balance.pixel_counts(maps_of([[0, 0], [0, 1]], [[2, 2], [1, 0]])))
    loss = losses.PixelCrossentropy(tuple(weights.tolist()))
    assert loss.from_logits(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 2]]])).item() == pytest.approx(np.log(3))


def test_maps_that_cannot_be_counted_are_refused():
    with pytest.raises(DataError, match=r"1\.png holds 3.*0 to 2 were expected, or 255"):
        balance.pixel_counts(maps_of([[0, 1]], [[0, 3]]))
    with pytest.raises(DataError, match="No pixel has a class"):
        balance.median_frequency(balance.pixel_counts(maps_of([[255, 255]])))
    with pytest.raises(DataError, match="no maps of classes"):
        balance.pixel_counts(torch.utils.data.TensorDataset(torch.zeros(2)))
