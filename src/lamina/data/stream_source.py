"""Which shards a stream is of, and how many samples each of them holds: by their index, or by looking through them once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import shard_index, tar_stream
from lamina.data.formats.image_folder import few
from lamina.data.tar_bytes import Stop, fetched, is_web
from lamina.data.tree import printable

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 1_000_000  # shards


@dataclass(frozen=True)
class Source:
    """Shards: where they are, how many samples each has, and the names of the classes. `digest` is of their contents, as far as known."""

    places: tuple[str, ...]
    counts: tuple[int, ...]
    classes: tuple[str, ...]
    digest: str

    @property
    def samples(self) -> int:
        """In all shards."""
        return sum(self.counts)


def found(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], classes: Sequence[str] | None) -> Source:
    """The shards in a folder, here or on the web, or those of a list; `{000..146}` in a name stands for many.

    Raises DataError where there are none, or they are of another task than classification, and DownloadError for a web
    server that does not answer.
    """
    if isinstance(source, str | os.PathLike):
        place = os.fspath(source)
        if not _path(place).lower().endswith(".tar"):
            return _in_folder(place.rstrip("/") or place, classes)
        source = [place]
    places = [each for entry in source for each in _spread(os.fspath(entry))]
    if not places:
        raise DataError(
            "The list of shards is empty.", "At least one was expected.", "Check the folder or the pattern."
        )
    return _looked_through(places, classes)


def _path(place: str) -> str:
    return urllib.parse.urlsplit(place).path if is_web(place) else place


def _spread(place: str) -> Iterator[str]:
    told = _RANGE.search(place)
    if told is None:
        yield place
        return
    first, last = int(told[1]), int(told[2])
    if not first <= last < first + _MOST:
        raise DataError(
            f"{place} stands for shards {first} to {last}.", "A range such as {000..146} was expected.", "Correct it."
        )
    for number in range(first, last + 1):
        yield from _spread(f"{place[: told.start()]}{number:0{len(told[1])}d}{place[told.end() :]}")


def _beside(folder: str, name: str) -> str:
    """A file in a folder, here or on the web; an address keeps its query."""
    if not is_web(folder):
        return str(Path(folder) / name)
    parts = urllib.parse.urlsplit(folder)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{urllib.parse.quote(name)}").geturl()


def _in_folder(folder: str, classes: Sequence[str] | None) -> Source:
    table = _remote_table(folder) if is_web(folder) else _local_table(folder)
    if table is None:
        return _looked_through([str(path) for path in sorted(Path(folder).glob("*.tar"))], classes)
    place = _beside(folder, shard_index.TABLE)
    if table["task"] != "classification":
        raise DataError(
            f"{place} lists shards for {table['task']}.",
            "A stream is of pictures and their classes.",
            "Open such shards with data.open, which reads them all.",
        )
    try:
        # The last part alone: an index cannot lead out of its folder.
        listed = [(Path(shard["name"]).name, _count(shard["samples"])) for shard in table["shards"]]
        names = tuple(map(str, table["classes"]))
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{place} is damaged ({error}).", "A whole index was expected.", "Copy it again.") from error
    _check_classes(classes, names, place)
    places = tuple(_beside(folder, name) for name, _ in listed)
    return Source(places, tuple(count for _, count in listed), names, _digest([listed, table["arrays"], names]))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} samples")
    return value


def _remote_table(folder: str) -> Mapping[str, Any]:
    url = _beside(folder, shard_index.TABLE)
    content = fetched(url)
    table = None if content is None else shard_index.parsed_table(content, url)
    if table is None:
        raise DataError(
            f"{url} is {'not there' if content is None else 'of another kind'}.",
            "The index of shards was expected, as `lamina data shard` writes it: a web server does not list its files.",
            "Pass the folder of one part (.../train), or the addresses of all shards: .../shard-{000000..000146}.tar.",
        )
    return table


def _local_table(folder: str) -> Mapping[str, Any] | None:
    if not os.path.isdir(folder):
        raise DataError(
            f"{folder} is no folder.", "A folder of shards, or a .tar was expected.", "Check the spelling of the path."
        )
    table = shard_index.read_table(Path(folder))
    if table is None and not any(Path(folder).glob("*.tar")):
        parts = sorted(path.parent.name for path in Path(folder).glob("*/*.tar"))
        raise DataError(
            f"{folder} holds no .tar.",
            "A folder of shards was expected.",
            f"Pass the folder of one part: {Path(folder, parts[0])}." if parts else "Check the path.",
        )
    return table


def _check_classes(given: Sequence[str] | None, names: Sequence[str], place: str) -> None:
    if given is not None and tuple(given) != tuple(names):
        raise DataError(
            f"classes are {few(list(given))}, and those in {place} are {few(list(names))}.",
            "The labels of shards count the classes of their index.",
            "Leave classes out.",
        )


def _looked_through(places: Sequence[str], classes: Sequence[str] | None) -> Source:
    """Reads the headers and labels of all shards."""
    counts, most, kinds, incomplete = list[int](), -1, set[type](), list[str]()
    hashed = hashlib.sha256()
    for place in places:
        counts.append(0)
        for sample in tar_stream.samples(place, Stop(), pictures=False):
            if isinstance(sample, str):
                incomplete.append(f"{printable(sample)} in {os.path.basename(_path(place))}")
                continue
            counts[-1] += 1
            kinds.add(type(sample.label))
            labels = sample.label if isinstance(sample.label, tuple) else (sample.label,)
            most = max(most, *labels, -1)
            hashed.update(f"{os.path.basename(sample.name)} {labels}\n".encode())
    if incomplete:
        warn(f"{len(incomplete):,} samples have no picture, or no label: {few(incomplete)}. They are left out.")
    if not sum(counts) or len(kinds) > 1:
        raise DataError(
            f"{places[0]}{f' and {len(places) - 1:,} more' * (len(places) > 1)} "
            + ("hold some samples of one class and some of several." if sum(counts) else "hold no sample."),
            "Tars of KEY.jpg and KEY.cls, or of KEY.jpg and KEY.json, were expected.",
            "Look at a shard: tar tf NAME.tar.",
        )
    warn(
        f"{len(places):,} shards without an index were looked through from end to end, to count their samples. "
        "`lamina data shard` writes shards with an index, which are begun at once."
    )
    names = tuple(classes) if classes is not None else _names(places, most + 1)
    if len(names) <= most:
        raise DataError(
            f"There are {len(names)} classes.", f"The labels go up to {most}.", "Name every class: classes=[...]."
        )
    digest = _digest([counts, names, hashed.hexdigest()])
    return Source(tuple(places), tuple(counts), names, digest)


def _names(places: Sequence[str], count: int) -> tuple[str, ...]:
    """By classes.txt beside the first shard, one a line; else numbers."""
    listed = Path(places[0]).parent / "classes.txt"
    if is_web(places[0]) or not listed.is_file():
        return tuple(map(str, range(count)))
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
