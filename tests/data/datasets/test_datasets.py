"""Named data sets."""

import pytest

from lamina import data
from lamina.core.errors import UnknownNameError


def test_names_lists_what_load_knows():
    assert {"cifar10", "coco2017", "fashion-mnist", "mnist", "voc2007"} <= set(data.names())
    assert data.names() == sorted(data.names())


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no data set called 'minst'.*'mnist'"):
        data.load("minst")
