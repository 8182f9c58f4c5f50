"""Results of a classifier know their picture, wherever it lies."""

import zipfile

import numpy as np
from PIL import Image

from lamina.tasks.classification.decode import decode


def test_results_of_pictures_inside_an_archive_draw_themselves(tmp_path):
    Image.new("RGB", (12, 10), (200, 30, 30)).save(tmp_path / "0.png")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "0.png", "0.png")
    sources = [tmp_path / "all.zip" / "0.png", tmp_path / "0.png", Image.open(tmp_path / "0.png")]
    for multi_label in (False, True):
        found = decode(np.full((4, 2), 0.5), ("a", "b"), sources, multi_label=multi_label)
        assert [each.path for each in found] == [*map(str, sources[:2]), None, None]
        drawn = [each.draw() for each in found[:3]]
        assert drawn[0].tobytes() == drawn[1].tobytes() == drawn[2].tobytes()
