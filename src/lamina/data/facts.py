"""What a data set holds, in numbers: pictures, classes and their balance, sizes, colours, copies, the format and the licence."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.data.dataset import ImageDataset
from lamina.data.looking import opened_or_loose
from lamina.data.splits import Splits
from lamina.structures.annotation import IGNORED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKED_AT = 5000  # pictures whose headers are read, in each part
_MAPS = 200  # maps of classes that are read, in each part
_BAR, _ROWS = 30, 40  # characters of the longest bar, classes that are listed
Size = tuple[int, int]


@dataclass(frozen=True)
class PartInfo:
    """One part: how many `pictures`, `counts` of the classes (in `unit`), smallest, median and largest (height, width) in pixels, modes.

    `looked_at` pictures tell of sizes and modes (all, or as many evenly spread); `unreadable` of them have no header that
    can be read. `copies`: pictures whose file is the same, byte for byte, as an earlier one's, in this part or one before it;
    `again`: pictures whose very file a part before this one names too, as VOC's trainval does those of train.
    """

    pictures: int
    counts: Mapping[str, float]
    unit: str
    smallest: Size | None
    median: Size | None
    largest: Size | None
    modes: Mapping[str, int]
    looked_at: int
    unreadable: int = 0
    copies: int = 0
    again: int = 0


@dataclass(frozen=True)
class DataInfo:
    """A data set in numbers. It prints itself, draws the balance of its classes (`figure`), and becomes JSON (`to_dict`)."""

    name: str
    task: str
    classes: tuple[str, ...]
    parts: Mapping[str, PartInfo]
    format: str = ""
    recognised: str = ""
    licence: str = ""

    @property
    def pictures(self) -> int:
        """How many there are: one that two parts name, as VOC's train and trainval do, counts once."""
        return sum(part.pictures - part.again for part in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        told = {name: getattr(self, name) for name in ("name", "task", "format", "recognised", "licence")}
        return {**told, "classes": list(self.classes), "parts": {name: vars(part) for name, part in self.parts.items()}}

    def __str__(self) -> str:
        counts = ", ".join(f"{part.pictures:,} {name}" for name, part in self.parts.items())
        lines = [
            f"{self.name}: {self.task}, {len(self.classes):,} class{'es' * (len(self.classes) != 1)}",
            f"{'pictures':12s} {self.pictures:,} ({counts})",
        ]
        if self.format:
            lines.append(f"{'format':12s} {self.format} ({self.recognised})")
        lines.append(f"{'licence':12s} {self.licence or 'not known: look where the data came from'}")
        for name, part in self.parts.items():
            lines.append(f"\n{name}")
            if part.smallest and part.median and part.largest:
                of = "" if part.looked_at == part.pictures else f" (of {part.looked_at:,} looked at)"
                sizes = ", ".join(
                    f"{word} {height} x {width}"
                    for word, (height, width) in zip(
                        ("smallest", "median", "largest"), (part.smallest, part.median, part.largest), strict=True
                    )
                )
                one = f"all {part.median[0]} x {part.median[1]}" if part.smallest == part.largest else sizes
                lines.append(f"  {'size':10s} {one} px (height x width){of}")
            lines.append(
                f"  {'colours':10s} {', '.join(f'{count:,} {mode}' for mode, count in part.modes.items()) or '-'}"
            )
            if part.unreadable:
                lines.append(f"  {'unreadable':10s} {part.unreadable:,} (lamina check names them)")
            lines.append(
                f"  {'copies':10s} {f'{part.copies:,} pictures have the bytes of an earlier one' if part.copies else 'none'}"
            )
            if part.again:
                lines.append(f"  {'again':10s} {part.again:,} pictures that another part has too")
            lines += [f"  {line}" for line in _bars(part)]
        return "\n".join(lines)

    def figure(self) -> Figure:
        """How often each class is there, in each part, as a bar chart."""
        from matplotlib.figure import Figure  # slow to import, and needed only here

        names = self.classes[:_ROWS]
        told = [(name, part) for name, part in self.parts.items() if part.counts]
        if not told:
            raise DataError("No part has classes to count.", "Labels were expected.", "Look at the samples instead.")
        figure = Figure(figsize=(7, 1.2 + 0.24 * len(names) * max(1, len(told) / 2)), layout="constrained")
        axes = figure.subplots()
        height = 0.8 / len(told)
        for number, (name, part) in enumerate(told):
            places = [row + (number - (len(told) - 1) / 2) * height for row in range(len(names))]
            axes.barh(places, [part.counts[each] for each in names], height=height, label=name)
        axes.set_yticks(range(len(names)), names)
        axes.margins(y=0.01)
        axes.invert_yaxis()
        left_out = len(self.classes) - len(names)
        axes.set_xlabel(
            told[0][1].unit + (f" (the first {len(names)} of {len(self.classes)} classes)" if left_out else "")
        )
        axes.set_title(f"{self.name}: balance of the classes")
        if len(told) > 1:  # beside the axes: inside it covers bars
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        return figure


def info(data: Any, *, format: str | None = None, task: str | None = None) -> DataInfo:
    """What a data set holds: a path, a name, Splits or a data set. Headers of at most 5,000 pictures a part are read.

    Copies are found by their bytes: only files of one size are compared. Near duplicates are what `lamina check` finds.
    """
    found = opened_or_loose(data, format=format, task=task)
    splits = found if isinstance(found, Splits) else Splits(found, None, name=getattr(found, "name", ""))
    parts: dict[str, PartInfo] = {}
    counted = _copies(list(splits.parts().values()))
    for (name, part), (copies, again) in zip(splits.parts().items(), counted, strict=True):
        parts[name] = replace(_part(part), copies=copies, again=again)
    return DataInfo(splits.name, splits.task, splits.classes, parts, splits.format, splits.recognised, splits.licence)


def _part(dataset: Any) -> PartInfo:
    count = len(dataset)
    counts, unit = _balance(dataset)
    if isinstance(dataset, ImageDataset):
        channels, height, width = dataset.images.shape[1:]
        mode = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
        size = (height, width)
        return PartInfo(count, counts, unit, size, size, size, {mode: count}, count)
    looked_at = torch.arange(min(count, _LOOKED_AT)) * count // min(count, _LOOKED_AT)
    sizes: list[Size] = []
    modes: Counter[str] = Counter()
    for index in looked_at.tolist():
        try:
            size, mode = _header(dataset.paths.name(index))
        except Exception:  # Pillow's readers raise nearly anything on damaged bytes
            continue
        sizes.append(size)
        modes[{"L": "grey"}.get(mode, mode)] += 1
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    middle = (
        (int(np.median([size[0] for size in sizes])), int(np.median([size[1] for size in sizes]))) if sizes else None
    )
    first, last = (by_area[0], by_area[-1]) if by_area else (None, None)
    missing = len(looked_at) - len(sizes)
    return PartInfo(count, counts, unit, first, middle, last, dict(modes.most_common()), len(looked_at), missing)


def _header(path: str) -> tuple[Size, str]:
    source = path if archive.inside(path) is None else io.BytesIO(archive.read_bytes(path))
    with Image.open(source) as picture:
        width, height = picture.size
        if picture.getexif().get(0x0112, 1) >= 5:  # turned by a quarter
            width, height = height, width
        return (height, width), picture.mode


def _balance(dataset: Any) -> tuple[dict[str, float], str]:
    """How often each class is there, and what is counted."""
    classes = dataset.classes
    labels = getattr(dataset, "labels", None)
    if labels is not None:
        several = labels.dim() == 2
        counts = labels.sum(0) if several else torch.bincount(labels, minlength=len(classes))
        return dict(zip(classes, counts.tolist(), strict=True)), "pictures"
    if not classes:
        return {}, ""
    objects = dataset.counts()
    if "class_map" in dataset.columns and not objects.any():
        some = f" of {_MAPS} pictures" if len(dataset) > _MAPS else ""
        return _pixels(dataset), f"% of the pixels{some}"
    return dict(zip(classes, objects.tolist(), strict=False)), "objects"


def _pixels(dataset: Any) -> dict[str, float]:
    total = np.zeros(IGNORED + 1, np.int64)
    for index in (torch.arange(min(len(dataset), _MAPS)) * len(dataset) // min(len(dataset), _MAPS)).tolist():
        try:
            class_map = dataset.annotation(index).class_map
        except DataError:
            continue
        if class_map is not None:
            total += np.bincount(class_map.numpy().ravel(), minlength=IGNORED + 1)
    whole = max(int(total.sum()), 1)
    return {name: round(100 * int(total[number]) / whole, 2) for number, name in enumerate(dataset.classes)}


def _copies(parts: list[Any]) -> list[tuple[int, int]]:
    """Of each part the pictures that equal an earlier one, and those that an earlier part names. Only what has the same number of
    bytes is read."""
    sizes: Counter[Any] = Counter(itertools.chain.from_iterable(map(_lengths, parts)))
    seen: dict[Any, set[bytes]] = {}
    named: set[int] = set()  # hashes of names: 8 bytes each, where the names would take 100
    counts = []
    for part in parts:
        copies = again = 0
        here = [] if isinstance(part, ImageDataset) else [hash(part.paths.name(row)) for row in range(len(part))]
        for index, size in enumerate(_lengths(part)):
            if here and here[index] in named:
                again += 1
                continue
            if size is None or sizes[size] < 2:
                continue
            try:
                digest = hashlib.blake2b(_content(part, index), digest_size=16).digest()
            except OSError:
                continue
            known = seen.setdefault(size, set())
            copies += digest in known
            known.add(digest)
        named.update(here)
        counts.append((copies, again))
    return counts


def _lengths(part: Any) -> list[Any]:
    if isinstance(part, ImageDataset):
        return [tuple(part.images.shape[1:])] * len(part)
    return [_length(part.paths.name(index)) for index in range(len(part))]


def _length(path: str) -> int | None:
    try:
        return archive.time_and_size(path)[1]
    except OSError:
        return None


def _content(part: Any, index: int) -> bytes:
    return (
        part.images[index].numpy().tobytes()
        if isinstance(part, ImageDataset)
        else archive.read_bytes(part.paths.name(index))
    )


def _bars(part: PartInfo) -> list[str]:
    """The balance as lines of text."""
    if not part.counts or not any(part.counts.values()):
        return []
    listed = list(part.counts.items())
    if len(listed) > _ROWS:
        listed = sorted(listed, key=lambda pair: -pair[1])
        listed = [*listed[: _ROWS // 2], ("...", 0), *listed[-_ROWS // 2 :]]
    width, most = min(max(len(name) for name, _ in listed), 24), max(part.counts.values())
    filled = [count for count in part.counts.values() if count]
    ratio = f", most : fewest = {max(filled) / min(filled):.3g} : 1" if len(filled) > 1 else ""
    empty = len(part.counts) - len(filled)
    none = f", {empty:,} without any" if empty else ""
    lines = [f"{'classes':10s} {part.unit}{ratio}{none}"]
    for name, count in listed:
        bar = "█" * max(round(_BAR * count / most), 1 if count else 0)
        lines.append(f"{name[:width]:{width}s} {count:>9,} {bar}" if name != "..." else "...")
    return lines
