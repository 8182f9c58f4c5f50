"""Cross-entropies: torch's own functions, Keras's formulas written out, gradients, and what the check says of bad labels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import lamina
from lamina import layers, losses, models
from lamina.core.errors import DataError, LaminaError, ShapeError

BINARY, CATEGORICAL = losses.BinaryCrossentropy(), losses.CategoricalCrossentropy()
SPARSE = losses.SparseCategoricalCrossentropy()
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(5, 4, generator=GENERATOR)
LABELS = torch.tensor([0, 3, 1, 2, 3])
ONE_HOT = F.one_hot(LABELS, 4).float()


def test_from_logits_is_what_a_plain_loop_writes_bit_for_bit() -> None:
    assert torch.equal(SPARSE.from_logits(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))
    assert torch.equal(CATEGORICAL.from_logits(LOGITS, ONE_HOT), F.cross_entropy(LOGITS, ONE_HOT))
    assert torch.equal(BINARY.from_logits(LOGITS, ONE_HOT), F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT))


def test_a_sure_and_right_answer_costs_nothing_and_a_sure_and_wrong_one_kerass_clip() -> None:
    probs = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    costs = SPARSE(probs, torch.tensor([0, 1]), reduction="none")
    assert costs.tolist() == pytest.approx([0.0, -math.log(1e-7)], abs=1e-6)
    costs = BINARY(probs[:, :1], torch.tensor([[1.0], [0.0]]), reduction="none")
    assert costs.tolist() == pytest.approx([0.0, -math.log(1e-7)], rel=0.05, abs=1e-6)  # 1 - 1e-7 in float32


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_probabilities_and_logits_give_the_same_as_kerass_formula(smoothing: float) -> None:
    probs = LOGITS.softmax(1)
    smooth = ONE_HOT * (1 - smoothing) + smoothing / 4
    expected = -(smooth * probs.log()).sum(1)
    sparse = losses.SparseCategoricalCrossentropy(smoothing)
    categorical = losses.CategoricalCrossentropy(smoothing)
    for given in (
        sparse(probs, LABELS, reduction="none"),
        sparse.from_logits(LOGITS, LABELS, reduction="none"),
        categorical(probs, ONE_HOT, reduction="none"),
        categorical.from_logits(LOGITS, ONE_HOT, reduction="none"),
    ):
        torch.testing.assert_close(given, expected)
    torch.testing.assert_close(sparse(probs, LABELS), expected.mean())
    torch.testing.assert_close(categorical(3 * probs, ONE_HOT), expected.mean())  # Keras scales to sum 1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_follows_kerass_formula_and_means_over_the_outputs(smoothing: float) -> None:
    loss, probs = losses.BinaryCrossentropy(smoothing), LOGITS.sigmoid()
    smooth = ONE_HOT * (1 - smoothing) + smoothing / 2
    expected = -(smooth * probs.log() + (1 - smooth) * (1 - probs).log()).mean(1)
    torch.testing.assert_close(loss(probs, ONE_HOT, reduction="none"), expected)
    torch.testing.assert_close(loss.from_logits(LOGITS, ONE_HOT, reduction="none"), expected)
    torch.testing.assert_close(loss.from_logits(LOGITS, ONE_HOT), expected.mean())


def test_classes_stand_second_in_images_and_last_in_sequences() -> None:
    images = torch.randn(2, 4, 3, 3, generator=GENERATOR)
    labels = torch.randint(4, (2, 3, 3), generator=GENERATOR)
    rows, row_labels = images.permute(0, 2, 3, 1).reshape(-1, 4), labels.reshape(-1)
    expected = F.cross_entropy(rows, row_labels)
    torch.testing.assert_close(SPARSE.from_logits(images, labels), expected)
    torch.testing.assert_close(SPARSE(images.softmax(1), labels), expected)
    torch.testing.assert_close(
        CATEGORICAL.from_logits(images, F.one_hot(labels, 4).permute(0, 3, 1, 2).float()), expected
    )
    sequences, sequence_labels = rows.reshape(2, 9, 4), row_labels.reshape(2, 9)
    torch.testing.assert_close(SPARSE.from_logits(sequences, sequence_labels), expected)
    assert SPARSE.from_logits(sequences, sequence_labels, reduction="none").shape == (2,)
    torch.testing.assert_close(CATEGORICAL(sequences.softmax(2), F.one_hot(sequence_labels, 4).float()), expected)


def test_ignored_pixels_count_neither_in_sum_nor_in_mean() -> None:
    loss = losses.SparseCategoricalCrossentropy(ignore_class=255)
    images = torch.randn(3, 4, 1, 2, generator=GENERATOR)
    labels = torch.tensor([[[1, 255]], [[0, 2]], [[255, 255]]])
    costs = F.cross_entropy(images, labels.where(labels < 4, 0), reduction="none")[:, 0]
    each = loss.from_logits(images, labels, reduction="none")
    torch.testing.assert_close(each, torch.stack([costs[0, 0] / 2, costs[1].mean(), torch.tensor(0.0)]))
    torch.testing.assert_close(loss.from_logits(images, labels), (costs[0, 0] + costs[1].sum()) / 3)
    assert float(loss.from_logits(images[2:], labels[2:])) == 0.0  # and not NaN


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_exact(reduction: losses.Reduction, smoothing: float) -> None:
    cases = [
        (losses.SparseCategoricalCrossentropy(smoothing), LABELS),
        (losses.CategoricalCrossentropy(smoothing), ONE_HOT.double()),
        (losses.BinaryCrossentropy(smoothing), ONE_HOT.double()),
    ]
    logits = LOGITS.double().requires_grad_()
    probs = LOGITS.double().softmax(1).detach().requires_grad_()
    for loss, targets in cases:
        assert torch.autograd.gradcheck(lambda x, f=loss, y=targets: f.from_logits(x, y, reduction=reduction), logits)
        assert torch.autograd.gradcheck(lambda x, f=loss, y=targets: f(x, y, reduction=reduction), probs)


def test_half_precision_is_raised() -> None:
    loss = SPARSE.from_logits(LOGITS.bfloat16(), LABELS)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, F.cross_entropy(LOGITS.bfloat16().float(), LABELS))


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(LaminaError, match="label_smoothing"):
        losses.BinaryCrossentropy(smoothing)


def test_prepare_makes_labels_of_what_labels_come_as() -> None:
    column = LABELS.to(torch.uint8)[:, None]
    assert torch.equal(SPARSE.prepare(column), LABELS)
    assert torch.equal(SPARSE.prepare(column, (None, 4)), LABELS)
    masks = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    assert SPARSE.prepare(masks, (None, 4, 3, 3)).shape == (2, 3, 3)
    assert SPARSE.prepare(torch.zeros(2, 1, 1), (None, 4, 1, 1)).shape == (2, 1, 1)
    assert BINARY.prepare(torch.tensor([0, 1]), (None, 1)).tolist() == [[0.0], [1.0]]
    assert CATEGORICAL.prepare(ONE_HOT.to(torch.uint8)).dtype == torch.float32


def test_check_lets_good_labels_pass() -> None:
    SPARSE.check((None, 4), LABELS)
    SPARSE.check((None, 4), LABELS[:, None].to(torch.uint8))
    SPARSE.check((None, 5), torch.tensor([[1]]))
    SPARSE.check((8, 4, 3, 3), torch.zeros(2, 1, 3, 3, dtype=torch.uint8))
    SPARSE.check((None, None, 4), torch.zeros(2, 4, dtype=torch.int64))
    losses.SparseCategoricalCrossentropy(ignore_class=255).check((None, 4), torch.tensor([0, 255], dtype=torch.uint8))
    CATEGORICAL.check((None, 4), ONE_HOT)
    BINARY.check((None, 1), torch.tensor([0, 1]))
    BINARY.check((None, 3), torch.tensor([[True, False, True]]))


@pytest.mark.parametrize(
    ("loss", "shape", "targets", "kind", "says"),
    [
        (SPARSE, (None, 4), torch.tensor([0, 4, 7]), DataError, ["index 1 is 4", "2 of 3", "0 to 3", "8 outputs"]),
        (SPARSE, (None, 4), torch.tensor([0, -1]), DataError, ["index 1 is -1", "ignore_class"]),
        (SPARSE, (None, 4), torch.tensor([0.0, 1.0]), DataError, ["float32", "int64"]),
        (SPARSE, (None, 4), ONE_HOT, ShapeError, ["one-hot", "use categorical_crossentropy"]),
        (SPARSE, (None, 4), torch.zeros(2, 3, dtype=torch.int64), ShapeError, ["(2, 3)", "(2,)"]),
        (SPARSE, (None, 1), torch.tensor([0, 1]), ShapeError, ["single output", "binary_crossentropy"]),
        (SPARSE, (None, 4, 2, 2), torch.full((3, 2, 2), 9), DataError, ["index (0, 0, 0) is 9"]),
        (CATEGORICAL, (None, 4), LABELS, ShapeError, ["int64", "sparse_categorical_crossentropy"]),
        (CATEGORICAL, (None, 4), LABELS[:, None], ShapeError, ["(5, 1)", "sparse_categorical_crossentropy"]),
        (CATEGORICAL, (None, 4), -ONE_HOT, DataError, ["is -1.0", "between 0 and 1"]),
        (BINARY, (None, 1), torch.tensor([0, 1, 2]), DataError, ["index 2 is 2", "between 0 and 1"]),
        (BINARY, (None, 1), torch.tensor([-1, 1]), DataError, ["hinge"]),
        (BINARY, (None, 1), torch.tensor([0.0, torch.nan]), DataError, ["index 1 is nan"]),
        (BINARY, (None, 3), torch.zeros(2, 4), ShapeError, ["(2, 4)", "(2, 3)"]),
    ],
)
def test_check_names_what_came_what_was_expected_and_what_to_do(loss, shape, targets, kind, says) -> None:
    with pytest.raises(kind) as caught:
        loss.check(shape, targets)
    assert all(part in str(caught.value).replace("Use", "use") for part in says), str(caught.value)
    assert caught.value.came
    assert caught.value.expected
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "targets", "closes"),
    [
        (losses.SparseCategoricalCrossentropy, LABELS, lambda x: x.softmax(1)),
        (losses.CategoricalCrossentropy, ONE_HOT, lambda x: x.softmax(1)),
        (losses.BinaryCrossentropy, ONE_HOT, torch.sigmoid),
    ],
)
def test_kerass_from_logits_says_what_the_call_takes(kind, targets, closes) -> None:
    told = kind(0.1, from_logits=True)
    expected = kind(0.1)(closes(LOGITS), targets)
    torch.testing.assert_close(told(LOGITS, targets), expected)
    torch.testing.assert_close(told.from_logits(LOGITS, targets), expected)
    for given in (kind(0.1, from_logits=False), kind(0.1, from_logits=None)):
        assert given == kind(0.1)
        assert told != given


def test_from_logits_keeps_outputs_that_look_like_probabilities_logits(tmp_path) -> None:
    x, y = torch.eye(3).repeat(4, 1), torch.arange(3).repeat(4)
    for told, wanted in ((True, F.cross_entropy(x, y)), (None, F.nll_loss(x.clamp(1e-7, 1 - 1e-7).log(), y))):
        model = models.Model(torch.nn.Identity())
        model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=told))
        assert model.evaluate(x, y)["loss"] == pytest.approx(float(wanted), abs=1e-6)
    net = models.Sequential([layers.Dense(3, input_shape=(3,))])
    net.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    loaded = lamina.load(net.save(tmp_path / "net.safetensors"))
    assert loaded._compiled["loss"] == losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_shares_of_two_classes_cost_the_same_shares_of_both_losses(smoothing: float) -> None:
    loss = losses.SparseCategoricalCrossentropy(smoothing)
    share, others = torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0]), LABELS.roll(1)
    mixed = torch.lerp(F.one_hot(others, 4).float(), ONE_HOT, share[:, None])
    first, second = (loss.from_logits(LOGITS, labels, reduction="none") for labels in (LABELS, others))
    wanted = share * first + (1 - share) * second
    torch.testing.assert_close(loss.from_logits(LOGITS, mixed, reduction="none"), wanted)
    torch.testing.assert_close(loss.from_logits(LOGITS, mixed), wanted.mean())
    torch.testing.assert_close(loss(LOGITS.softmax(1), mixed), wanted.mean())
    torch.testing.assert_close(
        losses.get(torch.nn.CrossEntropyLoss(label_smoothing=smoothing))(LOGITS, mixed), wanted.mean()
    )


def test_losses_of_labels_say_whether_shares_may_stand_in_their_place() -> None:
    assert SPARSE.takes_shares
    assert losses.get(torch.nn.CrossEntropyLoss()).takes_shares
    weighed = torch.nn.CrossEntropyLoss(weight=torch.ones(4))
    for other in (losses.SparseCategoricalCrossentropy(ignore_class=0), weighed, torch.nn.NLLLoss()):
        assert not losses.get(other).takes_shares
