"""Files that belong together by their names."""

import pytest

from lamina.core.errors import DataError
from lamina.data.pairing import pairs_by_stem


def test_names_without_folders_and_endings_tell_the_pairs():
    pairs, alone, left = pairs_by_stem(["a/1.jpg", "a/2.jpg"], ["b/3_mask.png", "b/1_mask.png"], ending="_mask")
    assert pairs == [("a/1.jpg", "b/1_mask.png")]
    assert (alone, left) == (["a/2.jpg"], ["b/3_mask.png"])


def test_two_partners_for_one_are_refused():
    with pytest.raises(DataError, match=r"Both b/1\.png and b/1\.bmp"):
        pairs_by_stem(["1.jpg"], ["b/1.png", "b/1.bmp"])
