"""What `lamina check` found: faults of three levels, as a table, as JSON, and in numbers."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lamina.core.files import replacing
from lamina.data.tree import printable

Level = Literal["error", "conversion", "doubt"]
LEVELS: tuple[Level, ...] = ("error", "conversion", "doubt")
MOST_NAMED = 10_000  # faults of one kind that are kept; all are counted
_SHOWN = 5  # of a kind, in the table
_WIDTH = 140  # columns, where no terminal says
_STYLES = {"error": "bold red", "conversion": "yellow", "doubt": "cyan"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong or strange.

    `level`: an "error" cannot be used for training; a "conversion" is read as a person expects; a "doubt" is for a person to
    judge. `where` is the file, or the part of the data; `origin` the line or entry of the annotation, where that is another.
    """

    level: Level
    kind: str
    where: str
    what: str
    origin: str = ""
    part: str = ""


@dataclass(frozen=True)
class Report:
    """The faults of a data set, errors first. Prints itself as a table.

    `counts` are of all faults by (level, kind); of one kind at most 10,000 are kept in `faults`. `tasks`: what the annotations
    that were looked at are for.
    """

    data: str
    root: str
    pictures: int
    faults: tuple[Fault, ...]
    counts: Mapping[tuple[Level, str], int] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Fault, ...]:
        """What training cannot use."""
        return self._of("error")

    @property
    def conversions(self) -> tuple[Fault, ...]:
        """What is converted when it is read."""
        return self._of("conversion")

    @property
    def doubts(self) -> tuple[Fault, ...]:
        """What a person should look at."""
        return self._of("doubt")

    @property
    def exit_code(self) -> int:
        """1 where there are errors, else 0."""
        return int(self.count("error") > 0)

    def count(self, level: Level, kind: str | None = None) -> int:
        """How many faults of a level, or of one kind of it, there are, kept or not."""
        return sum(n for (of, name), n in self.counts.items() if of == level and kind in (None, name))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values. Bytes of file names that are no UTF-8 are written as \\xNN."""
        kinds = [{"level": level, "kind": kind, "count": count} for (level, kind), count in self.counts.items()]
        listed = [{name: printable(value) for name, value in asdict(fault).items()} for fault in self.faults]
        return {
            "data": printable(self.data),
            "path": printable(self.root),
            "tasks": list(self.tasks),
            "pictures": self.pictures,
            "counts": {f"{level}s": self.count(level) for level in LEVELS},
            "kinds": kinds,
            "faults": listed,
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The same as JSON text, also written into a file where a `path` is given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        if path is not None:
            with replacing(path) as temporary:
                Path(temporary).write_text(text + "\n", encoding="utf-8")
        return text

    @property
    def headline(self) -> str:
        """How many faults of each level in how many pictures."""
        told = ", ".join(f"{n:,} {level}{'s' * (n != 1)}" for level in LEVELS for n in [self.count(level)])
        return f"{told} in {self.pictures:,} picture{'s' * (self.pictures != 1)}"

    def table(self) -> Table:
        """A row for each kind, with the first few of it."""
        table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
        table.add_column("level", no_wrap=True)
        table.add_column("kind", no_wrap=True)
        table.add_column("count", justify="right", no_wrap=True)
        table.add_column("where: what", overflow="fold")
        by_kind: dict[tuple[Level, str], list[Fault]] = {}
        for fault in self.faults:
            by_kind.setdefault((fault.level, fault.kind), []).append(fault)
        for (level, kind), count in self.counts.items():
            some = by_kind.get((level, kind), [])[:_SHOWN]
            lines = [self._line(fault) for fault in some]
            if count > len(some):
                lines.append(f"... and {count - len(some):,} more")
            table.add_row(Text(level, style=_STYLES[level]), kind, f"{count:,}", Text("\n".join(lines)))
        return table

    def __rich_console__(self, *_: Any) -> Iterable[Any]:
        yield Text(printable(self.data))
        if len(self.tasks) > 1:
            yield Text(f"Annotations for {', '.join(self.tasks[:-1])} and {self.tasks[-1]} were looked at.")
        if self.counts:
            yield self.table()
        yield Text(self.headline, style="" if self.exit_code else "green")

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())

    def _of(self, level: Level) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.faults if fault.level == level)

    def _line(self, fault: Fault) -> str:
        where, origin = self._short(fault.where), self._short(fault.origin)
        place = f"{where} ({origin})" if origin and origin != where else where
        what = fault.what.replace(self._start, "") if self._start else fault.what
        return printable(f"{place}: {what}" if place else what)

    def _short(self, path: str) -> str:
        """A path without the folder that all begin with."""
        return path.removeprefix(self._start)

    @property
    def _start(self) -> str:
        return self.root.rstrip(os.sep) + os.sep if self.root else ""


class Findings:
    """Faults while they are found: all are counted, and of each kind the first 10,000 are kept."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Level, str], list[Fault]] = {}
        self._counts: Counter[tuple[Level, str]] = Counter()

    def add(self, level: Level, kind: str, where: str, what: str, *, origin: str = "", part: str = "") -> None:
        """Takes one fault."""
        self.take(Fault(level, kind, where, what, "" if origin == where else origin, part))

    def take(self, fault: Fault) -> None:
        """Takes one fault."""
        key = (fault.level, fault.kind)
        self._counts[key] += 1
        if self._counts[key] <= MOST_NAMED:
            self._kept.setdefault(key, []).append(fault)

    def report(self, data: str, root: str, pictures: int, tasks: Sequence[str] = ()) -> Report:
        """All that was found: errors, then conversions, then doubts, each kind together."""
        keys = sorted(self._counts, key=lambda key: LEVELS.index(key[0]))
        faults = tuple(fault for key in keys for fault in self._kept.get(key, ()))
        return Report(data, root, pictures, faults, {key: self._counts[key] for key in keys}, tuple(tasks))
