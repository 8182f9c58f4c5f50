"""Mean IoU and its kin beside a numpy definition, what is left out, exactness over batches and processes."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lamina import losses, metrics
from lamina.core.errors import DataError, ShapeError
from lamina.metrics import share_confusion
from lamina.metrics.segmentation import confusion

NAMES = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")
GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(5, 4, 7, 9, generator=GENERATOR)
TRUTH = torch.randint(0, 3, (5, 7, 9), generator=GENERATOR)  # class 3 is predicted, but no pixel is of it
TRUTH[torch.rand(5, 7, 9, generator=GENERATOR) < 0.2] = 255


def definition(scores: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """The formulas of Long 2015, section 5, pixel set by pixel set."""
    guess, true = scores.argmax(1).numpy().ravel(), truth.numpy().ravel()
    guess, true = guess[true != 255], true[true != 255]
    ious, accuracies, weights = [], [], []
    for number in np.unique(true):
        inside, found = true == number, guess == number
        ious.append((inside & found).sum() / (inside | found).sum())
        accuracies.append((inside & found).sum() / inside.sum())
        weights.append(inside.mean())
    return {
        "mean_iou": float(np.mean(ious)),
        "pixel_accuracy": float((guess == true).mean()),
        "mean_accuracy": float(np.mean(accuracies)),
        "frequency_weighted_iou": float(np.dot(weights, ious)),
    }


def over(name: str, scores: torch.Tensor, truth: torch.Tensor, size: int = 2) -> metrics.ConfusionMetric:
    metric = metrics.get(name)
    for rows, labels in zip(scores.split(size), truth.split(size), strict=True):
        metric.defer(rows, labels)
    return metric  # type: ignore[return-value]


@pytest.mark.parametrize("name", NAMES)
def test_is_the_definition_over_all_pixels_of_all_batches(name: str) -> None:
    expected = definition(SCORES, TRUTH)[name]
    for size in (1, 2, 5):
        metric = over(name, SCORES, TRUTH, size)
        assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)
        assert getattr(metric.scores(), name) == pytest.approx(expected, rel=1e-12)


def test_the_matrix_counts_pixels_of_a_class_that_were_taken_for_another() -> None:
    guess, truth = torch.tensor([[[0, 1, 1, 2]]]), torch.tensor([[[0, 0, 1, 255]]])
    matrix, strays = confusion(guess, truth, 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert matrix.dtype == torch.int64
    assert strays == 0


def test_large_maps_are_counted_at_once_and_small_ones_wait() -> None:
    large = metrics.MeanIoU()
    large.defer(torch.randn(1, 2, 256, 256), torch.zeros(1, 256, 256, dtype=torch.int64))
    assert large.sums
    small = over("mean_iou", SCORES, TRUTH)
    assert not small.sums
    assert small.totals()[0].sum() == (TRUTH != 255).sum()
    assert not small.sums  # looking changes nothing


def test_a_class_that_no_pixel_is_of_is_left_out_and_named() -> None:
    scores = over("mean_iou", SCORES, TRUTH).scores(("road", "sky", "car", "bicyclist"))
    assert scores is not None
    assert scores.absent == ("bicyclist",)
    assert np.isnan(scores.iou).tolist() == [False, False, False, True]
    assert "left out, as no pixel is of it: bicyclist" in str(scores)
    told = json.loads(json.dumps(scores.to_dict()))
    assert told["classes"]["bicyclist"] is None
    assert told["absent"] == ["bicyclist"]
    assert told["classes"]["car"]["iou"] == pytest.approx(scores.iou[2])
    assert told["mean_iou"] == pytest.approx(np.nanmean(scores.iou))


def test_nothing_labelled_is_no_number() -> None:
    for name in NAMES:
        assert torch.isnan(metrics.get(name).compute())
        metric = over(name, SCORES, torch.full_like(TRUTH, 255))
        assert torch.isnan(metric.compute())
        scores = metric.scores()
        assert scores is not None
        assert json.loads(json.dumps(scores.to_dict()))[name] is None
        assert "nan" in str(scores)
    assert metrics.MeanIoU().scores() is None


def test_one_class_and_one_pixel() -> None:
    for name in NAMES:
        assert over(name, torch.randn(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.uint8)).compute() == 1.0


def test_labels_that_are_no_class_are_refused_when_the_value_is_asked_for() -> None:
    wrong = TRUTH.clone()
    wrong[0, 0, :3] = torch.tensor([4, 200, -1])
    metric = over("mean_iou", SCORES, wrong)
    for ask in (metric.compute, metric.scores):
        with pytest.raises(DataError, match=r"3 pixels have a label that is no class.*0 to 3.*ignore_class"):
            ask()


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(5, 7, 9\).*\(5, 7, 8\).*Resize the outputs"):
        metrics.MeanIoU().update(SCORES, TRUTH[..., :-1])
    with pytest.raises(ShapeError, match=r"\(2, 2\) beside 3 classes"):
        metrics.SegmentationScores(np.zeros((2, 2), np.int64), ("a", "b", "c"))


def test_the_loss_says_what_is_ignored_and_a_person_goes_first() -> None:
    assert metrics.get("mean_iou", losses.get("dice")).ignore_class == 255  # type: ignore[attr-defined]
    seven = losses.SparseCategoricalCrossentropy(ignore_class=7)
    assert metrics.get("mean_iou", seven).ignore_class == 7  # type: ignore[attr-defined]
    assert metrics.get(metrics.MeanIoU(ignore_class=9), seven).ignore_class == 9  # type: ignore[attr-defined]


def test_an_ignored_class_is_not_counted() -> None:
    metric = metrics.PixelAccuracy(ignore_class=1)
    metric.update(F.one_hot(torch.tensor([[[0, 1, 1, 2]]]), 3).movedim(-1, 1).float(), torch.tensor([[[0, 0, 1, 2]]]))
    assert float(metric.compute()) == pytest.approx(2 / 3)


def test_weights_of_pictures_weigh_their_pixels() -> None:
    metric, twice = metrics.MeanIoU(), metrics.MeanIoU()
    metric.update(SCORES, TRUTH, torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0]))
    rows = torch.tensor([0, 0, 1, 2, 4])
    twice.update(SCORES[rows], TRUTH[rows])
    assert float(metric.compute()) == pytest.approx(float(twice.compute()))


def test_several_numbers_share_one_matrix() -> None:
    several = [metrics.get(name) for name in (*NAMES, "accuracy")]
    several[-1] = metrics.get("accuracy", losses.get("dice"))
    share_confusion(several)
    for metric in several:
        metric.defer(SCORES, TRUTH)
        metric.reduce()
    expected = definition(SCORES, TRUTH)
    for metric in several[:-1]:
        assert float(metric.compute()) == pytest.approx(expected[metric.name])
    assert [bool(metric.sums) for metric in several[:-1]] == [True, False, False, False]
    assert float(several[-1].compute()) == pytest.approx(expected["pixel_accuracy"])
    alone = copy.deepcopy(several[1])  # a copy counts for itself
    alone.update(SCORES[:1], TRUTH[:1])
    assert float(alone.compute()) == pytest.approx(definition(SCORES[:1], TRUTH[:1])["pixel_accuracy"])
    for metric in several:
        metric.reset()
        assert torch.isnan(metric.compute())


def test_those_that_ignore_other_labels_share_nothing() -> None:
    first, other = metrics.MeanIoU(), metrics.PixelAccuracy(ignore_class=1)
    share_confusion([first, other])
    for metric in (first, other):
        metric.update(SCORES, TRUTH.clamp(max=3))
    assert first.totals()[0][1].sum() > 0
    assert other.totals()[0][1].sum() == 0


def test_the_state_goes_on_where_it_was() -> None:
    whole, first, second = (metrics.MeanIoU() for _ in range(3))
    whole.update(SCORES, TRUTH)
    first.defer(SCORES[:2], TRUTH[:2])
    second.load_state_dict(first.state_dict())
    second.defer(SCORES[2:], TRUTH[2:])
    assert second.compute() == whole.compute()


def shares_of_two(world, scores, truth) -> list[float]:
    """Unequal shares of the pictures; a third process would have none."""
    rows = slice(0, 3) if world.rank == 0 else slice(3, 5)
    several = [metrics.get(name) for name in NAMES]
    share_confusion(several)
    for metric in several:
        if world.rank < 2:
            metric.defer(torch.tensor(scores)[rows], torch.tensor(truth)[rows])
    for metric in several:
        metric.reduce()
    return [float(metric.compute()) for metric in several]


def test_is_exact_over_processes(together) -> None:
    expected = definition(SCORES, TRUTH)
    for told in together(shares_of_two, SCORES.tolist(), TRUTH.tolist(), size=3):
        assert told == pytest.approx([expected[name] for name in NAMES], rel=1e-12)
