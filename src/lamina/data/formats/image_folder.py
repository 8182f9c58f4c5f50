"""Image folders: ROOT/CLASS/**/picture.jpg, or ROOT/{train,val,test}/CLASS/**/picture.jpg.

The folders of parts may also be called training, valid, validation or testing, in any case; each has the same class folders, and
train/ all of them. Without such folders everything is `train`, of which training holds a tenth out.
Classes are sorted as a person sorts them (2 before 10). Hidden files and what usually lies beside pictures (texts, tables,
what file managers leave) are passed over; other files that cannot be read as pictures, and pictures in folders below their
class's, are named in a warning.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.dataset import FolderDataset, ImageDataset, Splits
from lamina.data.pictures import READS_HEIC

LOOKS_FOR = "a folder of pictures for each class, or folders train, val, test that each hold such folders"
_WEB = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif")
_HEIC = (".heic", ".heif", ".hif")
_PLAIN = (".bmp", ".jp2", ".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".tif", ".tiff")
SUFFIXES = (*_WEB, *_PLAIN, *(_HEIC if READS_HEIC else ()))
_TEXTS = (".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".log", ".url")
_BESIDE = {*_TEXTS, ".py", ".ini", ".db", ".md5", ".sha256", ".npy", ".npz", ".mat", ".pt", ".cache"}
_SPLITS = {
    "train": "train",
    "training": "train",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def matches(folder: Path) -> bool:
    """Whether a folder in the folder holds a picture, at any depth."""
    return any(picture_files(child) for child in _folders(folder))


def open_folder(folder: Path) -> Splits[ImageDataset | FolderDataset]:
    """The splits in the folder, decoded when asked for; without split folders everything is `train`.

    Raises DataError for classes without pictures, and where the classes of the splits differ.
    """
    parts = _split_folders(folder) or {"train": folder}
    classes = _class_names(parts["train"] if "train" in parts else next(iter(parts.values())))
    sets: dict[str, ImageDataset | FolderDataset] = {
        split: _dataset(part, classes, root=folder, complete=split == "train") for split, part in parts.items()
    }
    return Splits(sets.get("train"), sets.get("test"), sets.get("validation"), name=folder.name)


def _split_folders(folder: Path) -> dict[str, Path]:
    """The folders of the splits; empty where the folders are classes."""
    folders = _folders(folder)
    named = [child for child in folders if child.name.lower() in _SPLITS]
    others = [child for child in folders if child not in named and picture_files(child)]
    if not named or (others and not any(_SPLITS[child.name.lower()] == "train" for child in named)):
        return {}
    if others:
        warn(
            f"{folder} holds folders of splits; {', '.join(child.name for child in others)} beside them are not read. "
            f"Splits are called {', '.join(_SPLITS)}. Move the other folders into one of them, or away.",
        )
    parts: dict[str, Path] = {}
    for child in named:
        split = _SPLITS[child.name.lower()]
        if split in parts:
            raise DataError(
                f"{folder} holds both {parts[split].name} and {child.name}.",
                f"One folder for {split} was expected.",
                "Keep one.",
            )
        parts[split] = child
    return parts


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(child.name for child in _folders(folder))
    if len(names) >= 2:
        return names
    loose = sum(is_picture(entry) for entry in folder.iterdir())
    came = f"{len(names)} class folder{'' if len(names) == 1 else 's'} and {loose:,} loose pictures"
    raise DataError(
        f"{folder} holds {came}.",
        f"Expected {LOOKS_FOR}, at least two classes.",
        f"Pass {folder / names[0]} if the classes are in there."
        if names
        else "Sort the pictures into a folder for each class.",
    )


def _dataset(folder: Path, classes: tuple[str, ...], *, root: Path, complete: bool) -> FolderDataset:
    files = {child.name: list(_files(child)) for child in _folders(folder)}  # walked once: there may be millions
    by_class = {name: _pictures_of(paths, folder / name) for name, paths in files.items()}
    strange = [name for name, paths in by_class.items() if name not in classes and paths]
    if strange:
        raise DataError(
            f"{folder} holds the classes {', '.join(strange)}.",
            f"The training pictures have {_few(classes)}.",
            "Rename the folders, or add training pictures of these classes.",
        )
    empty = [name for name in classes if not by_class.get(name)]
    if empty and (complete or len(empty) == len(classes)):
        suffixes = Counter(
            path.suffix.lower() for name in empty for path in (folder / name).rglob("*") if path.is_file()
        )
        inside = ", ".join(f"{count:,} {suffix or 'without an ending'}" for suffix, count in suffixes.most_common(4))
        raise DataError(
            f"{folder} has no picture of {_few(empty)} (files there: {inside or 'none'}).",
            f"Every class needs at least one picture, a file ending in one of {' '.join(SUFFIXES)}.",
            "Put pictures there, convert them to JPEG or PNG, or delete the empty folders.",
        )
    _warn_of_strangers(folder, [path for name in classes for path in files.get(name, ()) if not is_picture(path)])
    _warn_of_depth(folder, by_class)
    pairs = [(path, label) for label, name in enumerate(classes) for path in by_class.get(name, ())]
    return FolderDataset([path for path, _ in pairs], [label for _, label in pairs], classes, root=root)


def _warn_of_strangers(folder: Path, files: Iterable[Path]) -> None:
    """Warns once of files that are no pictures and do not usually lie beside pictures, by their endings."""
    endings = Counter(path.suffix.lower() for path in files if not path.name.startswith("."))
    for usual in _BESIDE:
        endings.pop(usual, None)
    if not endings:
        return
    left_out = ", ".join(f"{count:,} {ending or 'without an ending'}" for ending, count in endings.most_common(6))
    remedy = "Convert them to JPEG or PNG if they are pictures."
    if any(ending in _HEIC for ending in endings):
        remedy += " HEIC is read after: pip install pillow-heif."
    warn(
        f"Left out of {folder}, because they are not read as pictures: {left_out}. "
        f"Pictures end in one of {' '.join(SUFFIXES)}. {remedy}"
    )


def _warn_of_depth(folder: Path, by_class: Mapping[str, list[Path]]) -> None:
    """Warns once of pictures in folders below their class's: these may be meant as the classes."""
    deep = [path for name, paths in by_class.items() for path in paths if path.parent != folder / name]
    if deep:
        below = list(dict.fromkeys(path.relative_to(folder).parts[1] for path in deep))
        warn(
            f"{len(deep):,} of {sum(map(len, by_class.values())):,} pictures of {folder} lie in folders below their "
            f"class's ({_few(below)}). They are taken for pictures of {_few(list(by_class))}. "
            f"If the inner folders are the classes or the splits, move them up to where {_few(list(by_class)[:1])} is."
        )


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder but hidden ones and what macOS leaves in archives, in natural order."""
    children = (child for child in folder.iterdir() if child.is_dir() and not child.name.startswith((".", "__MACOSX")))
    return sorted(children, key=lambda child: _natural(child.name))


def picture_files(folder: Path) -> list[Path]:
    """The picture files at any depth, in natural order."""
    return _pictures_of(_files(folder), folder)


def _pictures_of(files: Iterable[Path], folder: Path) -> list[Path]:
    found = (path for path in files if is_picture(path))
    return sorted(found, key=lambda path: _natural(path.relative_to(folder).as_posix()))


def _files(folder: Path) -> Iterator[Path]:
    """The files at any depth, but for hidden folders."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        yield from (Path(where, name) for name in names)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of a picture; hidden files are none."""
    name = os.path.basename(path)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key: runs of digits by value, the rest without regard to case; the name itself settles ties."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts], name


def _few(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
