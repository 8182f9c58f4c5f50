"""Image folders: ROOT/CLASS/**/picture.jpg, or ROOT/{train,val,test}/CLASS/**/picture.jpg.

The folders of parts may also be called training, valid, validation or testing, in any case, or have these as a word where there are
several (seg_train, seg_test); each has the same class folders, and train/ all of them. A part that holds pictures without class
folders, as tests of contests do, is left out with a warning. Without such folders everything is `train`, of which training holds a
tenth out; one folder called train that holds pictures, as all folders beside it do, is a class.
Classes are sorted as a person sorts them (2 before 10). Hidden files and what usually lies beside pictures (texts, tables,
what file managers leave) are passed over; other files that cannot be read as pictures, and pictures in folders below their
class's, are named in a warning.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lamina.core.errors import DataError, listed
from lamina.core.warnings import warn
from lamina.data.class_names import refuse_twins
from lamina.data.dataset import FolderDataset
from lamina.data.pictures import READS_HEIC
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("classification",)
LOOKS_FOR = "a folder of pictures for each class, or folders train, val, test that each hold such folders"
_WEB = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif")
_HEIC = (".heic", ".heif", ".hif")
_PLAIN = (".bmp", ".jp2", ".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".tif", ".tiff")
SUFFIXES = (*_WEB, *_PLAIN, *(_HEIC if READS_HEIC else ()))
_TEXTS = (".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".log", ".url")
_BESIDE = {*_TEXTS, ".py", ".ini", ".db", ".md5", ".sha256", ".npy", ".npz", ".mat", ".pt", ".cache"}
_START = re.compile(r"[\s._-]*\(?\d+\)?$")  # what numbers pictures of one class
_APART = {"masks": "images", "mask": "image"}  # folders of masks inside a class, and of their pictures
SPLITS = {
    "train": "train",
    "training": "train",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def matches(tree: Tree) -> str:
    """How many folders hold pictures, or which folders are splits; nothing where there is but one folder of pictures."""
    filled = [folder for folder in tree.folders() if _has_pictures(tree.below(folder))]
    if splits := _parts_of_classes(tree, filled):
        return f"the folders {few(splits)} hold folders of pictures"
    return f"{len(filled):,} folders hold pictures ({few(filled)})" if len(filled) > 1 else ""


def has_parts(tree: Tree) -> bool:
    """Whether there are folders train, val or the like that hold folders of pictures."""
    return bool(_parts_of_classes(tree, [folder for folder in tree.folders() if _has_pictures(tree.below(folder))]))


def _parts_of_classes(tree: Tree, filled: Sequence[str]) -> list[str]:
    named = _named_splits(tree)
    splits = [folder for folder in filled if folder in named]
    return splits if any(map(tree.folders, splits)) else []


def are_classes(tree: Tree) -> bool:
    """Whether folders hold the pictures by class; train_images and test_images, with pictures right in them, do not."""
    if not matches(tree):
        return False
    named = [folder for folder in tree.folders() if folder.lower() in SPLITS or split_words(folder)]
    return not any(map(is_picture, (file for folder in named for file in _unwrapped(tree.below(folder)).files())))


def open_tree(tree: Tree, task: str) -> Splits[FolderDataset]:
    """The splits in the folder, decoded when asked for; without split folders everything is `train`.

    Raises DataError for classes without pictures, and where the classes of the splits differ.
    """
    parts = _split_folders(tree) or {"train": tree}
    classes = _class_names(parts["train"] if "train" in parts else next(iter(parts.values())))
    sets = {
        split: _dataset(part, classes, root=tree.root, complete=split == "train")
        for split, part in parts.items()
        if split == "train" or not _is_unsorted(part)
    }
    return Splits(sets.get("train"), sets.get("test"), sets.get("validation"), name=tree.name)


def _has_pictures(tree: Tree) -> bool:
    return any(map(is_picture, tree.names))


def _is_unsorted(part: Tree) -> bool:
    """Whether a part holds pictures and no folders of them, which is told in a warning."""
    loose = sum(map(is_picture, part.files()))
    unsorted = loose > 0 and not any(_has_pictures(part.below(folder)) for folder in part.folders())
    if unsorted:
        warn(
            f"{part.root} holds {loose:,} pictures without folders of classes. They are left out. "
            "Sort them into a folder for each class to test on them."
        )
    return unsorted


def _named_splits(tree: Tree) -> dict[str, str]:
    """The split of each folder that is called as one; else, where these are several, of each that has its name as a word."""
    named = {folder: SPLITS[folder.lower()] for folder in tree.folders() if folder.lower() in SPLITS}
    if named:
        return named
    words = {folder: told[0] for folder in tree.folders() if len(told := split_words(folder)) == 1}
    train = next((folder for folder, split in words.items() if split == "train"), None)
    if train is None or len(words) == 1 or len(set(words.values())) < len(words):
        return {}
    held = _unwrapped(tree.below(train))
    sorted_in = [folder for folder in held.folders() if _has_pictures(held.below(folder))]
    return words if len(sorted_in) > 1 and not any(map(is_picture, held.files())) else {}


def split_words(folder: str) -> list[str]:
    """The parts that the words of a folder's name tell: of seg_train "train"."""
    return [SPLITS[word] for word in re.split(r"[^a-z]+", folder.lower()) if word in SPLITS]


def _unwrapped(tree: Tree) -> Tree:
    """What is in the one folder that is all there is, as often as that is so: seg_train/seg_train/CLASS."""
    while len(folders := tree.folders()) == 1 and not any(map(is_picture, tree.files())):
        inner = tree.below(folders[0])
        if not inner.folders() and inner.name.lower() != tree.name.lower():
            break  # the folder of a class
        tree = inner
    return tree


def _split_folders(tree: Tree) -> dict[str, Tree]:
    """What is in the folders of the splits; empty where the folders are classes."""
    named = _named_splits(tree)
    others = [folder for folder in tree.folders() if folder not in named and _has_pictures(tree.below(folder))]
    if not named or (others and "train" not in named.values()) or _is_a_class(tree, list(named), others):
        return {}
    if others:
        warn(
            f"{tree.root} holds folders of splits; {', '.join(others)} beside them are not read. "
            f"Splits are called {', '.join(SPLITS)}. Move the other folders into one of them, or away.",
        )
    parts: dict[str, str] = {}
    for folder, split in named.items():
        if split in parts:
            raise DataError(
                f"{tree.root} holds both {parts[split]} and {folder}.",
                f"One folder for {split} was expected.",
                "Keep one.",
            )
        parts[split] = folder
    return {split: _unwrapped(tree.below(folder)) for split, folder in parts.items()}


def _is_a_class(tree: Tree, named: Sequence[str], others: Sequence[str]) -> bool:
    """Whether the one folder that is called as a split is a class beside others, such as bus, car and train."""
    if len(named) != 1 or len(others) < 2 or any(map(split_words, others)):
        return False
    return all(any(map(is_picture, tree.files(each))) and not tree.folders(each) for each in (*named, *others))


def _class_names(tree: Tree) -> tuple[str, ...]:
    names = tuple(tree.folders())
    if len(names) >= 2:
        refuse_twins(names, tree.root)
        return names
    loose = sum(map(is_picture, tree.files()))
    came = f"{len(names)} class folder{'' if len(names) == 1 else 's'} and {loose:,} loose pictures"
    raise DataError(
        f"{tree.root} holds {came}.",
        f"Expected {LOOKS_FOR}, at least two classes.",
        f"Pass {tree.path(names[0])} if the classes are in there."
        if names
        else f"Sort the pictures into a folder for each class.{named_after(tree.files())}",
    )


def named_after(files: Sequence[str]) -> str:
    """A hint for a message where pictures are called by their classes (cat.0.jpg, dog_12.jpg); empty where they are not."""
    starts = Counter(_START.sub("", os.path.splitext(os.path.basename(name))[0]) for name in files if is_picture(name))
    if "" in starts or len(starts) < 2 or min(starts.values(), default=0) < 2:
        return ""
    return f" Their names begin with {few(sorted(starts))}: if these are the classes, make folders so called."


def _dataset(tree: Tree, classes: tuple[str, ...], *, root: str, complete: bool) -> FolderDataset:
    inner = {folder: tree.below(folder) for folder in tree.folders()}
    by_class = {folder: _pictures_of(each) for folder, each in inner.items()}
    strange = [folder for folder, names in by_class.items() if folder not in classes and names]
    if strange:
        raise DataError(
            f"{tree.root} holds the classes {', '.join(strange)}.",
            f"The training pictures have {few(classes)}.",
            "Rename the folders, or add training pictures of these classes.",
        )
    empty = [name for name in classes if not by_class.get(name)]
    if empty and (complete or len(empty) == len(classes)):
        suffixes = Counter(_ending(file) for name in empty if name in inner for file in inner[name].names)
        inside = ", ".join(f"{count:,} {suffix or 'without an ending'}" for suffix, count in suffixes.most_common(4))
        raise DataError(
            f"{tree.root} has no picture of {few(empty)} (files there: {inside or 'none'}).",
            f"Every class needs at least one picture, a file ending in one of {' '.join(SUFFIXES)}.",
            "Put pictures there, convert them to JPEG or PNG, or delete the empty folders.",
        )
    _warn_of_strangers(tree, [file for name in classes if name in inner for file in inner[name].names])
    _warn_of_depth(tree, by_class)
    pairs = [(inner[name].path(file), label) for label, name in enumerate(classes) for file in by_class.get(name, ())]
    return FolderDataset([path for path, _ in pairs], [label for _, label in pairs], classes, root=root)


def _pictures_of(tree: Tree) -> list[str]:
    """The pictures of a class; without masks that lie in a folder beside that of the pictures."""
    folders = {folder.lower(): folder for folder in tree.folders()}
    apart = tuple(
        f"{folders[masks]}/" for masks, pictures in _APART.items() if masks in folders and pictures in folders
    )
    return [name for name in tree.names if is_picture(name) and not (apart and name.startswith(apart))]


def _warn_of_strangers(tree: Tree, files: Iterable[str]) -> None:
    """Warns once of files that are no pictures and do not usually lie beside pictures, by their endings."""
    endings = Counter(_ending(name) for name in files if not is_picture(name))
    for usual in _BESIDE:
        endings.pop(usual, None)
    if not endings:
        return
    left_out = ", ".join(f"{count:,} {ending or 'without an ending'}" for ending, count in endings.most_common(6))
    remedy = "Convert them to JPEG or PNG if they are pictures."
    if any(ending in _HEIC for ending in endings):
        remedy += " HEIC is read after: pip install pillow-heif."
    warn(
        f"Left out of {tree.root}, because they are not read as pictures: {left_out}. "
        f"Pictures end in one of {' '.join(SUFFIXES)}. {remedy}"
    )


def _warn_of_depth(tree: Tree, by_class: Mapping[str, list[str]]) -> None:
    """Warns once of pictures in folders below their class's: these may be meant as the classes."""
    deep = [name for names in by_class.values() for name in names if "/" in name]
    if deep:
        below = list(dict.fromkeys(name.split("/")[0] for name in deep))
        warn(
            f"{len(deep):,} of {sum(map(len, by_class.values())):,} pictures of {tree.root} lie in folders below their "
            f"class's ({few(below)}). They are taken for pictures of {few(list(by_class))}. "
            f"If the inner folders are the classes or the splits, move them up to where {few(list(by_class)[:1])} is."
        )


def picture_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The picture files in a folder or an archive, at any depth, in natural order."""
    tree = Tree(folder)
    return [Path(tree.path(name)) for name in tree.names if is_picture(name)]


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of a picture; hidden files are none."""
    name = os.fspath(path)
    return name.lower().endswith(SUFFIXES) and not os.path.basename(name).startswith(".")


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def few(names: Sequence[str]) -> str:
    """The first few of some names, for a message."""
    return listed(names, most=5)
