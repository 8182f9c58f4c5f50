"""Maps of classes in whatever form they come."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError
from lamina.tasks.segmentation.targets import as_maps

MAP = np.array([[0, 1, 2], [255, 2, 0]])


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_whole_numbers_of_any_width_are_taken(kind):
    for given in (MAP[None].astype(kind), [torch.from_numpy(MAP.astype(kind))]):
        (found,) = as_maps(given)
        assert found.dtype == torch.uint8
        assert found.tolist() == MAP.tolist()


def test_pillow_pictures_of_16_and_32_bits_are_taken():
    for kind in (np.uint8, np.uint16, np.int32):
        (found,) = as_maps([Image.fromarray(MAP.astype(kind))])
        assert found.tolist() == MAP.tolist()
    with pytest.raises(DataError, match="values from 0 to 300"):
        as_maps([np.array([[0, 300]], np.uint16)])


@pytest.mark.parametrize("given", ["masks/", Path("masks")])
def test_one_path_is_not_taken_for_letters(given):
    with pytest.raises(DataError, match=r"y is the path masks.*A map for each picture"):
        as_maps(given)
