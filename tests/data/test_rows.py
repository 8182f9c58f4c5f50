"""Rows of tables: delimiters, quotes, lines."""

import pytest

from lamina.core.errors import DataError
from lamina.data.rows import delimiter_of, numbers, rows
from lamina.data.tree import Tree


@pytest.mark.parametrize(
    ("text", "name", "delimiter"),
    [
        ("a,b\n1,2\n", "t.csv", ","),
        ("a;b\n1,5;2,5\n", "t.csv", ";"),
        ("a\tb\n1\t2\n", "t.txt", "\t"),
        ("a b,c\n", "t.tsv", "\t"),
        ("a|b\n1|2\n", "t.csv", "|"),
        ('name,text\n1,"x; y; z"\n2,"x; y"\n', "t.csv", ","),
        ("alone\n", "t.csv", ","),
        ("", "t.csv", ","),
    ],
)
def test_the_delimiter_is_what_cuts_the_rows_alike(text, name, delimiter):
    assert delimiter_of(text, name) == delimiter


def test_a_row_has_the_line_that_it_begins_on(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfa,b\r\n"1\r\n2", x \r\n\r\n,\r\n3,4')
    assert list(rows(Tree(tmp_path), "t.csv")) == [(1, ["a", "b"]), (2, ["1\r\n2", "x"]), (6, ["3", "4"])]


def test_numbers_are_finite_and_named_where_they_are_none():
    assert numbers(["1", " 2.5"], "t.csv, line 3") == [1.0, 2.5]
    for wrong in (["x"], ["nan"], ["inf"], ["1e300"]):
        with pytest.raises(DataError, match=r"^t\.csv, line 3: "):
            numbers(wrong, "t.csv, line 3")
    with pytest.raises(DataError, match="Whole numbers"):
        numbers(["1.5"], "t.csv, line 3", whole=True)
