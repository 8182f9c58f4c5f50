"""ImageNet, ILSVRC 2012 (Russakovsky et al. 2015, arXiv:1409.0575), in the forms in which people have it.

    train/n01440764/*.JPEG      a folder for each synset, and the same in val/, or val/*.JPEG with labels in a text
    ILSVRC/Data/CLS-LOC/...     Kaggle's, with LOC_val_solution.csv (ImageId, "n01751748 111 108 ..." in each line)
    wnids.txt, words.txt        Tiny ImageNet: train/n01443537/images/*.JPEG, val/images/*.JPEG with val_annotations.txt
    synsets.txt, train.txt      "NAME 65" on each line, pictures in images/; the number is the line of the class in synsets.txt

The classes are those of LOC_synset_mapping.txt, synset_words.txt ("n01440764 tench, Tinca tinca") or map_clsloc.txt
("n02119789 1 kit_fox"), or those of the devkit's meta.mat, all of them in its order, whether they have pictures or not; their names are
the first words. The devkit's ILSVRC2012_validation_ground_truth.txt counts classes in an order of its own, which meta.mat or
map_clsloc.txt tells. Pictures without labels, as those of the test, are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lamina.core.errors import DataError
from lamina.data.class_names import first_words
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.formats.named_pictures import NamedPictures
from lamina.data.left_out import MISSING, LeftOut
from lamina.data.matlab import structures
from lamina.data.origins import Origins
from lamina.data.rows import rows
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("classification",)
LOOKS_FOR = "folders of synsets (n01440764) in train/ with LOC_synset_mapping.txt, or synsets.txt and train.txt"
_SYNSET = re.compile(r"n\d{8}")
_MAPPINGS = ("LOC_synset_mapping.txt", "synset_words.txt", "map_clsloc.txt")
_KAGGLE = ("ILSVRC/Data/CLS-LOC/", "Data/CLS-LOC/", "CLS-LOC/")
_TRUTH = re.compile(r"ILSVRC\d{4}_(clsloc_)?validation_ground_truth\.txt")
_TINY, _META = "wnids.txt", "meta.mat"
_LISTS = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class _Classes:
    synsets: tuple[str, ...]
    names: tuple[str, ...]
    devkit: dict[int, str]  # synsets by the devkit's numbers, where they are told


def matches(tree: Tree) -> str:
    """A file of the classes' names beside the pictures, or Kaggle's folders."""
    if "synsets.txt" in tree and any(f"{name}.txt" in tree for name in _LISTS):
        return "synsets.txt and lists of pictures lie beside each other"
    if _TINY in tree and any(_SYNSET.fullmatch(name) for name in tree.folders("train")):
        return f"{_TINY} lists the synsets"
    mapping, start = _mapping(tree), _start(tree)
    mapping = mapping or next((name for name in tree.names if name.rpartition("/")[2] == _META), "")
    if mapping and (start or any(_SYNSET.fullmatch(name) for part in SPLITS for name in tree.folders(part))):
        return f"{mapping} names the synsets"
    return f"the folder {start.rstrip('/')} is there" if start and tree.folders(f"{start}train") else ""


def open_tree(tree: Tree, task: str) -> Splits[FolderDataset]:
    """The splits whose labels are there. Raises DataError for a synset without a class, and where labels cannot be told."""
    parts = _listed(tree) if "synsets.txt" in tree and not _start(tree) else _in_folders(tree)
    if not parts:
        raise DataError(
            f"{tree.root} holds {tree.digest()}, and no labelled pictures of ImageNet.",
            f"Expected {LOOKS_FOR}.",
            "Pass the folder above train/; if names of classes are missing, put LOC_synset_mapping.txt there.",
        )
    return Splits(parts.get("train"), parts.get("test"), parts.get("validation"), name=tree.name)


def _start(tree: Tree) -> str:
    return next((start for start in _KAGGLE if tree.folders(start)), "")


def _mapping(tree: Tree) -> str:
    last_names = {name.rpartition("/")[2]: name for name in tree.names if name.endswith(".txt")}
    return next((last_names[name] for name in _MAPPINGS if name in last_names), "")


def _in_folders(tree: Tree) -> dict[str, FolderDataset]:
    start = _start(tree)
    found: dict[str, list[tuple[str, str]]] = {}  # of each split (synset, or "" where the folder tells none; name)
    for name in tree.names:
        parts = name.removeprefix(start).split("/")
        if name.startswith(start) and len(parts) > 1 and parts[0].lower() in SPLITS and is_picture(name):
            synset = parts[1] if len(parts) > 2 and not (_TINY in tree and parts[1] == "images") else ""
            found.setdefault(SPLITS[parts[0].lower()], []).append((synset, name))
    classes = _classes(tree, sorted({synset for pairs in found.values() for synset, _ in pairs if synset}))
    labels = {synset: label for label, synset in enumerate(classes.synsets)}
    sets = {}
    for split, pairs in found.items():
        if not all(synset for synset, _ in pairs):
            if (made := _loose(tree, split, [name for _, name in pairs], classes)) is not None:
                sets[split] = made
            continue
        strange = next((name for synset, name in pairs if synset not in labels), None)
        if strange is not None:
            raise DataError(
                f"{tree.path(strange)} lies in a folder that {_mapping(tree) or _TINY} does not name.",
                "Folders named like n01440764, each a class of that file, were expected.",
                "Rename or remove the folder, or add its line.",
            )
        paths = [tree.path(name) for _, name in pairs]
        sets[split] = FolderDataset(paths, [labels[synset] for synset, _ in pairs], classes.names, root=tree.root)
    return sets


def _classes(tree: Tree, there: list[str]) -> _Classes:
    """The classes that a text names; without one the synsets that have folders."""
    mapping = _mapping(tree)
    if _TINY in tree and not mapping:
        listed = [line for _, line in tree.lines(_TINY)]
        lines = (line.partition("\t") for _, line in (tree.lines("words.txt") if "words.txt" in tree else ()))
        words = {synset: meaning.strip() for synset, _, meaning in lines}
        return _Classes(tuple(listed), first_words([words.get(each) or each for each in listed], listed), {})
    if not mapping and (meta := sorted(_meta(tree), key=lambda entry: entry[1])):
        listed = [synset for _, synset, _ in meta]
        names = first_words([words for _, _, words in meta], listed)
        return _Classes(tuple(listed), names, {number: synset for number, synset, _ in meta})
    if not mapping:
        return _Classes(tuple(there), tuple(there), {})
    synsets, meanings, devkit = [], [], {}
    for number, line in tree.lines(mapping):
        parts = line.split(maxsplit=2 if mapping.endswith("map_clsloc.txt") else 1)
        if not _SYNSET.fullmatch(parts[0]) or (len(parts) == 3 and not parts[1].isdecimal()):
            raise DataError(
                f"{tree.path(mapping)}, line {number}: {line[:60]!r}.",
                "A synset and its words were expected, such as 'n01440764 tench, Tinca tinca'.",
                "Mend that line, or fetch the file again.",
            )
        if len(parts) == 3:
            devkit[int(parts[1])] = parts[0]
        synsets.append(parts[0])
        meanings.append(parts[-1].replace("_", " ") if len(parts) > 1 else parts[0])
    for name in (each for each in tree.names if each.rpartition("/")[2] == "map_clsloc.txt" and each != mapping):
        devkit = {int(parts[1]): parts[0] for _, line in tree.lines(name) if len(parts := line.split()) > 1}
    if not devkit and any(_TRUTH.fullmatch(name.rpartition("/")[2]) for name in tree.names):
        devkit = {number: synset for number, synset, _ in _meta(tree)}
    if mapping.endswith("map_clsloc.txt"):  # whose own order nobody trains by
        order = sorted(range(len(synsets)), key=synsets.__getitem__)
        synsets, meanings = [synsets[at] for at in order], [meanings[at] for at in order]
    return _Classes(tuple(synsets), first_words(meanings, synsets), devkit)


def _meta(tree: Tree) -> list[tuple[int, str, str]]:
    """(number, synset, words) of the classes that the devkit's meta.mat tells; those that have others below them are none."""
    name = next((each for each in tree.names if each.rpartition("/")[2] == _META), "")
    told = structures(tree.read(name), tree.path(name)).get("synsets", []) if name else []
    try:
        return [
            (int(each["ILSVRC2012_ID"].item()), str(each["WNID"]), str(each["words"]))
            for each in told
            if not int(each["num_children"].item())
        ]
    except (KeyError, AttributeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{tree.path(name)} does not tell the synsets ({type(error).__name__}: {error}).",
            "Fields ILSVRC2012_ID, WNID, words and num_children were expected.",
            "Fetch the devkit again, or put LOC_synset_mapping.txt and map_clsloc.txt there.",
        ) from error


def _loose(tree: Tree, split: str, names: list[str], classes: _Classes) -> FolderDataset | None:
    """Pictures that no folder labels, by the text that does; None for those of the test, and for a few beside folders."""
    short = "val" if split == "validation" else split
    solution = next((name for name in tree.names if name.endswith(f"LOC_{short}_solution.csv")), None)
    truth = next((name for name in tree.names if _TRUTH.fullmatch(name.rpartition("/")[2])), None)
    tiny = next((name for name in tree.names if name.endswith(f"{short}_annotations.txt")), None)
    if _TINY in tree and tiny is not None:
        told, source = _tiny(tree, tiny), tiny
    elif solution is not None:
        told, source = _solution(tree, solution), solution
    elif truth is not None and split == "validation":
        told, source = _truth(tree, truth, sorted(name.rpartition("/")[2] for name in names), classes), truth
    elif split == "test":
        return None
    else:
        raise DataError(
            f"{tree.root} holds {len(names):,} pictures of {short} right in its folder, without labels.",
            "LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt with meta.mat or map_clsloc.txt, was expected.",
            "Put these files beside the folder, or sort the pictures into folders of synsets.",
        )
    return _named(tree, told, source, names, classes)


def _solution(tree: Tree, name: str) -> Iterator[tuple[int, str, str]]:
    """(line, picture, synset) of Kaggle's list."""
    for line, values in rows(tree, name, delimiter=","):
        if values[0] != "ImageId":
            yield line, values[0], values[1].split()[0] if len(values) > 1 and values[1] else ""


def _tiny(tree: Tree, name: str) -> Iterator[tuple[int, str, str]]:
    """(line, picture, synset) of Tiny ImageNet's list, which tells a box behind them."""
    for line, text in tree.lines(name):
        picture, synset, *_ = [*text.split("\t"), ""]
        yield line, picture, synset


def _truth(tree: Tree, name: str, pictures: list[str], classes: _Classes) -> Iterator[tuple[int, str, str]]:
    """(line, picture, synset): line i is the class of the i-th picture, by the devkit's numbers."""
    if not classes.devkit:
        raise DataError(
            f"{tree.path(name)} labels the pictures by the devkit's own numbers of classes.",
            "meta.mat or map_clsloc.txt, which tell these, were expected beside it.",
            "Put one there (lines of map_clsloc.txt are like 'n02119789 1 kit_fox'), or sort the pictures into folders of synsets.",
        )
    listed = list(tree.lines(name))
    numbered = [re.search(r"_(\d{8})\.", picture) for picture in pictures]
    for picture, match in zip(pictures, numbered, strict=True):
        row = int(match[1]) - 1 if match else -1
        if not 0 <= row < len(listed):
            yield 0, picture, ""
            continue
        line, text = listed[row]
        yield line, picture, classes.devkit.get(int(text) if text.isdecimal() else -1, "")


def _named(
    tree: Tree, told: Iterator[tuple[int, str, str]], source: str, names: list[str], classes: _Classes
) -> FolderDataset:
    """The pictures that a text labels by synsets."""
    labels = {synset: label for label, synset in enumerate(classes.synsets)}
    by_stem = {name.rpartition("/")[2].partition(".")[0]: name for name in names}
    left_out = LeftOut(f"lines of {tree.path(source)}", "Fetch the file again, or the pictures.")
    paths, found, lines, total = list[str](), list[int](), list[int](), 0
    for line, picture, synset in told:
        total += 1
        name, label = by_stem.get(picture.partition(".")[0]), labels.get(synset)
        if name is None or label is None:
            why = f"{picture} is not there" if name is None else f"{picture} has the class {synset!r}, which is none"
            left_out.add(f"line {line}: {why}")
            continue
        paths.append(tree.path(name))
        found.append(label)
        lines.append(line)
    left_out.tell(total, bearable=True)
    origins = Origins([tree.path(source)], np.array(lines, dtype=np.int64))
    return FolderDataset(paths, found, classes.names, root=tree.root, origins=origins)


def _listed(tree: Tree) -> dict[str, FolderDataset]:
    """The pictures that train.txt, val.txt and test.txt name, with the lines of synsets.txt as classes."""
    synsets = [line for _, line in tree.lines("synsets.txt")]
    words = _classes(tree, synsets) if _mapping(tree) else None
    meaning = dict(zip(words.synsets, words.names, strict=True)) if words else {}
    first = [line.split()[0] for line in synsets]
    split_words = [line.partition(" ")[2] or meaning.get(line.split()[0], line) for line in synsets]
    classes, pictures = first_words(split_words, first), NamedPictures(tree)
    return {
        split: _from_list(tree, f"{name}.txt", classes, pictures)
        for name, split in _LISTS.items()
        if f"{name}.txt" in tree
    }


def _from_list(tree: Tree, source: str, classes: tuple[str, ...], pictures: NamedPictures) -> FolderDataset:
    left_out = LeftOut(
        f"pictures of {tree.path(source)}", "Put the pictures there, or take their lines out.", kind=MISSING
    )
    paths, labels, lines, total = list[str](), list[int](), list[int](), 0
    for line, text in tree.lines(source):
        total += 1
        called, _, number = text.rpartition(" ")
        if not called or not number.isdecimal() or int(number) >= len(classes):
            raise DataError(
                f"{tree.path(source)}, line {line}: {text[:60]!r}.",
                f"The name of a picture and a number below {len(classes)}, the classes of synsets.txt, were expected.",
                "Mend that line, or fetch the file again.",
            )
        name = pictures.find(called.strip(), near=f"{source.removesuffix('.txt')}/")
        if name is None:
            left_out.add(f"line {line}: {called.strip()} is not there")
            continue
        paths.append(tree.path(name))
        labels.append(int(number))
        lines.append(line)
    left_out.tell(total, bearable=True)
    origins = Origins([tree.path(source)], np.array(lines, dtype=np.int64))
    return FolderDataset(paths, labels, classes, root=tree.root, origins=origins)
