"""The boundary F1 beside distances of all pairs of pixels, and what it does at its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lamina import metrics
from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.metrics import boundary_f1

RNG = np.random.default_rng(0)


def edge(classes: np.ndarray, number: int) -> list[tuple[int, int]]:
    height, width = classes.shape
    found = []
    for y in range(height):
        for x in range(width):
            near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            values = [classes[a, b] for a, b in near if 0 <= a < height and 0 <= b < width]
            if classes[y, x] == number and any(value not in (number, 255) for value in values):
                found.append((y, x))
    return found


def share(points: list, others: list, reach: float) -> float:
    return sum(any(math.dist(one, other) < reach for other in others) for one in points) / len(points)


def definition(predicted: np.ndarray, truth: np.ndarray, number: int, tolerance: float) -> float:
    predicted = np.where(truth == 255, 255, predicted)
    if number not in truth:
        return math.nan
    own, right = edge(predicted, number), edge(truth, number)
    if not own or not right:
        return 0.0 if own or right else math.nan
    reach = tolerance * math.hypot(*truth.shape)
    precision, recall = share(own, right, reach), share(right, own, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(size: tuple[int, int], classes: int = 3) -> np.ndarray:
    rough = torch.from_numpy(RNG.normal(size=(1, classes, 4, 5)))
    return F.interpolate(rough, size, mode="bilinear").argmax(1)[0].numpy()


@pytest.mark.parametrize("tolerance", [0.0075, 0.05, 0.11])
def test_is_the_definition(tolerance: float) -> None:
    predicted, truth = blobs((21, 30)), blobs((21, 30))
    truth[:4, 5:9] = 255
    values = boundary_f1(predicted, truth, 4, tolerance=tolerance)
    expected = [definition(predicted, truth, number, tolerance) for number in range(4)]
    np.testing.assert_allclose(values, expected)
    assert np.isnan(values[3])
    assert 0 < np.nanmin(values) <= np.nanmax(values) < 1


def test_an_outline_within_the_tolerance_is_right_and_beyond_it_wrong() -> None:
    truth, near, far = (np.zeros((30, 40), np.uint8) for _ in range(3))
    for classes, left in ((truth, 10), (near, 12), (far, 14)):
        classes[:, left:] = 1
    tolerance = 3 / 50  # 3 pixels: what is nearer is right, and 3 pixels off itself is not (the paper's d < theta)
    assert boundary_f1(near, truth, 2, tolerance=tolerance).tolist() == [1.0, 1.0]
    assert boundary_f1(far, truth, 2, tolerance=tolerance).tolist() == [0.0, 0.0]
    third = np.roll(truth, 3, axis=1)
    third[:, :3] = 0
    assert boundary_f1(third, truth, 2, tolerance=tolerance).tolist() == [0.0, 0.0]


def test_what_has_no_boundary() -> None:
    half, full = np.zeros((6, 6), np.int64), np.zeros((6, 6), np.int64)
    half[3:] = 1
    assert np.isnan(boundary_f1(full, full, 2)).all()  # one class fills both pictures
    assert boundary_f1(half, full, 2)[0] == 0
    values = boundary_f1(full, half, 2)
    assert values.tolist() == [0, 0]
    nothing = np.full((6, 6), 255)
    assert np.isnan(boundary_f1(half, nothing, 2)).all()
    assert np.isnan(boundary_f1(np.zeros((1, 1), int), np.zeros((1, 1), int), 1)).all()


def test_an_ignored_region_bounds_nothing() -> None:
    truth = np.zeros((8, 8), np.int64)
    truth[:, 4:] = 255
    assert np.isnan(boundary_f1(np.zeros((8, 8), np.int64), truth, 2)).all()


def scores_of(classes: np.ndarray, count: int) -> torch.Tensor:
    return F.one_hot(torch.from_numpy(classes), count).movedim(-1, 1).float()


def test_the_metric_is_the_mean_over_pictures_then_classes() -> None:
    predicted, truth = (np.stack([blobs((15, 20)) for _ in range(5)]) for _ in range(2))
    truth[1] = 0  # picture 1 has class 0 alone
    metric = metrics.get(metrics.BoundaryF1(tolerance=0.1))
    for rows in (slice(0, 2), slice(2, 5)):
        metric.update(scores_of(predicted[rows], 4), torch.from_numpy(truth[rows]))
    each = np.array([boundary_f1(p, t, 4, tolerance=0.1) for p, t in zip(predicted, truth, strict=True)])
    by_class = [np.nanmean(column) for column in each.T[:3]]
    assert float(metric.compute()) == pytest.approx(np.mean(by_class))
    told = metric.by_class()
    np.testing.assert_allclose(told, [*by_class, np.nan])
    weighed = metrics.BoundaryF1(tolerance=0.1)
    weighed.update(scores_of(predicted[:2], 4), torch.from_numpy(truth[:2]), torch.tensor([3.0, 0.0]))
    assert float(weighed.compute()) == pytest.approx(np.nanmean(each[0]))
    assert metrics.BoundaryF1().by_class() is None


def shares_of_two(world, predicted, truth) -> float:
    metric = metrics.get("boundary_f1")
    rows = slice(0, 1) if world.rank == 0 else slice(1, 3)
    metric.defer(scores_of(np.array(predicted)[rows], 3), torch.tensor(truth)[rows])
    metric.reduce()
    return float(metric.compute())


def test_is_exact_over_processes(together) -> None:
    predicted, truth = (np.stack([blobs((12, 16)) for _ in range(3)]) for _ in range(2))
    whole = metrics.get("boundary_f1")
    whole.update(scores_of(predicted, 3), torch.from_numpy(truth))
    told = together(shares_of_two, predicted.tolist(), truth.tolist())
    assert told == pytest.approx([float(whole.compute())] * 2, rel=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(2, 2\)"):
        boundary_f1(np.zeros((2, 3), int), np.zeros((2, 2), int), 2)
    with pytest.raises(DataError, match=r"holds 7.*0 to 1"):
        boundary_f1(np.zeros((2, 2), int), np.full((2, 2), 7), 2)
    with pytest.raises(LaminaError, match="tolerance is 0"):
        metrics.BoundaryF1(tolerance=0)
