"""Names of classes from what sources write."""

import pytest

from lamina.core.errors import DataError
from lamina.data.class_names import first_words, refuse_twins


def test_first_words_name_a_class_and_more_where_two_share_them():
    meanings = ["tench, Tinca tinca", "crane", "crane", "door", "door, gate", "sky"]
    told = first_words(meanings, ["n1", "n2", "n3", "n4", "n5", "n6"])
    assert told == ("tench", "crane (n2)", "crane (n3)", "door (n4)", "door, gate", "sky")
    assert len(set(told)) == 6


def test_names_that_differ_in_case_alone_are_refused():
    refuse_twins(["cat", "dog"], "labels.csv")
    with pytest.raises(DataError, match=r"labels\.csv has the classes Cat and cat"):
        refuse_twins(["Cat", "dog", "cat"], "labels.csv")
