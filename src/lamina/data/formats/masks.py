"""Folders of pictures and of masks, for segmentation, however they are called.

    images/1.jpg, masks/1.png                     also labels, annotations, gt ...; with train/, val/, test/ above or below
    train/1.jpg, train_masks/1_mask.png           a folder named after the pictures'
    1.jpg, 1_mask.png                             side by side in any folder

What a mask holds is told by a look at some of them: the numbers of classes, from 0 on, with 255 for none; two values, such as 0 and
255: background and foreground; a few grey values or colours far apart, each a class. Texts name the classes, a line for each:
classes.txt (classes.csv, class_dict.csv, label_colors.txt, labelmap.txt, colors.txt) with "name", or for colours "name red green
blue" in any order; a class that is called void, unlabelled or ignore is 255. Pictures without masks are left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.class_names import refuse_twins
from lamina.data.columns import Beside
from lamina.data.formats.camvid import NO_CLASS
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.left_out import BARE, LeftOut
from lamina.data.maps import ClassMap, stored
from lamina.data.pairing import pairs_by_stem, stem
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED

TASKS = ("segmentation",)
LOOKS_FOR = "folders images/ and masks/ (or labels, annotations, gt), or pictures 1.jpg beside masks 1_mask.png"
_PICTURES = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "inputs", "input")
_MASKS = (
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "gt",
    "groundtruth",
    "ground_truth",
    "segmentations",
)
_BEHIND = ("_masks", "_mask", "_labels", "_annotations", "_gt")  # of a folder: train, train_masks
_ENDINGS = ("", "_mask", "-mask", "_gt", "_label", "_labels", "_seg", "_segmentation", "_L")
_BESIDE = ("_mask", "-mask", "_gt", "_label", "_seg")
_TABLES = (
    "classes",
    "_classes",
    "class_dict",
    "label_colors",
    "labelmap",
    "colors",
    "labels",
    "class_names",
    "palette",
)
_FEW = 8  # folders: of more, none is all masks
_LOOKED_AT = 64  # masks that tell what all hold
_FAR_APART = 64  # numbers of classes leave no larger gaps
_MOST_COLOURS = 64
_TRIES = 3  # masks that tell a folder of masks from one of photographs
_NUMBERED = re.compile(r"(\d{1,3})\s*[,;:\t]\s*(\S.*)")  # "0, background"
_COLOUR = re.compile(r"(?<![\d.])(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?![\d.])")

Pair = tuple[str, str]
Place = tuple[tuple[str, list[str], list[str]], str]


@dataclass(frozen=True)
class _Classes:
    names: list[str]
    colours: list[int] | None


def matches(tree: Tree) -> str:
    """The two folders, or the endings, by which masks are told from pictures."""
    return next((how for _, how in _found(tree)), _named_alone(tree))


def _named_alone(tree: Tree) -> str:
    """Folders of pictures and masks and no others, though names do not fit: better an error than two classes so called."""
    filled = [folder.lower() for folder in _filled(tree)]
    pictures, masks = ([folder for folder in filled if folder in names] for names in (_PICTURES, _MASKS))
    alone = len(filled) == 2 and pictures and masks
    return f"the folders {pictures[0]} and {masks[0]} are all there is" if alone else ""


def _filled(tree: Tree) -> list[str]:
    """The folders that hold pictures, where these are few."""
    folders = tree.folders()
    return [each for each in folders if any(map(is_picture, tree.below(each).names))] if len(folders) <= _FEW else []


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The splits. Raises DataError where pictures and masks have no names in common, or the masks hold more values than classes."""
    left_out = LeftOut(f"pictures and masks of {tree.root}", "Give each picture and its mask the same name.", kind=BARE)
    parts: dict[str, list[Pair]] = {}
    for (split, pictures, masks), _ in _found(tree):
        pairs, alone, left = pairs_by_stem(pictures, masks, ending=_ending(pictures, masks))
        parts.setdefault(split, []).extend(pairs)
        for name in alone:
            left_out.add(f"{name} has no mask")
        for name in left:
            left_out.add(f"{name} has no picture")
    parts = {split: pairs for split, pairs in parts.items() if pairs}
    if not parts:
        raise DataError(
            f"{tree.root} holds {tree.digest()}, and no picture with a mask of its name.",
            f"Expected {LOOKS_FOR}.",
            "Pass the folder above both, and give masks the names of their pictures.",
        )
    left_out.tell(left_out.count + sum(map(len, parts.values())), bearable=True)
    classes, read, said = _meaning(tree, [mask for pairs in parts.values() for _, mask in pairs])
    sets = {}
    for split, pairs in parts.items():
        paths, maps = (Paths([tree.path(each) for each in side]) for side in zip(*pairs, strict=True))
        sets[split] = AnnotatedDataset(paths, {"class_map": Beside(maps, read)}, classes, task=task, root=tree.root)
    others = {name: part for name, part in sets.items() if name not in SPLITS.values()}
    return Splits(
        sets.get("train"), sets.get("test"), sets.get("validation"), name=tree.name, others=others, recognised=said
    )


def _found(tree: Tree) -> Iterator[Place]:
    """((split, pictures, masks), by what they were known) of each place where both lie."""
    yield from list(_in_named_folders(tree)) or _in_two_folders(tree)
    yield from _side_by_side(tree)


def _in_named_folders(tree: Tree) -> Iterator[Place]:
    """The same of folders that are called as those of pictures and masks are."""
    for above in ("", *(f"{folder}/" for folder in tree.folders() if folder.lower() in SPLITS)):
        folders = {folder.lower(): folder for folder in tree.folders(above)}
        pictures = next((folders[name] for name in _PICTURES if name in folders), None)
        masks = next((folders[name] for name in _MASKS if name in folders), None)
        if pictures is not None and masks is not None:
            how = f"the folders {above}{pictures} and {above}{masks} hold files of the same names"
            inner = [name for name in tree.folders(f"{above}{pictures}") if name in tree.folders(f"{above}{masks}")]
            for split in [name for name in inner if name.lower() in SPLITS] or [""]:
                sides = [_below(tree, f"{above}{folder}/{split}") for folder in (pictures, masks)]
                if _fit(*sides) and (
                    len(_filled(tree.below(above) if above else tree)) <= 2 or _are_maps(tree, sides[1])
                ):
                    yield (_split(split or above.rstrip("/")), sides[0], sides[1]), how
        for folder in folders.values():
            behind = next((f"{folder}{each}" for each in _BEHIND if f"{folder}{each}".lower() in folders), None)
            if behind is not None:
                sides = [_below(tree, f"{above}{each}") for each in (folder, folders[behind.lower()])]
                if _fit(*sides):
                    yield (_split(folder), sides[0], sides[1]), f"the folder {behind} has the names of {folder}"


def _in_two_folders(tree: Tree) -> Iterator[Place]:
    """The same where two folders are all there is, and the names in one are those in the other with an ending of masks."""
    filled = _filled(tree)
    if len(filled) == 2 and not any(folder.lower() in SPLITS for folder in filled):
        files = {folder: _below(tree, folder) for folder in filled}
        for folder, behind in (filled, reversed(filled)):
            if (ending := _ending(files[folder], files[behind])) and _fit(files[folder], files[behind]):
                yield (
                    ("train", files[folder], files[behind]),
                    f"the folder {behind} has the names of {folder} and {ending}",
                )
                return


def _are_maps(tree: Tree, names: list[str]) -> bool:
    """Whether the first ones look like maps of classes, and not like photographs in a folder of any name."""
    try:
        found = [stored(tree.path(name)) for name in names[:_TRIES]]
    except DataError:
        return True  # who reads them tells what is wrong
    return all(len(np.unique(values)) <= _MOST_COLOURS or not colours for values, colours in found)


def _side_by_side(tree: Tree) -> Iterator[Place]:
    """The same of masks that lie in their pictures' folders."""
    names = [name for name in tree.names if is_picture(name)]
    bare = [name.rpartition(".")[0] for name in names]
    starts = set(bare)
    for ending in _BESIDE:
        masks = [name for name, start in zip(names, bare, strict=True) if start.endswith(ending)]
        pairs = [name for name in masks if name.rpartition(".")[0].removesuffix(ending) in starts]
        if not pairs or len(pairs) < 0.4 * len(names):
            continue
        behind = set(masks)
        by_folder: dict[str, tuple[list[str], list[str]]] = {}
        for name in names:
            sides = by_folder.setdefault(name.rpartition("/")[0], ([], []))
            sides[name in behind].append(name)
        for folder, (pictures, own) in by_folder.items():
            if pictures and own:
                split = next((part for part in folder.split("/") if part.lower() in SPLITS), "")
                yield (_split(split), pictures, own), f"pictures lie beside masks that end in {ending}"
        return


def _split(folder: str) -> str:
    return SPLITS.get(folder.lower(), "train")


def _below(tree: Tree, folder: str) -> list[str]:
    start = folder.strip("/") + "/"
    return [name for name in tree.names if name.startswith(start) and is_picture(name)]


def _ending(pictures: list[str], masks: list[str]) -> str:
    """What stands behind the names of the masks."""
    stems = {stem(name) for name in pictures}
    return max(_ENDINGS, key=lambda ending: sum(stem(name, ending=ending) in stems for name in masks))


def _fit(pictures: list[str], masks: list[str]) -> bool:
    """Whether at least half of the masks have a picture."""
    if not pictures or not masks:
        return False
    stems, ending = {stem(name) for name in pictures}, _ending(pictures, masks)
    return 2 * sum(stem(name, ending=ending) in stems for name in masks) >= len(masks)


def _meaning(tree: Tree, masks: list[str]) -> tuple[tuple[str, ...], ClassMap, str]:
    """(names of the classes, what reads a mask, in words what its values are)."""
    looked = masks[:: max(1, len(masks) // _LOOKED_AT)][:_LOOKED_AT]
    seen = [stored(tree.path(name)) for name in looked]
    values = sorted({int(value) for found, _ in seen for value in np.unique(found)})
    told = _told(tree)
    if values in ([0], [IGNORED]):  # none, or all, is foreground in those that were looked at: the others tell
        rest = (stored(tree.path(name)) for name in masks if name not in set(looked))
        seen += itertools.islice((each for each in rest if each[1] or set(np.unique(each[0])) - set(values)), 1)
        values = sorted({int(value) for found, _ in seen for value in np.unique(found)})
        values = [0, IGNORED] if values == [IGNORED] else values
    if any(colours for _, colours in seen):
        return _colours(tree, [*seen], told)
    if told is not None and told.colours is not None and len(set(values) - set(range(len(told.names)))) > 1:
        return _colours(tree, [*seen], told)  # all grey in those that were looked at
    smeared = len(values) > 8 and values[-1] > 200 and any(name.lower().endswith((".jpg", ".jpeg")) for name in looked)
    if told is None and (smeared or (len(values) == 2 and values[0] == 0 and values[1] > 1)):
        read = ClassMap(threshold=127) if smeared else ClassMap(values, [0, 1])
        return ("background", "foreground"), read, f"masks hold {'black and white' if smeared else values}"
    numbers = [value for value in values if value != IGNORED]
    gaps = np.diff([-1, *numbers]).max(initial=0)
    if told is None and len(numbers) < 64 and (gaps > _FAR_APART or (len(numbers) > 1 and min(np.diff(numbers)) > 8)):
        names = tuple(map(str, values))
        return names, ClassMap(values, range(len(values))), f"masks hold the grey values {', '.join(names)}"
    count = len(told.names) if told is not None else max(numbers, default=-1) + 1
    if count > IGNORED or not count or (told is not None and numbers and numbers[-1] >= count):
        raise DataError(
            f"The masks of {tree.root} hold values up to {max(numbers, default=IGNORED)}.",
            f"{f'{count} classes are named' if told else 'Numbers of classes below 255'}, and 255 for none, were expected.",
            "Name each class in classes.txt, one a line, in the order of the values.",
        )
    all_names = told.names if told is not None else list(map(str, range(count)))
    kept = [name for name in all_names if name.lower() not in NO_CLASS]
    refuse_twins(kept, tree.root)
    labels = [kept.index(name) if name in kept else IGNORED for name in all_names]
    looked_at = f"of {len(looked):,} masks looked at: " if len(looked) < len(masks) else ""
    read = ClassMap([*range(count), IGNORED], [*labels, IGNORED])
    return tuple(kept), read, f"masks hold classes as numbers ({looked_at}{_brief(values)})"


def _brief(values: list[int]) -> str:
    return (
        ", ".join(map(str, values)) if len(values) <= 12 else f"{len(values)} values from {values[0]} to {values[-1]}"
    )


def _colours(
    tree: Tree, seen: list[tuple[np.ndarray[tuple[int, ...], np.dtype[np.int32]], bool]], told: _Classes | None
) -> tuple[tuple[str, ...], ClassMap, str]:
    if told is not None and told.colours is not None:
        kept = [name for name in told.names if name.lower() not in NO_CLASS]
        labels = [kept.index(name) if name in kept else IGNORED for name in told.names]
        return tuple(kept), ClassMap(told.colours, labels, colours=True), f"{len(told.colours)} colours are named"
    found = sorted({int(value) for values, own in seen for value in np.unique(values if own else values * 0x010101)})
    if len(found) > _MOST_COLOURS:
        raise DataError(
            f"The masks of {tree.root} hold {len(found):,} colours.",
            f"At most {_MOST_COLOURS}, or a text that names them, were expected: JPEG, and resizing, mix colours.",
            "Save masks as PNG, and write classes.txt with lines 'name red green blue'.",
        )
    names = tuple(f"#{value:06x}" for value in found)
    return names, ClassMap(found, range(len(found)), colours=True), f"masks hold {len(found)} colours, each a class"


def _told(tree: Tree) -> _Classes | None:
    """The classes that a text names."""
    wanted = {f"{name}{ending}" for name in _TABLES for ending in (".txt", ".csv")}
    source = next(
        (name for name in tree.names if name.rpartition("/")[2].lower() in wanted and name.count("/") < 2), None
    )
    if source is None:
        return None
    lines = [line for _, line in tree.lines(source) if not line.startswith("#")]
    found = [_COLOUR.search(line) for line in lines]
    if not any(found):
        numbered = [match for line in lines if (match := _NUMBERED.fullmatch(line)) is not None]
        if (
            numbered
            and [int(match[1]) for match in numbered] == list(range(len(numbered)))
            and len(lines) - len(numbered) < 2
        ):
            return _Classes([match[2] for match in numbered], None)  # below a title, or without one
        return _Classes([line.strip(",;") for line in lines], None)
    pairs = [(line, match) for line, match in zip(lines, found, strict=True) if match is not None]
    names = [(line[: match.start()] + " " + line[match.end() :]).strip(" \t,;:") for line, match in pairs]
    colours = [int(match[1]) << 16 | int(match[2]) << 8 | int(match[3]) for _, match in pairs]
    if len(set(colours)) < len(colours):
        raise DataError(f"{tree.path(source)} gives one colour to two classes.", "Each has its own.", "Mend the text.")
    return _Classes(names, colours)
