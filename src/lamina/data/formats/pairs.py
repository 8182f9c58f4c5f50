"""Pictures for translation: pairs side by side or in two folders, and two folders without pairs.

    train/*.jpg, each twice as wide as high, left half | right half     pix2pix; also val/, test/
    A/train/1.jpg, B/train/1.jpg                                        two folders, equal names
    trainA/1.jpg, trainB/1.jpg                                          equal names: pairs; other names: CycleGAN's, no pairs
    trainA/, trainB/, trainC/ ...                                       domains without pairs

Of a pair the left half or A is the picture, and the right half or B its `other`. Without pairs a part holds the pictures of all
domains, and `labels` (one for each picture) tell which; each folder is also a part of its own, by its name ("trainA").
Side by side is known by pictures of which both halves are squares; for others pass format="pairs". So do plain A/ and B/ need that.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Beside, Ragged, Size, ends_of
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.pairing import pairs_by_stem, picture_beside
from lamina.data.paths import Paths
from lamina.data.pictures import read
from lamina.data.preprocess import pixels
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("translation",)
LOOKS_FOR = "folders trainA and trainB, or A/train and B/train, or train/ with pictures of two squares side by side"
_DOMAIN = re.compile(r"(?P<split>train|training|val|valid|validation|test|testing)[_-]?(?P<domain>[A-Z])")
_TWO = (("a", "b"), ("input", "target"), ("source", "target"))
_LOOKED_AT = 5
_PAIRED = 0.9  # of the pictures of A with a B of the same name


def matches(tree: Tree) -> str:
    """Folders of domains, or pictures of two squares."""
    domains = [folder for folder in tree.folders() if _DOMAIN.fullmatch(folder)]
    if len(domains) > 1 and any(is_picture(name) for name in tree.files(domains[0])):
        return f"the folders {', '.join(domains)} are there"
    two = _two(tree)
    if two and any(folder.lower() in SPLITS for folder in tree.folders(two[0])):
        return f"the folders {two[0]} and {two[1]} hold the same splits"
    splits = [folder for folder in tree.folders() if folder.lower() in SPLITS]
    if not splits or len(splits) != len(tree.folders()) or not all(map(is_picture, tree.names)):
        return ""
    few = [name for folder in splits for name in tree.files(folder)[:_LOOKED_AT]]
    if few and all(_two_squares(tree, name) for name in few):
        return f"the pictures of {splits[0]} are two squares side by side"
    return ""


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The splits. Raises DataError where there are no two sides."""
    domains = _domains(tree)
    parts: dict[str, AnnotatedDataset] = {}
    others: dict[str, AnnotatedDataset] = {}
    said = "left and right halves are pairs"
    if domains:
        paired = [_paired(tree, domains[split]) if len(domains[split]) == 2 else None for split in domains]
        all_paired = all(each is not None for each in paired)
        for (split, folders), pairs in zip(domains.items(), paired, strict=True):
            if all_paired and pairs is not None:
                parts[split] = pairs
            else:
                parts[split], ends = _unpaired(tree, folders)
                for folder, (start, end) in zip(folders.values(), itertools.pairwise(ends), strict=True):
                    others[folder] = parts[split].subset(range(start, end))
        said = "pictures of the same name are pairs" if all_paired else "the domains have no pairs"
    else:
        for folder in [name for name in tree.folders() if name.lower() in SPLITS] or [""]:
            names = [name for name in tree.files(folder) if is_picture(name)]
            if names:
                parts[SPLITS.get(folder.lower(), "train")] = _side_by_side(tree, names)
    if not parts:
        raise DataError(f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the folder above them.")
    return Splits(
        parts.get("train"),
        parts.get("test"),
        parts.get("validation"),
        name=tree.name,
        others=others,
        recognised=said,
    )


class SideBySide(AnnotatedDataset):
    """A data set whose samples' pictures are the left halves of files; the right halves are a column."""

    def picture(self, index: int) -> UInt8[Tensor, "C H W"]:
        """The left half of a file."""
        return _halves(self.paths.name(index))[0]


def right_half(path: str, size: Size) -> UInt8[Tensor, "C H W"]:
    """The right half of a picture."""
    return _halves(path)[1]


def _halves(path: str) -> tuple[Tensor, Tensor]:
    whole = pixels(read(path))
    width = whole.shape[2]
    if width % 2:
        raise DataError(
            f"{path} is {width} pixels wide.", "Two halves of one width were expected.", "Cut it, or leave it out."
        )
    return whole[:, :, : width // 2].contiguous(), whole[:, :, width // 2 :].contiguous()


def _two(tree: Tree) -> tuple[str, str] | None:
    folders = {folder.lower(): folder for folder in tree.folders()}
    return next(((folders[a], folders[b]) for a, b in _TWO if {a, b} == set(folders)), None)


def _domains(tree: Tree) -> dict[str, dict[str, str]]:
    """For each split the folder of each domain."""
    found: dict[str, dict[str, str]] = {}
    for folder in tree.folders():
        if match := _DOMAIN.fullmatch(folder):
            found.setdefault(SPLITS[match["split"].lower()], {})[match["domain"]] = folder
    two = _two(tree)
    if not found and two is not None:
        splits = [folder for folder in tree.folders(two[0]) if folder.lower() in SPLITS]
        for split in splits or [""]:
            found[SPLITS.get(split.lower(), "train")] = {side: f"{side}/{split}".rstrip("/") for side in two}
    return {split: folders for split, folders in found.items() if len(folders) > 1}


def _files(tree: Tree, folder: str) -> list[str]:
    names = [name for name in tree.files(folder) if is_picture(name)]
    if not names:
        raise DataError(
            f"{tree.path(folder)} holds no pictures.",
            "Pictures of one domain were expected.",
            "Put some there, or delete the folder.",
        )
    return names


def _paired(tree: Tree, folders: Mapping[str, str]) -> AnnotatedDataset | None:
    """The pairs, if nearly all pictures have one."""
    first, second = (_files(tree, folder) for folder in folders.values())
    pairs, alone, left = pairs_by_stem(first, second)
    if len(pairs) < _PAIRED * max(len(first), len(second)):
        return None
    if alone or left:
        warn(
            f"{len(alone) + len(left):,} pictures of {tree.root} have no partner and are left out: "
            f"{', '.join([*alone, *left][:3])}. Put one of the same name into the other folder."
        )
    paths, others = (Paths([tree.path(name) for name in side]) for side in zip(*pairs, strict=True))
    columns = {"other": Beside(others, picture_beside)}
    return AnnotatedDataset(paths, columns, tuple(folders), task="translation", root=tree.root)


def _unpaired(tree: Tree, folders: Mapping[str, str]) -> tuple[AnnotatedDataset, list[int]]:
    """The pictures of all domains one after the other, and where each begins, and the last one's end."""
    files = [_files(tree, folder) for folder in folders.values()]
    counts = [len(names) for names in files]
    labels = np.repeat(np.arange(len(files), dtype=np.int64), counts)
    paths = [tree.path(name) for names in files for name in names]
    columns = {"labels": Ragged(labels, np.arange(len(labels) + 1))}
    made = AnnotatedDataset(paths, columns, tuple(folders), task="translation", root=tree.root)
    return made, ends_of(counts).tolist()


def _side_by_side(tree: Tree, names: list[str]) -> AnnotatedDataset:
    paths = Paths([tree.path(name) for name in names])
    return SideBySide(paths, {"other": Beside(paths, right_half)}, ("A", "B"), task="translation", root=tree.root)


def _two_squares(tree: Tree, name: str) -> bool:
    try:
        with Image.open(io.BytesIO(archive.read_bytes(tree.path(name)))) as image:
            return image.width == 2 * image.height
    except Exception:  # no picture, or a damaged one: Pillow's decoders raise nearly anything
        return False
