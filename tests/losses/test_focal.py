"""Focal losses: the cross-entropy at gamma 0, the paper's numbers, its formula written out, gradients, extremes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lamina
from lamina import losses
from lamina.core.errors import DataError, LaminaError, ShapeError

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(5, 4, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 3, 1, 2, 3])
ONE_HOT = F.one_hot(LABELS, 4).double()
FOCAL, BINARY = losses.FocalCrossentropy(), losses.BinaryFocalCrossentropy()


def test_is_the_cross_entropy_without_focus_and_weight() -> None:
    plain = losses.SparseCategoricalCrossentropy()
    torch.testing.assert_close(
        losses.FocalCrossentropy(0.0)(LOGITS.softmax(1), LABELS), plain(LOGITS.softmax(1), LABELS)
    )
    for reduction in ("mean", "none"):
        flat = losses.FocalCrossentropy(0.0).from_logits(LOGITS, LABELS, reduction=reduction)
        torch.testing.assert_close(flat, plain.from_logits(LOGITS, LABELS, reduction=reduction))
        flat = losses.BinaryFocalCrossentropy(0.0, None).from_logits(LOGITS, ONE_HOT, reduction=reduction)
        torch.testing.assert_close(flat, losses.BinaryCrossentropy().from_logits(LOGITS, ONE_HOT, reduction=reduction))


@pytest.mark.parametrize(("p_true", "times_lower"), [(0.9, 100), (0.968, 1000)])
def test_fades_out_easy_examples_as_the_paper_says(p_true: float, times_lower: int) -> None:
    """Section 3.2: with gamma 2 an example classified with p 0.9 has 100 times less loss, with 0.968 1000 times."""
    probs = torch.tensor([[p_true, 1 - p_true]], dtype=torch.float64)
    plain = -math.log(p_true)
    assert plain / float(FOCAL(probs, torch.tensor([0]))) == pytest.approx(times_lower, rel=0.03)
    yes = losses.BinaryFocalCrossentropy(alpha=None)(probs[:, :1], torch.ones(1, 1, dtype=torch.float64))
    assert plain / float(yes) == pytest.approx(times_lower, rel=0.03)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_is_the_formula_of_the_paper(gamma: float) -> None:
    probs = LOGITS.softmax(1)
    right = probs.gather(1, LABELS[:, None]).squeeze(1)
    expected = -((1 - right) ** gamma) * right.log()
    focal = losses.FocalCrossentropy(gamma)
    torch.testing.assert_close(focal.from_logits(LOGITS, LABELS, reduction="none"), expected)
    torch.testing.assert_close(focal(probs, LABELS), expected.mean())
    torch.testing.assert_close(focal.from_logits(LOGITS, ONE_HOT), expected.mean())  # shares that name one class
    chances = LOGITS.sigmoid()
    true = ONE_HOT * chances + (1 - ONE_HOT) * (1 - chances)
    shares = ONE_HOT * 0.25 + (1 - ONE_HOT) * 0.75
    expected = -shares * (1 - true) ** gamma * true.log()
    binary = losses.BinaryFocalCrossentropy(gamma)
    torch.testing.assert_close(binary.from_logits(LOGITS, ONE_HOT, reduction="none"), expected.mean(1))
    torch.testing.assert_close(binary(chances, ONE_HOT), expected.mean())


def test_mixed_samples_and_soft_targets_have_a_share_of_each_side() -> None:
    shares = 0.7 * ONE_HOT + 0.3 * ONE_HOT.roll(1, 0)
    parts = [FOCAL.from_logits(LOGITS, labels) for labels in (LABELS, LABELS.roll(1, 0))]
    torch.testing.assert_close(FOCAL.from_logits(LOGITS, shares), 0.7 * parts[0] + 0.3 * parts[1])
    parts = [BINARY.from_logits(LOGITS, y) for y in (ONE_HOT, 1 - ONE_HOT)]
    torch.testing.assert_close(
        BINARY.from_logits(LOGITS, 0.7 * ONE_HOT + 0.3 * (1 - ONE_HOT)), 0.7 * parts[0] + 0.3 * parts[1]
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_are_exact(gamma: float) -> None:
    focal, binary = losses.FocalCrossentropy(gamma), losses.BinaryFocalCrossentropy(gamma)
    ignoring = losses.FocalCrossentropy(gamma, ignore_class=3)
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: focal.from_logits(x, LABELS), logits)
    assert torch.autograd.gradcheck(lambda x: focal.from_logits(x, 0.9 * ONE_HOT + 0.025), logits)
    assert torch.autograd.gradcheck(lambda x: ignoring.from_logits(x, LABELS), logits)
    assert torch.autograd.gradcheck(lambda x: binary.from_logits(x, ONE_HOT), logits)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_certain_answers_right_or_wrong_have_finite_losses_and_gradients(gamma: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[300.0, -300.0], [300.0, -300.0], [0.0, 1000.0]], dtype=dtype, requires_grad=True)
    labels, rows = torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    for loss, targets in (
        (losses.FocalCrossentropy(gamma), labels),
        (losses.FocalCrossentropy(gamma), rows),
        (losses.BinaryFocalCrossentropy(gamma), rows),
    ):
        logits.grad = None
        values = loss.from_logits(logits, targets, reduction="none")
        values.sum().backward()
        assert values.isfinite().all()
        assert values[0] < 1e-3
        assert values[1] > 70
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_pixels_and_words_keep_their_axes_and_ignored_ones_do_not_count() -> None:
    images = torch.randn(2, 4, 3, 3, generator=GENERATOR)
    labels = torch.randint(0, 4, (2, 3, 3), generator=GENERATOR)
    by_pixel = FOCAL.from_logits(images.permute(0, 2, 3, 1).reshape(-1, 4), labels.flatten(), reduction="none")
    torch.testing.assert_close(FOCAL.from_logits(images, labels, reduction="none"), by_pixel.view(2, 9).mean(1))
    words = images.flatten(2).transpose(1, 2)  # B T K
    torch.testing.assert_close(FOCAL.from_logits(words, labels.flatten(1)), by_pixel.mean())
    ignoring, some = losses.FocalCrossentropy(ignore_class=255), labels.clone()
    some[0, 1] = 255
    counted = by_pixel.view(2, 3, 3)[some != 255]
    torch.testing.assert_close(ignoring.from_logits(images, some), counted.mean())
    assert ignoring.count(some) == pytest.approx(len(counted) / 9)
    assert ignoring.from_logits(images, torch.full_like(some, 255)) == 0


def test_bad_settings_and_targets_are_told() -> None:
    with pytest.raises(LaminaError, match=r"gamma is -1\.0"):
        losses.FocalCrossentropy(-1.0)
    with pytest.raises(LaminaError, match=r"alpha is 2\.0"):
        losses.BinaryFocalCrossentropy(alpha=2.0)
    with pytest.raises(DataError, match="FocalCrossentropy: the label at index 1 is 4"):
        FOCAL.check((2, 4), torch.tensor([0, 4]))
    with pytest.raises(ShapeError, match="BinaryFocalCrossentropy"):
        BINARY.from_logits(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(DataError, match="BinaryFocalCrossentropy"):
        BINARY.check((2, 1), torch.tensor([[0.0], [2.0]]))


def test_models_train_with_them_by_name_weighed_or_not_and_keep_them(tmp_path) -> None:
    x, y = torch.randn(60, 6, generator=GENERATOR), torch.arange(60) % 20 // 14  # one in three
    for loss, targets in (("focal", y), ("binary_focal", F.one_hot(y, 2).float())):
        torch.manual_seed(0)
        model = lamina.models.Model(nn.Linear(6, 2))
        model.compile("adam", loss, ["accuracy"], device="cpu", precision="float32")
        first = model.fit(x, targets, 10, 5, verbose=0, balance="effective").history["loss"]
        assert first[-1] < first[0]
    path = lamina.models.Sequential([lamina.layers.Dense(2, input_shape=(6,))])
    path.compile("sgd", losses.FocalCrossentropy(1.5, ignore_class=7))
    loaded = lamina.load(path.save(tmp_path / "m.safetensors"))
    assert loaded._compiled["loss"] == losses.FocalCrossentropy(1.5, ignore_class=7)
