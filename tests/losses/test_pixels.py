"""The losses of maps of classes, beside numpy: cross-entropy, Dice, Lovasz-softmax, focal, and sums of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import lamina
from lamina import layers, losses, models
from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(3, 5, 4, 6, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(0, 4, (3, 4, 6), generator=GENERATOR)  # of five classes, class 4 does not occur
LABELS[torch.rand(3, 4, 6, generator=GENERATOR) < 0.2] = 255
LABELS[2] = 255  # a picture without a labelled pixel
WEIGHTS = (0.5, 2.0, 1.0, 4.0, 0.0)

ALL = (
    losses.PixelCrossentropy(),
    losses.PixelCrossentropy(WEIGHTS),
    losses.FocalCrossentropy(ignore_class=255),
    losses.Dice(),
    losses.Dice(squared=True),
    losses.Dice(generalized=True),
    losses.Dice(per_image=True),
    losses.LovaszSoftmax(),
    losses.LovaszSoftmax(per_image=True),
    losses.LossSum(),
)


def softmax(logits: torch.Tensor) -> np.ndarray:
    exponents = np.exp(logits.numpy() - logits.numpy().max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def pixels(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (P K) and labels (P) of the pixels that have one."""
    probs, labels = np.moveaxis(probs, 1, -1).reshape(-1, probs.shape[1]), labels.ravel()
    return probs[labels != 255], labels[labels != 255]


def dice(probs: np.ndarray, labels: np.ndarray, power: int = 1) -> float:
    probs, labels = pixels(probs, labels)
    values = []
    for number in np.unique(labels):
        p, g = probs[:, number], (labels == number).astype(float)
        values.append(1 - 2 * (p * g).sum() / ((p**power).sum() + (g**power).sum()))
    return float(np.mean(values)) if values else 0.0


def generalized_dice(probs: np.ndarray, labels: np.ndarray) -> float:
    probs, labels = pixels(probs, labels)
    above = below = 0.0
    for number in np.unique(labels):
        p, g = probs[:, number], (labels == number).astype(float)
        weight = 1 / g.sum() ** 2
        above += weight * (p * g).sum()
        below += weight * (p + g).sum()
    return 1 - 2 * above / below


def jaccard_loss(wrong: np.ndarray, truth: np.ndarray) -> float:
    """1 - IoU of a class (eq. 6), of which these pixels are wrong: |wrong| by |truth or wrong|."""
    return float(wrong.sum() / (truth | wrong).sum()) if wrong.any() else 0.0


def lovasz(probs: np.ndarray, labels: np.ndarray) -> float:
    """The definition (eq. 8): sum over pixels, the largest error first, of error times the growth of the set function."""
    probs, labels = pixels(probs, labels)
    values = []
    for number in np.unique(labels):
        truth = labels == number
        errors = np.where(truth, 1 - probs[:, number], probs[:, number])
        wrong, value = np.zeros(len(labels), bool), 0.0
        for place in np.argsort(-errors, kind="stable"):
            before = jaccard_loss(wrong, truth)
            wrong[place] = True
            value += errors[place] * (jaccard_loss(wrong, truth) - before)
        values.append(value)
    return float(np.mean(values)) if values else 0.0


def per_image(definition, probs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([definition(probs[i : i + 1], labels[i : i + 1]) for i in range(2)]))  # the third has no label


def test_the_cross_entropy_is_the_definition_and_the_plain_one_that_ignores() -> None:
    probs, labels = pixels(softmax(LOGITS), LABELS.numpy())
    each = -np.log(probs[np.arange(len(labels)), labels])
    own = losses.PixelCrossentropy()
    assert float(own.from_logits(LOGITS, LABELS)) == pytest.approx(each.mean())
    plain = losses.SparseCategoricalCrossentropy(ignore_class=255)
    torch.testing.assert_close(own.from_logits(LOGITS, LABELS), plain.from_logits(LOGITS, LABELS))
    torch.testing.assert_close(own(LOGITS.softmax(1), LABELS), own.from_logits(LOGITS, LABELS))
    shares = np.array(WEIGHTS)[labels]
    weighed = losses.PixelCrossentropy(WEIGHTS)
    assert float(weighed.from_logits(LOGITS, LABELS)) == pytest.approx((shares * each).sum() / shares.sum())
    assert float(weighed.count(LABELS)) == pytest.approx(shares.sum() / 24)


def test_a_pixel_more_of_a_heavy_class_counts_more() -> None:
    flat = torch.zeros(1, 2, 1, 2)
    flat[0, 0] = 1.0
    labels = torch.tensor([[[0, 1]]])
    even, heavy = losses.PixelCrossentropy(), losses.PixelCrossentropy((1.0, 3.0))
    assert heavy.from_logits(flat, labels) > even.from_logits(flat, labels)


def test_dice_is_the_definition() -> None:
    probs, labels = softmax(LOGITS), LABELS.numpy()
    assert float(losses.Dice().from_logits(LOGITS, LABELS)) == pytest.approx(dice(probs, labels))
    assert float(losses.Dice(squared=True).from_logits(LOGITS, LABELS)) == pytest.approx(dice(probs, labels, 2))
    assert float(losses.Dice(generalized=True).from_logits(LOGITS, LABELS)) == pytest.approx(
        generalized_dice(probs, labels)
    )
    assert float(losses.Dice(per_image=True).from_logits(LOGITS, LABELS)) == pytest.approx(
        per_image(dice, probs, labels)
    )


def test_lovasz_is_the_definition() -> None:
    probs, labels = softmax(LOGITS), LABELS.numpy()
    assert float(losses.LovaszSoftmax().from_logits(LOGITS, LABELS)) == pytest.approx(lovasz(probs, labels))
    assert float(losses.LovaszSoftmax(per_image=True).from_logits(LOGITS, LABELS)) == pytest.approx(
        per_image(lovasz, probs, labels)
    )


def test_of_certain_answers_they_are_one_minus_the_index() -> None:
    guess = torch.randint(0, 4, (2, 9, 7), generator=GENERATOR)
    truth = torch.randint(0, 4, (2, 9, 7), generator=GENERATOR)
    probs = F.one_hot(guess, 4).movedim(-1, 1).double()
    ious = [float(((guess == c) & (truth == c)).sum() / ((guess == c) | (truth == c)).sum()) for c in range(4)]
    assert float(losses.LovaszSoftmax()(probs, truth)) == pytest.approx(1 - np.mean(ious))
    dices = [2 * iou / (1 + iou) for iou in ious]
    assert float(losses.Dice()(probs, truth)) == pytest.approx(1 - np.mean(dices))
    assert float(losses.Dice(squared=True)(probs, truth)) == pytest.approx(1 - np.mean(dices))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradients_are_exact_and_none_where_labels_are_missing(loss: losses.Loss) -> None:
    logits = LOGITS.clone().requires_grad_()
    few, some = logits.detach()[1:, :, :2, :3].clone().requires_grad_(), LABELS[1:, :2, :3]
    assert torch.autograd.gradcheck(lambda x: loss.from_logits(x, some), few)
    loss.from_logits(logits, LABELS).backward()
    gradient = logits.grad.movedim(1, -1)
    assert (gradient[LABELS == 255] == 0).all()
    assert (gradient[LABELS != 255] != 0).any()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_what_stands_in_an_unlabelled_pixel_changes_nothing(loss: losses.Loss) -> None:
    other = LOGITS + 10 * torch.randn_like(LOGITS) * (LABELS == 255)[:, None]
    torch.testing.assert_close(loss.from_logits(other, LABELS), loss.from_logits(LOGITS, LABELS))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_a_batch_without_a_labelled_pixel_is_zero_and_teaches_nothing(loss: losses.Loss) -> None:
    logits = LOGITS.clone().requires_grad_()
    nothing = torch.full_like(LABELS, 255)
    value = loss.from_logits(logits, nothing)
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()
    assert float(loss.count(nothing)) == 0


@pytest.mark.parametrize(
    "loss", [losses.PixelCrossentropy(), losses.Dice(), losses.Dice(generalized=True), losses.LovaszSoftmax()]
)
def test_one_class_and_one_pixel_are_finite(loss: losses.Loss) -> None:
    for shape in ((2, 1, 3, 3), (1, 1, 1, 1)):
        logits = torch.randn(shape, requires_grad=True)
        value = loss.from_logits(logits, torch.zeros(shape[0], *shape[2:], dtype=torch.int64))
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-6)  # the softmax of one class is certain
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_half_precision_is_raised_before_sums(loss: losses.Loss) -> None:
    net = torch.nn.Conv2d(2, 5, 1)
    pictures = torch.randn(3, 2, 4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net(pictures)
        value = loss.from_logits(outputs, LABELS)
    value.backward()
    assert outputs.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.from_logits(outputs.float(), LABELS))
    assert torch.isfinite(net.weight.grad).all()


def test_large_batches_lose_no_digits() -> None:
    """1 - IoU grows by 1e-4 a pixel here; as a difference of numbers near 1 it would be wrong by 1e-3 of that in float32."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 128, 128, generator=generator)
    labels = torch.randint(0, 3, (2, 128, 128), generator=generator)
    for loss in (losses.LovaszSoftmax(), losses.Dice(), losses.PixelCrossentropy()):
        gradients = []
        for kind in (torch.float32, torch.float64):
            x = logits.to(kind, copy=True).requires_grad_()
            loss.from_logits(x, labels).backward()
            gradients.append(x.grad.double())
        assert (gradients[0] - gradients[1]).abs().max() < 2e-4 * gradients[1].abs().max()


@pytest.mark.parametrize("loss", [losses.PixelCrossentropy(WEIGHTS), losses.Dice(per_image=True), ALL[8], ALL[2]])
def test_values_of_pictures_amount_to_the_mean(loss: losses.Loss) -> None:
    values = loss.from_logits(LOGITS, LABELS, reduction="none")
    assert values.shape == (3,)
    torch.testing.assert_close(values.sum() / loss.count(LABELS), loss.from_logits(LOGITS, LABELS), check_dtype=False)


def test_a_number_for_the_whole_batch_has_no_values_of_pictures() -> None:
    for loss in (losses.Dice(), losses.LovaszSoftmax(), losses.LossSum()):
        with pytest.raises(LaminaError, match=r"one number for the whole batch.*per_image=True"):
            loss.from_logits(LOGITS, LABELS, reduction="none")


def test_a_sum_is_the_sum() -> None:
    parts = (losses.PixelCrossentropy(), losses.Dice(per_image=True), losses.LovaszSoftmax(per_image=True))
    added = losses.LossSum(parts, (1.0, 0.5, 2.0))
    values = [float(part.from_logits(LOGITS, LABELS)) for part in parts]
    assert float(added.from_logits(LOGITS, LABELS)) == pytest.approx(values[0] + 0.5 * values[1] + 2 * values[2])
    each = added.from_logits(LOGITS, LABELS, reduction="none")
    assert float(each.sum() / added.count(LABELS)) == pytest.approx(float(added.from_logits(LOGITS, LABELS)))
    torch.testing.assert_close(added(LOGITS.softmax(1), LABELS), added.from_logits(LOGITS, LABELS))


def test_sums_by_name() -> None:
    assert losses.get("pixel_crossentropy + dice") == losses.get("pixel_crossentropy+dice") == losses.LossSum()
    assert losses.get("focal+sce").losses == (losses.get("focal"), losses.get("sce"))  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="'dice'"):
        losses.get("pixel_crossentropy+dize")


def test_a_loss_that_leaves_it_open_is_told_what_to_ignore() -> None:
    assert losses.ignoring("focal", 255) == losses.FocalCrossentropy(ignore_class=255)
    assert losses.ignoring("focal+dice", 255).ignore_class == 255
    kept = losses.SparseCategoricalCrossentropy(ignore_class=7)
    assert losses.ignoring(kept, 255) is kept
    with pytest.raises(LaminaError, match=r"counts every label.*label 255.*pixel_crossentropy"):
        losses.ignoring("gce", 255)
    assert losses.ignoring(losses.SparseCategoricalCrossentropy(from_logits=True), 255).logits_only


def test_in_a_sum_by_name_all_ignore_what_one_ignores() -> None:
    added = losses.get("pixel_crossentropy+focal")
    assert isinstance(added, losses.LossSum)
    assert added.losses == (losses.PixelCrossentropy(), losses.FocalCrossentropy(ignore_class=255))
    open_ones = losses.LossSum((losses.FocalCrossentropy(), losses.SparseCategoricalCrossentropy()), (1.0, 2.0))
    told = losses.ignoring(open_ones, 255)
    assert isinstance(told, losses.LossSum)
    assert told.weights == (1.0, 2.0)
    assert [part.ignore_class for part in told.losses] == [255, 255]


def test_losses_of_ones_own_see_to_it_themselves_and_torchs_are_told() -> None:
    def own(outputs, targets):
        return outputs.sum() + targets.sum()

    class Own(torch.nn.Module):
        def forward(self, outputs, targets):
            return own(outputs, targets)

    assert losses.ignoring(own, 255) == losses.get(own)
    assert losses.ignoring(Own(), 255).ignore_class is None
    module = torch.nn.CrossEntropyLoss()
    assert losses.ignoring(module, 255).ignore_class == 255
    assert module.ignore_index == -100  # the user's own is as it was
    assert losses.ignoring(torch.nn.CrossEntropyLoss(ignore_index=3), 255).ignore_class == 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: losses.PixelCrossentropy((1.0, -1.0)), "0 or more for each class"),
        (lambda: losses.PixelCrossentropy((0.0, 0.0)), "one of them above"),
        (lambda: losses.PixelCrossentropy((1.0, float("nan"))), "finite number"),
        (lambda: losses.LossSum(()), "Loss objects were expected"),
        (lambda: losses.LossSum((losses.Dice(),), (1.0, 2.0)), "for 1 losses"),
        (lambda: losses.LossSum((losses.Dice(), losses.FocalCrossentropy())), "ignore_class is 255 for Dice, None for"),
        (lambda: losses.get("dice+mse"), "activation is 'softmax' for Dice, None for MeanSquaredError"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, says: str) -> None:
    with pytest.raises(LaminaError, match=says):
        make()


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="5 class_weights and outputs of 2 classes"):
        losses.PixelCrossentropy(WEIGHTS).from_logits(LOGITS[:, :2], LABELS)
    with pytest.raises(ShapeError, match="5 class_weights and outputs of 4 classes"):
        losses.PixelCrossentropy(WEIGHTS).check((None, 4, 4, 6), LABELS)
    with pytest.raises(ShapeError, match=r"labels \(3, 2, 6\).*Resize the outputs"):
        losses.Dice().from_logits(LOGITS, LABELS[:, :2])
    for loss in ALL:
        loss.check((None, 5, 4, 6), LABELS)
        with pytest.raises(DataError, match="Labels from 0 to 2 were expected"):
            loss.check((None, 3, 4, 6), LABELS)
        assert loss.prepare(LABELS.to(torch.uint8), (None, 5, 4, 6)).dtype == torch.int64


def test_a_model_keeps_the_loss_it_was_compiled_with(tmp_path) -> None:
    model = models.Sequential([layers.Conv2D(5, 1, input_shape=(2, 4, 4))])
    loss = losses.LossSum((losses.PixelCrossentropy(WEIGHTS), losses.Dice()), (1.0, 0.5))
    model.compile("sgd", loss, ["accuracy"])
    pictures = torch.randn(3, 2, 4, 6)[..., :4]
    history = model.fit(pictures, LABELS[..., :4], epochs=2, batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    model.save(tmp_path / "model.lam")
    again = lamina.load(tmp_path / "model.lam")
    assert again.evaluate(pictures, LABELS[..., :4], verbose=0) == pytest.approx(
        model.evaluate(pictures, LABELS[..., :4], verbose=0)
    )
