"""What the columns of a table of pictures stand for, guessed from their names and from what is in the first rows."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.core.errors import DataError, unknown_name
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.formats.named_pictures import NamedPictures
from lamina.data.rows import Row, rows
from lamina.data.tree import Tree

LOOKED_AT = 300  # rows that tell what a column holds
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("bboxx1", "bboxy1", "bboxx2", "bboxy2"),
)
_SIZES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("xmin", "ymin", "width", "height"),
    ("left", "top", "width", "height"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
)
_LABELS = (
    "label",
    "class",
    "classname",
    "category",
    "categoryname",
    "target",
    "species",
    "breed",
    "diagnosis",
    "labelname",
    "classid",
    "dx",
    "findinglabels",
    "emotion",
    "grade",
)
_SEVERAL = ("labels", "tags", "classes", "categories", "attributes", "targets")
_CAPTIONS = ("caption", "captions", "text", "description", "sentence", "comment")
_SPLITS = ("split", "set", "subset", "partition", "fold", "phase", "usage", "dataset", "part")
_BOX = ("bbox", "box", "boundingbox", "boxes")
_SIGNS = {"0", "1", "0.0", "1.0", "-1", "true", "false"}
_NAMES = re.compile(r"id$|image|img|file|name|pic|photo|path|key|sample|^column\d")
YES = {"1", "1.0", "true"}


@dataclass(frozen=True)
class Columns:
    """Positions of the columns: of the picture, of labels (several: one for each class), boxes (four, or one text), caption, split."""

    image: int
    labels: tuple[int, ...] = ()
    boxes: tuple[int, ...] = ()
    sizes: bool = False  # the last two numbers of a box are width and height
    caption: int | None = None
    split: int | None = None
    separator: str = ""  # between the labels of one value

    @property
    def task(self) -> str:
        """What the annotations are for."""
        return "detection" if self.boxes else "classification" if self.labels else "captioning"


@dataclass(frozen=True)
class Asked:
    """What somebody says of the columns, by their names; None where the guess is to decide."""

    image: str | None = None
    label: str | Sequence[str] | None = None
    boxes: str | Sequence[str] | None = None
    sizes: bool | None = None
    caption: str | None = None
    split: str | None = None

    @property
    def says(self) -> bool:
        """Whether it says what the pictures are annotated with."""
        return not (self.label is None and self.boxes is None and self.caption is None)


def head(tree: Tree, name: str) -> tuple[list[str], list[Row]]:
    """(names of the columns, the first rows); without a header the columns are "column 1", "column 2" ..."""
    first = list(itertools.islice(rows(tree, name), LOOKED_AT + 1))
    if not first:
        raise DataError(f"{tree.path(name)} is empty.", "A row for each picture was expected.", "Fetch it again.")
    header = first[0][1]
    if any(map(_is_value, header)) or len(set(header)) < len(header):
        return [f"column {number + 1}" for number in range(len(header))], first
    return header, first[1:]


def guess(header: list[str], first: list[Row], pictures: NamedPictures, asked: Asked) -> Columns | None:
    """The columns; None where none of them names pictures that are there, or nothing is said of these."""
    table = [values for _, values in first if len(values) == len(header)]
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
    image = _position(asked.image, header) if asked.image is not None else _pictures(plain, table, pictures)
    if image is None:
        return None
    taken = {image}
    split = _position(asked.split, header) if asked.split is not None else _split(plain, table, taken)
    boxes, sizes = _boxes(header, plain, table, asked)
    caption = _position(asked.caption, header) if asked.caption is not None else None
    if not asked.says:
        caption = _first(plain, _CAPTIONS, {*taken, *boxes})
    taken |= {*boxes, *({split} if split is not None else ()), *({caption} if caption is not None else ())}
    if asked.label is not None:
        named = [asked.label] if isinstance(asked.label, str) else list(asked.label)
        labels: tuple[int, ...] = tuple(_position(name, header) for name in named)
    else:
        told = bool(boxes) or caption is not None
        labels = () if asked.caption is not None else _labels(plain, table, taken, told=told)
    if not (labels or boxes or caption is not None):
        return None
    separator = (
        _separator(plain[labels[0]], [row[labels[0]] for row in table]) if len(labels) == 1 and not boxes else ""
    )
    return Columns(image, labels, boxes, sizes, caption, split, separator)


def in_words(columns: Columns, header: list[str]) -> str:
    """Which columns were taken for what."""
    told = [f"pictures in the column {header[columns.image]!r}"]
    if columns.boxes:
        what = "x, y, width, height" if columns.sizes else "corners"
        told.append(f"boxes ({what}) in {', '.join(repr(header[each]) for each in columns.boxes)}")
    if columns.caption is not None:
        told.append(f"captions in {header[columns.caption]!r}")
    if len(columns.labels) > 1:
        told.append(f"{len(columns.labels)} classes, a column each, from {header[columns.labels[0]]!r}")
    elif columns.labels:
        many = f", several between {columns.separator!r}" if columns.separator else ""
        told.append(f"labels in {header[columns.labels[0]]!r}{many}")
    if columns.split is not None:
        told.append(f"splits in {header[columns.split]!r}")
    return ", ".join(told)


def _is_value(text: str) -> bool:
    """Whether a text in the first row is a value, and so no name of a column."""
    return is_picture(text) or re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def _position(name: str | None, header: list[str]) -> int:
    if name not in header:
        raise unknown_name("column", name, header)
    return header.index(name)


def _pictures(plain: list[str], table: list[list[str]], pictures: NamedPictures) -> int | None:
    """The column whose values most often are pictures that are there: at least half of them."""
    if not table:
        return None
    found = [sum(_is_named(row[at], plain[at], pictures) for row in table) for at in range(len(plain))]
    best = max(range(len(plain)), key=lambda at: found[at])
    return best if 2 * found[best] >= len(table) else None


def _is_named(value: str, column: str, pictures: NamedPictures) -> bool:
    """Whether a value is a picture's name; without its ending only in a column that says so: epochs are numbers too."""
    told = is_picture(value) or _NAMES.search(column) is not None
    return told and bool(value) and pictures.find(value) is not None


def _first(plain: list[str], names: Sequence[str], taken: set[int]) -> int | None:
    return next((plain.index(name) for name in names if name in plain and plain.index(name) not in taken), None)


def _split(plain: list[str], table: list[list[str]], taken: set[int]) -> int | None:
    found = _first(plain, _SPLITS, taken)
    return found if found is not None and all(row[found].lower() in SPLITS for row in table) else None


def _boxes(header: list[str], plain: list[str], table: list[list[str]], asked: Asked) -> tuple[tuple[int, ...], bool]:
    """(four columns or one, whether the last two numbers are width and height)."""
    if asked.boxes is not None:
        named = [asked.boxes] if isinstance(asked.boxes, str) else list(asked.boxes)
        columns = tuple(_position(name, header) for name in named)
        if len(columns) not in (1, 4):
            raise DataError(
                f"{len(columns)} columns are named for boxes.",
                "Four, or one with four numbers.",
                "Name the other ones.",
            )
        told = tuple(plain[at] for at in columns)
        return columns, asked.sizes if asked.sizes is not None else told in _SIZES or _are_sizes(columns, table)
    if asked.says:
        return (), False
    for sizes, several in ((False, _CORNERS), (True, _SIZES)):
        for names in several:
            if set(names) <= set(plain):
                return tuple(plain.index(name) for name in names), sizes if asked.sizes is None else asked.sizes
    alone = _first(plain, _BOX, set())
    if alone is None or not any(len(parts(row[alone])) == 4 for row in table):
        return (), False
    return (alone,), _are_sizes((alone,), table) if asked.sizes is None else asked.sizes


def parts(text: str) -> list[str]:
    """The numbers in a value like "[10, 20, 5, 5]" as texts."""
    return re.findall(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", text)


def _are_sizes(columns: tuple[int, ...], table: list[list[str]]) -> bool:
    """Whether numbers without names are x, y, width, height: where some are smaller than the corner that they would end at."""
    for row in table:
        told = parts(row[columns[0]]) if len(columns) == 1 else [row[at] for at in columns]
        try:
            x, y, third, fourth = map(float, told)
        except ValueError:
            continue
        if third < x or fourth < y:
            return True
    return False


def _labels(plain: list[str], table: list[list[str]], taken: set[int], *, told: bool) -> tuple[int, ...]:
    """The column of labels by its name; else those that hold 0 and 1 alone; else the only one that is left."""
    named = _first(plain, (*_LABELS, *_SEVERAL), taken)
    if named is not None:
        return (named,)
    left = [at for at in range(len(plain)) if at not in taken]
    signs = tuple(at for at in left if table and all(row[at].lower() in _SIGNS for row in table))
    if told:
        return ()
    if len(left) == 1 and all(re.fullmatch(r"-?\d+\.\d+", row[left[0]]) for row in table):  # measured, not named
        return ()
    return signs if len(signs) > 1 else tuple(left) if len(left) == 1 else ()


def _separator(name: str, values: list[str]) -> str:
    """What stands between several labels in one value: a bar or a semicolon anywhere; a comma, or a blank in a column whose name
    is a plural, only where what it separates comes again in other values ("tench, Tinca tinca" is one label).
    """
    for separator in "|;":
        if any(separator in value for value in values):
            return separator
    for separator in (",", " ") if name in _SEVERAL else (",",):
        several = {value for value in values if separator in value}
        words = Counter(word.strip() for value in set(values) for word in set(value.split(separator)))
        if several and all(any(words[word.strip()] > 1 for word in value.split(separator)) for value in several):
            return separator
    return ""
