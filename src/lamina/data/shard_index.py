"""What lies beside the shards of a part: `index.json` for people and other readers, `index.npz` with where each file lies.

An index of a million samples is a block of bytes and a few arrays; nothing is kept for each of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.core.errors import DataError
from lamina.core.files import replacing
from lamina.data.paths import Paths

FORMAT = "lamina shards 1"
TABLE, ARRAYS, UNFINISHED = "index.json", "index.npz", ".unfinished"
_PLACE = re.compile(r"(?P<shard>[^/]+)/@(?P<start>\d+)\+(?P<size>\d+)/(?P<name>.*)")


class Places:
    """Where the files of one kind lie, one for each sample, as paths below the shards' folder; empty where there is none."""

    def __init__(self) -> None:
        self._letters, self._ends = bytearray(), array("q", [0])

    def add(self, shard: str, start: int, size: int, name: str) -> None:
        """One more file, of a sample that comes next."""
        self._letters += f"/{shard}/@{start}+{size}/{name}".encode("utf-8", "surrogateescape")
        self._ends.append(len(self._letters))

    def fill(self, count: int) -> None:
        """Up to so many samples the next have none."""
        while len(self._ends) <= count:
            self._ends.append(len(self._letters))

    def arrays(self, kind: str) -> dict[str, npt.NDArray[Any]]:
        """As `paths` takes it."""
        letters = np.frombuffer(bytes(self._letters), dtype=np.uint8)
        return {f"{kind}.letters": letters, f"{kind}.places": np.array(self._ends, dtype=np.int64)}


def paths(held: Mapping[str, npt.NDArray[Any]], folder: Path) -> dict[str, Paths]:
    """Where the files of each kind lie: "picture", "json" ..."""
    kinds = [name.removesuffix(".places") for name in held if name.endswith(".places")]
    return {kind: _paths(folder, held[f"{kind}.letters"], held[f"{kind}.places"], whole=kind) for kind in kinds}


def _paths(folder: Path, letters: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], *, whole: str) -> Paths:
    if whole == "picture" or bool((np.diff(ends) > 0).all()):
        return Paths.packed(folder, letters.tobytes(), ends)
    content = letters.tobytes()  # where some samples have none, "" stands for it, which has no folder in front
    start = f"{folder}".encode("utf-8", "surrogateescape")
    parts = [start + content[a:b] if b > a else b"" for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    return Paths.packed("", b"".join(parts), np.concatenate([[0], np.cumsum(sizes)]))


def write(folder: Path, table: Mapping[str, Any], held: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Writes both files; the table comes last, so where it is, all is."""
    made = io.BytesIO()
    np.savez(made, **held)  # type: ignore[arg-type]
    with replacing(folder / ARRAYS) as path:
        path.write_bytes(made.getbuffer())
    digest = hashlib.sha256(made.getbuffer()).hexdigest()
    whole = {"format": FORMAT, **table, "arrays": {"name": ARRAYS, "sha256": digest}}
    with replacing(folder / TABLE) as path:
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")
    return whole


def read_table(folder: Path) -> dict[str, Any] | None:
    """The table beside shards; None where there is none of this format. Raises DataError for one that is damaged or unfinished."""
    path = folder / TABLE
    if (folder / UNFINISHED).exists():
        raise DataError(
            f"{folder} holds shards whose writing was not finished.",
            "An index was expected beside them.",
            "Write them again: what is there will be replaced.",
        )
    if not path.is_file():
        return None
    return parsed_table(path.read_bytes(), str(path))


def parsed_table(content: bytes, path: str) -> dict[str, Any] | None:
    """The table in such a file; None for one of another format. Raises DataError, naming `path`, for one that is damaged."""
    try:
        table = json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: {error.msg}.", "A whole index was expected.", "Copy it again."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8.", "A whole index was expected.", "Copy it again.") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        return None
    missing = [name for name in ("task", "classes", "samples", "shards", "arrays") if name not in table]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}.", "A whole index was expected.", "Copy it again.")
    return table


def read_arrays(folder: Path, table: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """The arrays beside the table. Raises DataError where they are not those that were written, or a shard is missing or cut short."""
    path = folder / ARRAYS
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != table["arrays"]["sha256"]:
        raise DataError(
            f"{path} {'is damaged or of another writing' if content else 'is not there'}.",
            f"The arrays that {TABLE} speaks of were expected.",
            f"Copy it again; or delete {TABLE}, and the shards are looked through at each start.",
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as opened:
            held = {name: opened[name] for name in opened.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}).", "Arrays were expected.", "Copy it again.") from error
    _check_shards(folder, table["shards"], held)
    return held


def _check_shards(folder: Path, shards: Sequence[Mapping[str, Any]], held: Mapping[str, npt.NDArray[Any]]) -> None:
    first = 0
    for shard in shards:
        path = folder / Path(shard["name"]).name
        if not path.is_file():
            raise DataError(
                f"{path} is not there.",
                f"It holds {shard['samples']:,} samples by {TABLE}.",
                "Copy it too, or write the shards again.",
            )
        size = path.stat().st_size
        if size < shard["bytes"]:
            last = _last_whole(held, first, shard["samples"], size)
            raise DataError(
                f"{path} is cut short: it has {size:,} of {shard['bytes']:,} bytes, and {last}.",
                "A whole shard was expected.",
                "Copy it again.",
            )
        first += shard["samples"]


def _last_whole(held: Mapping[str, npt.NDArray[Any]], first: int, count: int, size: int) -> str:
    letters, ends = held["picture.letters"].tobytes(), held["picture.places"]
    last = ""
    for row in range(first, first + count):
        told = _PLACE.fullmatch(letters[ends[row] + 1 : ends[row + 1]].decode("utf-8", "surrogateescape"))
        if told is not None and int(told["start"]) + int(told["size"]) <= size:
            last = told["name"]
    return f"the last whole sample is {last}" if last else "no sample is whole"
