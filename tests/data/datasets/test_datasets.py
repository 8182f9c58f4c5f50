"""Named data sets."""

import pytest

from lamina import data
from lamina.core.errors import UnknownNameError


def test_names_lists_what_load_knows():
    assert data.names() == ["cifar10", "mnist"]


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no data set called 'minst'.*'mnist'"):
        data.load("minst")
