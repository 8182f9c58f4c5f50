"""Pictures with a mark, and all that can be known of it: its box, its mask, its class, its centre, the same picture again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.data import AnnotatedDataset
from lamina.data.columns import Beside, Fixed, Ragged
from lamina.data.paths import Paths
from lamina.structures.annotation import Annotation

HEIGHT, WIDTH, MARK = 60, 80, 9


def marked(seed, height=HEIGHT, width=WIDTH):
    """A grey picture with a red square, and its annotation."""
    numbers = np.random.default_rng(seed)
    top, left = int(numbers.integers(0, height - MARK)), int(numbers.integers(0, width - MARK))
    picture = torch.full((3, height, width), 90, dtype=torch.uint8)
    inside = (slice(top, top + MARK), slice(left, left + MARK))
    picture[:, *inside] = torch.tensor([250, 10, 20], dtype=torch.uint8)[:, None, None]
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, *inside] = True
    return picture, Annotation(
        labels=torch.tensor([3]),
        boxes_xyxy=torch.tensor([[left, top, left + MARK, top + MARK]], dtype=torch.float32),
        masks=mask,
        keypoints=torch.tensor([[[left + MARK / 2, top + MARK / 2, 2.0]]]),
        crowd=torch.tensor([False]),
        area_px=torch.tensor([float(MARK**2)]),
        class_map=mask[0].to(torch.uint8),
        other=picture.clone(),
    )


@pytest.fixture
def marked_files(tmp_path):
    """A data set of eight such pictures in files, of several sizes, one of them grey."""
    paths, samples = [], []
    for number in range(8):
        picture, annotation = marked(number, HEIGHT + 8 * (number % 3), WIDTH - 8 * (number % 2))
        path = tmp_path / f"{number}.png"
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        (image.convert("L") if number == 7 else image).save(path)
        paths.append(str(path))
        samples.append(annotation)
    count = len(samples)
    ends = np.arange(count + 1)
    maps = Paths([str(number) for number in range(count)])
    columns = {
        "labels": Ragged(np.full(count, 3), ends),
        "boxes_xyxy": Ragged(np.concatenate([each.boxes_xyxy.numpy() for each in samples]), ends),
        "keypoints": Ragged(np.concatenate([each.keypoints.numpy() for each in samples]), ends),
        "area_px": Ragged(np.full(count, MARK**2, np.float32), ends),
        "masks": Beside(maps, lambda path, size: samples[int(path)].masks),
        "class_map": Beside(maps, lambda path, size: samples[int(path)].class_map),
        "number": Fixed(np.arange(count)),
    }
    return AnnotatedDataset(paths, columns, ["a", "b", "c", "d"], task="keypoints", root=tmp_path, point_names=["x"])
