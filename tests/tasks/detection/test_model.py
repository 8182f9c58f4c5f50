"""Detector: from pictures with boxes to results, numbers and a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import optimizers
from lamina.core.errors import LaminaError
from lamina.metrics.coco import NUMBERS, coco_scores
from lamina.structures.annotation import Annotation
from lamina.tasks.detection import DetectionStep, Suppression

SIDE = 64  # px of the small detectors' pictures


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


def test_dicts_of_torchvision_are_understood(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    y = [{"boxes": each.boxes_xyxy, "labels": each.labels} for each in told]
    detector.fit(images, y, epochs=1, verbose=0, validation_split=0.0)
    assert detector.classes == ("0", "1")


def test_rates_can_be_tried(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    found = detector.find_lr(images, told, batch_size=4, start=1e-5, end=1.0, steps=15)
    assert 1e-5 < found.suggestion < 0.1
    assert detector.classes is None  # as it was


def test_the_step_is_a_step(small: Any) -> None:
    detector, _, _ = small.trained(epochs=1)
    step = detector._make_step()
    assert isinstance(step, DetectionStep)
    assert set(step.metrics) == {"AP", "AP50"}
