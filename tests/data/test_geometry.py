"""Where the network's input lies in the picture, compared with what `host` does to a marked picture."""

import numpy as np
import pytest
from PIL import Image

from lamina.data.geometry import Window, window
from lamina.data.preprocess import Preprocess


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("crop", [1.0, 0.875])
@pytest.mark.parametrize("size", [(60, 90), (90, 60), (41, 77), (64, 64)])  # height, width
def test_a_mark_in_the_input_is_found_again_in_the_picture(resize, crop, size):
    preprocess = Preprocess(channels=1, size=(32, 40), resize=resize, crop=crop)
    row, column = size[0] // 2 + 4, size[1] // 2 - 6
    pixels = np.zeros(size, np.uint8)
    pixels[row - 4 : row + 5, column - 4 : column + 5] = 255
    seen = preprocess.host(Image.fromarray(pixels))[0].numpy().astype(float)
    rows, columns = np.indices(seen.shape)
    y, x = (seen * rows).sum() / seen.sum(), (seen * columns).sum() / seen.sum()
    found = window(preprocess, size)
    assert found.top + (y + 0.5) / 32 * found.height == pytest.approx(row + 0.5, abs=0.7)
    assert found.left + (x + 0.5) / 40 * found.width == pytest.approx(column + 0.5, abs=0.7)


def test_padding_reaches_beyond_the_picture_and_a_crop_stays_within():
    assert window(Preprocess(size=(10, 10), resize="pad"), (10, 20)) == Window(-4.0, 0.0, 16.0, 20.0)
    assert window(Preprocess(size=(10, 10), resize="crop"), (10, 20)) == Window(0.0, 5.0, 10.0, 15.0)
    assert window(Preprocess(size=(10, 10), resize="stretch"), (10, 20)) == Window(0.0, 0.0, 10.0, 20.0)
