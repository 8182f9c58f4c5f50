"""Detector: from pictures with boxes to a file, and every way in which the boxes can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import networks, optimizers
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.metrics.coco import NUMBERS, coco_scores
from lamina.structures.annotation import Annotation
from lamina.tasks.detection import DetectionStep, Suppression

SIDE = 64  # px of the small detectors' pictures
NOTHING = Annotation(boxes_xyxy=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))


def boxed(*boxes: list[float], labels: list[int] | None = None) -> Annotation:
    return Annotation(boxes_xyxy=torch.tensor(boxes), labels=torch.tensor(labels or [0] * len(boxes)))


# It learns ------------------------------------------------------------------------------------------------------------


def test_eight_pictures_are_learnt(learnt: Any) -> None:
    detector, images, told = learnt
    assert detector.evaluate(images, told)["AP50"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("network", "epochs"), [("fcos", 80), ("ssdlite", 150)])
def test_eight_pictures_are_learnt_by_the_others_too(small: Any, network: str, epochs: int) -> None:
    detector, images, told = small.trained(network, epochs=epochs)
    assert detector.evaluate(images, told)["AP50"] > 0.9


@pytest.mark.parametrize("network", ["fcos", "ssdlite"])
def test_the_loss_falls(small: Any, network: str) -> None:
    detector, _, _ = small.trained(network, epochs=4)
    assert detector.history is not None
    losses = detector.history.history["loss"]
    assert losses[-1] < 0.9 * losses[0]


def test_the_parts_of_the_loss_are_logged_and_metrics_in_validation_alone(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    history = detector.fit(images, told, epochs=1, batch_size=4, verbose=0, validation_data=(images, told))
    assert {"loss", "class_loss", "box_loss", "val_class_loss", "val_box_loss", "val_AP", "val_AP50"} <= set(
        history.history
    )
    assert "AP" not in history.history
    told_loss = history.history["loss"][0]
    assert told_loss == pytest.approx(history.history["class_loss"][0] + history.history["box_loss"][0], rel=1e-5)


def test_parts_of_the_loss_can_be_weighed(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    detector.compile(optimizers.SGD(0.0), loss_weights={"box": 3.0})
    history = detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0).history
    assert history["loss"][0] == pytest.approx(history["class_loss"][0] + 3 * history["box_loss"][0], rel=1e-5)


def test_the_same_seed_gives_the_same_weights(small: Any) -> None:
    one, other = (small.trained(epochs=1)[0].net.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_class_has_a_low_probability_before_anything_is_learnt(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    detector.compile(optimizers.SGD(0.0))
    detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    with torch.no_grad():
        probs = detector.net.eval()(torch.zeros(1, 3, SIDE, SIDE)).logits.sigmoid()
    torch.testing.assert_close(probs, torch.full_like(probs, 0.01), atol=5e-3, rtol=0)


# Its answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_one_tensor_with_the_most_certain_first(learnt: Any) -> None:
    detector, images, _ = learnt
    answers = detector.answer(images[:3])
    assert answers.shape == (3, 100, 6)
    assert (np.diff(answers[..., 4], axis=1) <= 0).all()
    empty = answers[..., 5] < 0
    assert empty.any()
    assert (answers[empty] == [0, 0, 0, 0, 0, -1]).all()


def test_what_is_found_lies_in_the_pictures_own_pixels(learnt: Any) -> None:
    detector, images, told = learnt
    larger = images[0].repeat_interleave(3, 1).repeat_interleave(3, 2)
    wide = torch.cat([larger, torch.zeros(3, 3 * SIDE, 3 * SIDE, dtype=torch.uint8)], dim=2)[:, :, : 5 * SIDE]
    found = detector.predict(wide, threshold=0.0)
    assert found.boxes_xyxy[:, 2].max() <= 5 * SIDE
    near = detector.predict(images[0], threshold=0.3)
    assert len(near) >= len(told[0])
    assert near.boxes_xyxy.max() <= SIDE


def test_predict_leaves_out_what_is_uncertain(learnt: Any) -> None:
    detector, images, _ = learnt
    everything, certain = detector.predict(images, threshold=0.0), detector.predict(images)
    assert len(everything) == len(certain) == len(images)
    assert sum(map(len, everything)) > sum(map(len, certain)) > 0
    assert min(found.scores.min() for found in certain if len(found)) >= 0.5
    assert certain[0].classes == ("0", "1")


def test_the_suppression_can_be_set_and_is_kept_in_the_file(learnt: Any, tmp_path: Path) -> None:
    detector, images, _ = learnt
    detector.suppression = Suppression(most=7)
    try:
        assert detector.answer(images[:1]).shape == (1, 7, 6)
        loaded = lamina.load(detector.save(tmp_path / "found.safetensors"))
        assert loaded.suppression.most == 7
    finally:
        detector.suppression = Suppression()


def test_a_loaded_detector_answers_the_same_and_goes_on_learning(learnt: Any, tmp_path: Path) -> None:
    detector, images, told = learnt
    loaded = lamina.load(detector.save(tmp_path / "found.safetensors"))
    assert isinstance(loaded, lamina.Detector)
    assert loaded.classes == detector.classes
    np.testing.assert_array_equal(loaded.answer(images), detector.answer(images))
    loaded.fit(images, told, epochs=1, verbose=0, validation_split=0.0)


def test_a_network_of_ones_own_is_taken_where_its_class_is_known(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    preprocess = lamina.Preprocess(size=SIDE, resize="pad")
    other = lamina.Detector(detector.net, classes=["square", "disc"], preprocess=preprocess)
    assert other.predict(images[0], threshold=0.0).classes == ("square", "disc")
    strange = lamina.Detector(nn.Conv2d(3, 6, 1), preprocess=preprocess)
    with pytest.raises(LaminaError, match="The network is a Conv2d"):
        strange.fit(images, told, epochs=1, verbose=0)


# Its numbers ----------------------------------------------------------------------------------------------------------


def test_evaluate_gives_the_twelve_numbers_and_the_losses(learnt: Any) -> None:
    detector, images, told = learnt
    figures = detector.evaluate(images, told)
    assert set(figures) == {"loss", "class_loss", "box_loss", *NUMBERS}
    assert detector.history is not None


def test_numbers_are_those_of_what_predict_finds_in_pictures_of_many_sizes(learnt: Any) -> None:
    detector, images, told = learnt
    sizes = [(64, 64), (96, 128), (200, 64), (128, 100)]
    pictures, known = [], []
    for image, truth, (height, width) in zip(images, told, sizes, strict=False):
        scale = torch.tensor([width, height, width, height]) / SIDE
        pictures.append(torch.nn.functional.interpolate(image[None].float(), (height, width))[0].byte())
        known.append(Annotation(boxes_xyxy=truth.boxes_xyxy * scale, labels=truth.labels))
    scores = detector.scores(pictures, known)
    found = detector.predict(pictures, threshold=0.0)
    wanted = coco_scores(known, found, classes=detector.classes or ())
    assert scores.numbers == pytest.approx(wanted.numbers, abs=1e-6, nan_ok=True)
    assert set(scores.per_class) == {"0", "1"}
    figures = detector.evaluate(pictures, known)
    assert figures["APmedium"] == pytest.approx(wanted["APmedium"], abs=1e-6, nan_ok=True)


# What may be wrong ----------------------------------------------------------------------------------------------------


BAD = {
    "no size": [10.0, 10, 10, 30],
    "swapped": [40.0, 40, 20, 20],
    "not a number": [float("nan"), 1, 20, 20],
    "infinite": [1.0, 1, float("inf"), 20],
    "outside": [70.0, 70, 90, 90],
    "left of it": [-30.0, 5, -2, 20],
}


@pytest.mark.parametrize("box", BAD.values(), ids=list(BAD))
def test_boxes_that_cover_nothing_are_named_and_left_out(small: Any, box: list[float]) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    told[3] = boxed([5.0, 5, 30, 30], box)
    with pytest.warns(
        UserWarning, match=r"1 box covers nothing of its picture .* in 1 picture: picture 3. It is left out"
    ):
        history = detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    assert np.isfinite(history.history["loss"]).all()
    clean = [*told[:3], boxed([5.0, 5, 30, 30]), *told[4:]]
    other = small.narrow()
    assert other.fit(images, clean, epochs=1, verbose=0, validation_split=0.0).history == history.history
    with pytest.warns(UserWarning, match="1 box covers nothing of its picture"):
        figures = detector.evaluate(images, told)
    assert figures == pytest.approx(detector.evaluate(images, clean), nan_ok=True)


@pytest.mark.parametrize("network", ["retinanet", "fcos", "ssdlite"])
def test_batches_without_any_box_do_no_harm(small: Any, network: str) -> None:
    detector, (images, told) = small.narrow(network, classes=["square", "disc"]), small.shapes()
    told = [told[0], *[NOTHING] * 7]
    history = detector.fit(images, told, epochs=2, batch_size=2, verbose=0, validation_data=(images[1:3], told[1:3]))
    assert all(np.isfinite(history.history[name]).all() for name in ("loss", "val_loss"))
    assert all(torch.isfinite(value).all() for value in detector.net.state_dict().values())
    assert np.isnan(detector.evaluate(images[1:], told[1:])["AP"])  # nothing to find: no number


def test_pictures_of_which_none_has_a_box_cannot_be_learnt(small: Any) -> None:
    detector, (images, _) = small.narrow(), small.shapes()
    with pytest.raises(DataError, match="None of the 8 pictures has a box"):
        detector.fit(images, [NOTHING] * 8, epochs=1, verbose=0, validation_split=0.0)


def test_labels_must_be_classes(small: Any) -> None:
    detector, (images, told) = small.narrow(classes=["square"]), small.shapes()
    with pytest.raises(DataError, match="y holds the label 1"):
        detector.fit(images, told, epochs=1, verbose=0)


def test_classes_of_validation_must_be_those_of_training(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    told[0] = boxed([5.0, 5, 30, 30], labels=[2])
    with pytest.raises(LaminaError, match=r"y holds the label 2\. Labels are 0 to 1: the classes are 0, 1"):
        detector.fit(images[1:], told[1:], epochs=1, verbose=0, validation_data=(images, told))


def test_boxes_are_four_numbers(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    told[2] = Annotation(boxes_xyxy=torch.zeros(1, 5), labels=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(DataError, match=r"The boxes of picture 2 have shape \(1, 5\)"):
        detector.fit(images, told, epochs=1, verbose=0)


def test_what_is_no_annotation_is_refused(small: Any) -> None:
    detector, (images, _) = small.narrow(), small.shapes()
    with pytest.raises(DataError, match="y holds a int"):
        detector.fit(images, [1] * 8, epochs=1, verbose=0)


def test_dicts_of_torchvision_are_understood(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    y = [{"boxes": each.boxes_xyxy, "labels": each.labels} for each in told]
    detector.fit(images, y, epochs=1, verbose=0, validation_split=0.0)
    assert detector.classes == ("0", "1")


def test_thousands_of_boxes_fit(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes(2)
    corners = torch.rand(3000, 2) * 50
    told[0] = Annotation(
        boxes_xyxy=torch.cat([corners, corners + 1 + torch.rand(3000, 2) * 10], 1), labels=torch.randint(0, 2, (3000,))
    )
    history = detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    assert np.isfinite(history.history["loss"]).all()
    assert len(detector.predict(images[0], threshold=0.0)) <= 100


def test_a_picture_of_one_by_5000_pixels_is_no_trouble(learnt: Any) -> None:
    detector, _, _ = learnt
    for shape in ((3, 1, 5000), (3, 5000, 1)):
        found = detector.predict(torch.zeros(shape, dtype=torch.uint8), threshold=0.0)
        assert np.isfinite(found.boxes_xyxy).all()
        assert (found.boxes_xyxy >= 0).all()
        assert found.boxes_xyxy[:, 0::2].max(initial=0) <= shape[2]
        assert found.boxes_xyxy[:, 1::2].max(initial=0) <= shape[1]


def test_it_learns_from_a_picture_of_one_by_5000_pixels(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes(3)
    pictures: list[Any] = [*images, torch.zeros(3, 1, 5000, dtype=torch.uint8)]
    history = detector.fit(pictures, [*told, boxed([10.0, 0, 900, 1])], epochs=1, verbose=0, validation_split=0.0)
    assert np.isfinite(history.history["loss"]).all()


def test_a_loss_by_name_is_refused(small: Any) -> None:
    with pytest.raises(LaminaError, match="trained by the losses of its paper"):
        small.narrow().compile(loss="mse")  # type: ignore[arg-type]


def test_numbers_have_the_names_of_cocos(small: Any) -> None:
    with pytest.raises(UnknownNameError, match="AP5"):
        small.narrow().compile(metrics=["AP5"])


def test_weights_of_classes_and_of_pictures_are_refused(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    for given in ({"class_weight": {0: 2.0}}, {"balance": "weights"}):
        with pytest.raises(LaminaError, match=r"came. A picture with annotations may show several classes.*sample_by"):
            detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0, **given)
        with pytest.raises(LaminaError, match="A picture with annotations may show several classes"):
            detector.find_lr(images, told, **given)
    with pytest.raises(LaminaError, match=r"sample_weight came.*pictures have no weights"):
        detector.fit(images, told, epochs=1, verbose=0, sample_weight=[1.0] * 8)


def test_rates_can_be_tried(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    found = detector.find_lr(images, told, batch_size=4, start=1e-5, end=1.0, steps=15)
    assert 1e-5 < found.suggestion < 0.1
    assert detector.classes is None  # as it was


def test_without_weights_it_answers_nothing() -> None:
    with pytest.raises(LaminaError, match="This detector has no weights yet"):
        lamina.Detector().predict(torch.zeros(3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("classes", [1, 3])
def test_a_network_for_another_number_of_classes_is_refused(small: Any, classes: int) -> None:
    images, told = small.shapes()
    trunk = networks.create("cifar_resnet20")
    for network in ("ssdlite", "retinanet"):
        net = networks.create_on(network, trunk, arguments={"num_classes": classes})
        detector = lamina.Detector(net, preprocess=lamina.Preprocess(size=SIDE, resize="pad"))
        with pytest.raises(LaminaError, match=f"tells {classes} classes apart, and there are 2: 0, 1"):
            detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
        assert detector.classes is None  # as it was


def test_the_step_is_a_step(small: Any) -> None:
    detector, _, _ = small.trained(epochs=1)
    step = detector._make_step()
    assert isinstance(step, DetectionStep)
    assert set(step.metrics) == {"AP", "AP50"}


@pytest.mark.parametrize(("name", "value"), [("overlap", 1.5), ("least_score", -0.1), ("most", 0), ("candidates", 0)])
def test_a_suppression_of_impossible_numbers_is_refused(name: str, value: float) -> None:
    with pytest.raises(LaminaError, match=f"Suppression has {name}={value}"):
        Suppression(**{name: value})  # type: ignore[arg-type]
