"""Ridge regression of boxes: the paper's pairs, its formula by hand, and boxes that get nearer."""

import pytest
import torch

from lamina.structures.box_deltas import to_deltas
from lamina.structures.boxes import overlap
from lamina.tasks.detection.rcnn.regression import BoxRegressions

pytest.importorskip("sklearn")


def shifted(count=400, seed=0):
    """Proposals that lie a little beside their objects; the features tell by how much."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 200
    truths = torch.cat([corners, corners + 20 + torch.rand(count, 2, generator=generator) * 30], 1)
    sides = truths[:, 2:] - truths[:, :2]
    proposals = truths + (torch.rand(count, 4, generator=generator) - 0.5) * 0.2 * sides.repeat(1, 2)
    features = torch.cat([to_deltas(truths, proposals) * 50, torch.randn(count, 3, generator=generator)], 1)
    return features, proposals, truths


def test_a_proposal_is_paired_with_the_object_that_it_overlaps_most_from_0_6_on():
    truths, labels = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20]]), torch.tensor([4, 5])
    proposals = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 18], [0, 0, 10, 6], [0, 0, 10, 5], [30, 30, 40, 40]])
    features = torch.arange(5.0)[:, None]
    some, deltas, classes = BoxRegressions("abcdef").pairs(features, proposals, truths, labels)
    assert some[:, 0].tolist() == [0, 1, 2]
    assert classes.tolist() == [4, 5, 4]
    torch.testing.assert_close(deltas, to_deltas(truths[[0, 1, 0]], proposals[:3]))


def test_weights_are_those_of_the_normal_equations():
    features, proposals, truths = shifted()
    goals = to_deltas(truths, proposals)
    made = BoxRegressions(["a"]).fit([(features, goals, torch.zeros(400, dtype=torch.int64))])
    assert float((features * made.scale).norm(dim=1).mean()) == pytest.approx(20.0, rel=1e-4)
    inputs = (features * made.scale).double()
    inputs, told = inputs - inputs.mean(0), goals.double() - goals.double().mean(0)
    expected = torch.linalg.solve(inputs.T @ inputs + 1000 * torch.eye(7, dtype=torch.float64), inputs.T @ told)
    torch.testing.assert_close(made.weights[0].T, expected.float(), rtol=1e-3, atol=1e-5)


def test_boxes_come_nearer_to_their_objects():
    features, proposals, truths = shifted()
    made = BoxRegressions(["a"]).fit([(features, to_deltas(truths, proposals), torch.zeros(400, dtype=torch.int64))])
    features, proposals, truths = shifted(100, seed=1)
    before, after = overlap(proposals, truths).mean(), overlap(made.boxes(features, proposals, 0), truths).mean()
    assert after > before + 0.05


def test_a_class_of_which_nothing_was_seen_leaves_boxes_where_they_are():
    features, proposals, truths = shifted(10)
    made = BoxRegressions(["a", "b"]).fit(
        [(features, to_deltas(truths, proposals), torch.zeros(10, dtype=torch.int64))]
    )
    torch.testing.assert_close(made.boxes(features, proposals, 1), proposals)
    nothing = BoxRegressions(["a"]).fit([(features[:0], proposals[:0], torch.zeros(0, dtype=torch.int64))])
    torch.testing.assert_close(nothing.boxes(features, proposals, 0), proposals)


def test_pictures_without_objects_or_proposals_teach_nothing():
    features, proposals, truths = shifted(5)
    made = BoxRegressions(["a"])
    assert all(
        len(each) == 0 for each in made.pairs(features, proposals, truths[:0], torch.zeros(0, dtype=torch.int64))
    )
    assert all(
        len(each) == 0 for each in made.pairs(features[:0], proposals[:0], truths, torch.zeros(5, dtype=torch.int64))
    )
