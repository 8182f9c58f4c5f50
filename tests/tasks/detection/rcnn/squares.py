"""Pictures with coloured rectangles, and what stands in them."""

import numpy as np
from PIL import Image

from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Ragged

SIDE = 96


def dataset(folder, count, seed=0, empty=()):
    """Red and green rectangles on grey noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths, labels, corners = [], [], []
    for number in range(count):
        image = generator.integers(90, 110, (SIDE, SIDE, 3), dtype=np.uint8)
        mine, theirs = [], []
        for label, left in enumerate((4, 52)) if number not in empty else ():
            x, y = left + generator.integers(0, 8), generator.integers(2, 50)
            width, height = generator.integers(24, 34, 2)
            image[y : y + height, x : x + width, label] = 220
            mine.append(label)
            theirs.append([x, y, x + width, y + height])
        path = folder / f"{number}.png"
        Image.fromarray(image).save(path)
        paths.append(path)
        labels.append(np.array(mine, np.int64))
        corners.append(np.array(theirs, np.float32).reshape(-1, 4))
    ends = np.cumsum([0, *map(len, labels)])
    columns = {"labels": Ragged(np.concatenate(labels), ends), "boxes_xyxy": Ragged(np.concatenate(corners), ends)}
    return AnnotatedDataset(paths, columns, ("red", "green"), task="detection", root=folder)
