"""What a detection network's step keeps, and what it measures against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.data.annotated import AnnotatedDataset
from lamina.data.augment.sample import RandomFlip, SampleTransforms
from lamina.data.columns import Ragged


def test_measuring_keeps_no_boxes_once_it_is_done(learnt: Any) -> None:
    detector, images, told = learnt
    detector.evaluate(images, told)
    detector.scores(images, told)
    step = detector._make_step()
    assert step.found.state_dict()["updates"] == 0
    assert step.listener is None


def test_what_is_found_in_changed_pictures_is_compared_with_what_is_true_of_them(learnt: Any, tmp_path: Path) -> None:
    detector, images, told = learnt
    for number, image in enumerate(images):
        Image.fromarray(image.flip(2).permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    mirrored = [
        each.boxes_xyxy[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([64, 0, 64, 0]) for each in told
    ]
    ends = np.cumsum([0, *map(len, told)])
    columns = {
        "labels": Ragged(torch.cat([each.labels for each in told]).numpy(), ends),
        "boxes_xyxy": Ragged(torch.cat(mirrored).numpy(), ends),
    }
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    data = AnnotatedDataset(paths, columns, detector.classes, task="detection", root=tmp_path)
    back = data.changed(SampleTransforms([RandomFlip(p=1.0)]))  # the very pictures that it knows
    known = detector.evaluate(images, told)
    figures = detector.evaluate(back)
    assert figures["AP50"] == pytest.approx(known["AP50"])
    assert detector.scores(back)["AP50"] == pytest.approx(known["AP50"])
    assert figures["loss"] == pytest.approx(known["loss"], rel=1e-4)
