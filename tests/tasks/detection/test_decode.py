"""Detections know their picture, in whatever form it came."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.tasks.detection.decode import results

SIZE = (20, 30)
ANSWER = np.array([[[6.0, 4, 18, 12, 0.9, 1], [0, 0, 0, 0, 0, -1]]], np.float32)


def found(source):
    preprocess = lamina.Preprocess(size=SIZE, resize="pad")
    (one,) = results(ANSWER, ("a", "b"), preprocess, sources=[source], sizes=[SIZE])
    return one


@pytest.mark.parametrize("form", ["rows", "channels", "tensor", "rows tensor", "floats", "16 bits", "alpha", "archive"])
def test_boxes_are_drawn_into_the_picture_that_was_read_and_told_as_shares_of_it(form, tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "0.png")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "0.png", "0.png")
    forms = {
        "rows": colour,
        "channels": colour.transpose(2, 0, 1),
        "tensor": torch.from_numpy(colour).permute(2, 0, 1),
        "rows tensor": torch.from_numpy(colour),
        "floats": colour / 255,
        "16 bits": colour.astype(np.uint16) * 257,
        "alpha": np.dstack([colour, np.full(SIZE, 255, np.uint8)]),
        "archive": tmp_path / "all.zip" / "0.png",
    }
    told, expected = found(forms[form]), found(Image.fromarray(colour))
    assert told.overlay().tobytes() == expected.overlay().tobytes()
    assert "<img" in told._repr_html_()
    assert told.to_yolo() == "1 0.400000 0.400000 0.400000 0.400000 0.900000\n"
