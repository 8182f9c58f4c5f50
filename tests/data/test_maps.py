"""What is stored in a mask, and the class that it stands for."""

import pickle

import numpy as np
import pytest
from PIL import Image

from lamina.core.errors import DataError
from lamina.data.maps import ClassMap, stored


@pytest.fixture
def save(tmp_path):
    def saved(pixels, *, mode=None, name="m.png"):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.array(pixels, dtype=mode or np.uint8))
        image.save(tmp_path / name)
        return str(tmp_path / name)

    return saved


def test_values_are_not_turned_into_brightness_or_colour(save):
    assert stored(save([[0, 300, 65535]], mode=np.uint16))[0].tolist() == [[0, 300, 65535]]
    palette = Image.fromarray(np.array([[0, 1, 200]], dtype=np.uint8), "L")
    palette.putpalette(list(range(256)) * 3)
    assert stored(save(palette))[0].tolist() == [[0, 1, 200]]
    assert stored(save(Image.new("1", (2, 1), 1)))[0].tolist() == [[1, 1]]
    assert stored(save(Image.new("LA", (1, 1), (7, 9))))[0].tolist() == [[7]]
    colours, are = stored(save([[[1, 2, 3], [0, 0, 0]]]))
    assert (colours.tolist(), are) == ([[0x010203, 0]], True)
    grey, are = stored(save([[[3, 3, 3], [0, 0, 0]]]))
    assert (grey.tolist(), are) == ([[3, 0]], False)


def test_a_map_reads_values_colours_and_thresholds(save):
    assert ClassMap([5, 0, 9], [1, 0, 255])(save([[0, 5, 9]]), (1, 3)).tolist() == [[0, 1, 255]]
    colours = ClassMap([0xFF0000, 0x000000, 0x00FF00], [0, 1, 2], colours=True)
    assert colours(save([[[0, 255, 0], [255, 0, 0]]]), (1, 2)).tolist() == [[2, 0]]
    assert colours(save([[0, 0]]), (1, 2)).tolist() == [[1, 1]]
    assert ClassMap(threshold=127)(save([[3, 127, 128, 250]]), (1, 4)).tolist() == [[0, 0, 1, 1]]
    assert pickle.loads(pickle.dumps(colours)).values.tolist() == [0, 0x00FF00, 0xFF0000]


def test_what_does_not_fit_is_named_with_the_file(save, tmp_path):
    read = ClassMap([0, 1], [0, 1])
    with pytest.raises(DataError, match=r"m\.png holds the value 2\. The classes are 0, 1\."):
        read(save([[0, 2]]), (1, 2))
    with pytest.raises(DataError, match=r"m\.png holds colours"):
        read(save([[[0, 2, 1]]]), (1, 1))
    with pytest.raises(DataError, match=r"holds the colour #000201"):
        ClassMap([0, 0xFFFFFF], [0, 1], colours=True)(save([[[0, 2, 1]]]), (1, 1))
    with pytest.raises(DataError, match=r"m\.png has 2 x 1 pixels, and its picture 1 x 2"):
        read(save([[0, 1]]), (2, 1))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        read(str(tmp_path / "broken.png"), (1, 1))
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        read(str(tmp_path / "gone.png"), (1, 1))
