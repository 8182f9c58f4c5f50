"""Labeled Faces in the Wild (Huang et al. 2007): a folder for each person, NAME/NAME_0001.jpg, and lists of pairs.

"classification" gives the person; without split folders all is `train`, as the lists of people cut people apart and not pictures.
"verification" gives pairs: the second picture as `other`, and `extras["same"]`, true where both show one person. The pairs of
pairsDevTrain.txt are `train`, those of pairsDevTest.txt `test`; pairs.txt, which has ten folds (`extras["fold"]`), is `test` if it is
alone, else the part "folds". Folders train/ and test/ may each hold pictures and pairs.txt.
"""

from __future__ import annotations

import re

import numpy as np

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Beside, Column, Fixed
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.left_out import MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.pairing import picture_beside
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("classification", "verification")
LOOKS_FOR = "pictures NAME/NAME_0001.jpg with pairs.txt, pairsDevTrain.txt or people.txt"
_PICTURE = re.compile(r"(?:.*/)?(?P<folder>[^/]+)/(?P<name>[^/]+)_(?P<number>\d{4,})\.\w+")
_LISTS = {"pairsdevtrain.txt": "train", "pairsdevtest.txt": "test", "pairs.txt": "folds"}
_PEOPLE = ("people.txt", "peopledevtrain.txt", "peopledevtest.txt")


def matches(tree: Tree) -> str:
    """The list of pairs or people, where pictures are named after their folders."""
    lists = (*_LISTS, *_PEOPLE)
    listed = next((name for name in tree.names if name.rpartition("/")[2].lower() in lists), "")
    if not listed:
        return ""
    named = next((name for name in tree.names if is_picture(name) and _person(name) is not None), "")
    return f"{listed} and pictures like {named} are there" if named else ""


def tasks_there(tree: Tree) -> dict[str, str]:
    """People, and pairs of them where a list has these."""
    pairs = next((name for name in tree.names if name.rpartition("/")[2].lower() in _LISTS), "")
    return {TASKS[0]: matches(tree)} | ({TASKS[1]: f"{pairs} is a list of pairs"} if pairs else {})


def open_tree(tree: Tree, task: str) -> Splits[FolderDataset] | Splits[AnnotatedDataset]:
    """The splits. Raises DataError where no picture is named after its folder, and for pairs that cannot be read."""
    if task == "classification":
        return _people(tree)
    found = {name: name.rpartition("/")[2].lower() for name in tree.names}
    lists = [(name, _split(name, _LISTS[last])) for name, last in found.items() if last in _LISTS]
    if not lists:
        raise DataError(
            f"{tree.root} has no list of pairs.", "pairs.txt was expected.", "Fetch it beside the pictures."
        )
    parts = {split: _pairs(tree, name) for name, split in lists}
    if list(parts) == ["folds"]:
        parts["test"] = parts.pop("folds")
    others = {name: part for name, part in parts.items() if name not in SPLITS.values()}
    return Splits(parts.get("train"), parts.get("test"), parts.get("validation"), name=tree.name, others=others)


def _split(name: str, otherwise: str) -> str:
    """The split whose folder a file lies in."""
    return SPLITS.get(name.split("/")[0].lower(), otherwise) if "/" in name else otherwise


def _person(name: str) -> tuple[str, int] | None:
    """(who, number) of a picture; None where its name is not that of its folder."""
    match = _PICTURE.fullmatch(name)
    return (match["name"], int(match["number"])) if match is not None and match["name"] == match["folder"] else None


def _people(tree: Tree) -> Splits[FolderDataset]:
    shown = [(name, person[0]) for name in tree.names if is_picture(name) and (person := _person(name))]
    if not shown:
        raise DataError(f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the folder above both.")
    classes = tuple(dict.fromkeys(person for _, person in shown))
    labels = {person: label for label, person in enumerate(classes)}
    parts: dict[str, list[tuple[str, int]]] = {}
    for name, who in shown:
        parts.setdefault(_split(name, "train"), []).append((tree.path(name), labels[who]))
    sets = {
        split: FolderDataset([path for path, _ in pairs], [own for _, own in pairs], classes, root=tree.root)
        for split, pairs in parts.items()
    }
    return Splits(sets.get("train"), sets.get("test"), sets.get("validation"), name=tree.name)


def _pairs(tree: Tree, source: str) -> AnnotatedDataset:
    """The pairs of a list: "NAME 1 2" of one person, "NAME 1 OTHER 2" of two, after a line with the counts."""
    start = f"{source.split('/')[0]}/" if _split(source, "") else ""
    pictures = {person: name for name in tree.names if name.startswith(start) and (person := _person(name))}
    left_out = LeftOut(f"pairs of {tree.path(source)}", "Unpack all pictures beside the list.", kind=MISSING)
    first, second, same, lines, total = list[str](), list[str](), list[bool](), list[int](), 0
    fold_pairs, folds = 0, list[int]()
    for line, text in tree.lines(source):
        parts = text.split("\t") if "\t" in text else text.split()
        parts = [part.strip() for part in parts]
        if len(parts) < 3 and all(part.isdecimal() for part in parts) and not total:
            fold_pairs = 2 * int(parts[1]) if len(parts) == 2 else 0
            continue
        if len(parts) not in (3, 4) or not (parts[1].isdecimal() and parts[-1].isdecimal()):
            raise DataError(
                f"{tree.path(source)}, line {line}: {text[:60]!r}.",
                "'NAME 1 2' or 'NAME 1 OTHER 2' was expected.",
                "Mend that line, or fetch the file again.",
            )
        pair = [(parts[0], int(parts[1])), (parts[-2] if len(parts) == 4 else parts[0], int(parts[-1]))]
        missing = [f"{name}_{number:04d}" for name, number in pair if (name, number) not in pictures]
        total += 1
        if missing:
            left_out.add(f"line {line}: {', '.join(missing)} is not there")
            continue
        first.append(tree.path(pictures[pair[0]]))
        second.append(tree.path(pictures[pair[1]]))
        same.append(len(parts) == 3)
        lines.append(line)
        folds.append((total - 1) // fold_pairs if fold_pairs else 0)
    left_out.tell(total, bearable=True)
    columns: dict[str, Column] = {"other": Beside(Paths(second), picture_beside), "same": Fixed(np.array(same))}
    if fold_pairs:
        columns["fold"] = Fixed(np.array(folds, dtype=np.int64))
    origins = Origins([tree.path(source)], np.array(lines, dtype=np.int64))
    return AnnotatedDataset(first, columns, (), task="verification", root=tree.root, origins=origins)
