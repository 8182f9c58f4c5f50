"""What readers leave out: told once where it is little, an error where it is much."""

import warnings

import pytest

from lamina.core.errors import DataError
from lamina.data.left_out import LeftOut


def out(count):
    made = LeftOut("rows of t.csv", "Mend them.")
    for number in range(count):
        made.add(f"line {number}")
    return made


def test_nothing_is_told_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out(0).tell(10)


def test_a_few_are_named_in_one_warning():
    with pytest.warns(
        UserWarning, match=r"5 of 100 rows of t\.csv .*line 0; line 1; line 2; and 2 more\. They are left out"
    ):
        out(5).tell(100)


def test_many_are_an_error_unless_they_are_bearable_and_all_always_are():
    with pytest.raises(DataError, match="11 of 100 rows"):
        out(11).tell(100)
    with pytest.warns(UserWarning, match="11 of 100"):
        out(11).tell(100, bearable=True)
    with pytest.raises(DataError, match="2 of 2"):
        out(2).tell(2, bearable=True)
