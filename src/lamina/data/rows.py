"""The rows of a table in a text (CSV, TSV), each with the line it begins on."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence

from lamina.core.errors import DataError
from lamina.data.tree import Tree

SUFFIXES = (".csv", ".tsv")
_DELIMITERS = ",\t;|"
_LOOKED_AT = 20  # rows that tell the delimiter
_LONGEST = 1 << 24  # letters of one value: outlines of objects are long

Row = tuple[int, list[str]]


def rows(tree: Tree, name: str, *, delimiter: str = "") -> Iterator[Row]:
    """(line from 1, values without blanks around them) of each row that is not empty; quoted values may hold delimiters and lines.

    The delimiter is told by the ending .tsv, or by what cuts the first rows alike. Raises DataError that names the line that
    breaks off or is no UTF-8.
    """
    text = tree.text(name)
    yield from parsed(text, tree.path(name), delimiter or delimiter_of(text, name))


def delimiter_of(text: str, name: str = "") -> str:
    """What stands between the values: of comma, tab, semicolon and bar the one that cuts most rows into as many values."""
    if name.lower().endswith(".tsv"):
        return "\t"
    head = "\n".join(itertools.islice(text.splitlines(), _LOOKED_AT))

    def fit(delimiter: str) -> tuple[float, int]:
        counts = [len(row) for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if row]
        first = counts[0] if counts else 1
        return (counts.count(first) / len(counts) if first > 1 else 0.0), first

    return max(_DELIMITERS, key=fit)


def parsed(text: str, path: str, delimiter: str) -> Iterator[Row]:
    """As `rows`, of a text that was read; `path` names it in errors."""
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    begins = 1
    try:
        for values in reader:
            if any(map(str.strip, values)):
                yield begins, [value.strip() for value in values]
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {begins}: the row that begins there breaks off or is badly quoted ({error}).",
            "Values with commas or lines in them stand between quotes, and quotes in them are doubled.",
            "Mend that line, or fetch the file again.",
        ) from error


def numbers(values: Sequence[str], where: str, *, whole: bool = False) -> list[float]:
    """The values as numbers. Raises DataError, naming `where`, for one that is none, infinite, or not whole where it must be."""
    try:
        read = [float(value) for value in values]
    except ValueError as error:
        raise DataError(f"{where}: {error}.", "Numbers were expected.", "Mend that line, or take it out.") from error
    if any(value != value or abs(value) > 1e15 or (whole and value != int(value)) for value in read):
        kind = "Whole numbers" if whole else "Numbers"
        raise DataError(f"{where}: {', '.join(values)}.", f"{kind} were expected.", "Mend that line, or take it out.")
    return read
