"""Numbers of pictures in a CSV: the first column names the files, from its folder on, and each number has a column."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lamina.core.errors import DataError
from lamina.data import rows


def read(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[Path, dict[str, list[float]]]:
    """The folder of a CSV, and of each file that it names the numbers (of the columns `names`, in their order).

    Raises DataError where there is none, a column is missing, or a row has no such numbers.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} cannot be read ({type(error).__name__}).",
            f"A CSV was expected, with these columns: file, {', '.join(names)}.",
            "Check the path.",
        ) from error
    found = rows.parsed(text, str(file), rows.delimiter_of(text, file.name))
    _, head = next(found, (1, []))
    missing = [name for name in names if name not in head[1:]]
    if missing:
        raise DataError(
            f"{file} has no column {missing[0]!r}.",
            f"Behind the files there are: {', '.join(head[1:]) or 'none'}.",
            f"Name the columns in the first row: file,{','.join(names)}.",
        )
    columns = [head.index(name, 1) for name in names]
    told: dict[str, list[float]] = {}
    for line, values in found:
        where = f"{file}, line {line}"
        if len(values) <= max(columns):
            raise DataError(
                f"{where}: {len(values)} values.", f"{len(head)} were expected.", "Mend that line, or take it out."
            )
        told[values[0]] = rows.numbers([values[at] for at in columns], where)
    if not told:
        raise DataError(f"{file} names no picture.", "A row for each was expected.", "Check the file.")
    return file.parent, told
