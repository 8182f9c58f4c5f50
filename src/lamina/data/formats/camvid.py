"""CamVid (Brostow et al. 2008), as SegNet's authors cut it: train/, val/, test/ and trainannot/, valannot/, testannot/.

A map holds 0..10 for the eleven classes and 11 for none (255 here), or the colours of the 32 classes of the original, which are
gathered into the eleven. classes.txt names classes in the order of the values, one a line; "unlabelled", "void" or
"ignore" is none. train.txt, val.txt and test.txt may list the pictures of a split, first on each line.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Beside
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.formats.named_pictures import NamedPictures
from lamina.data.left_out import BARE, LeftOut
from lamina.data.maps import ClassMap, stored
from lamina.data.pairing import pairs_by_stem
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED

TASKS = ("segmentation",)
LOOKS_FOR = "folders train/ and trainannot/ (val/ and valannot/, test/ and testannot/)"
CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
NO_CLASS = ("unlabelled", "unlabeled", "void", "ignore", "ignored", "don't care")
_LOOKED_AT = 8  # maps that tell whether they hold colours
# the colours of the original's classes, by the class of the eleven that each belongs to; 11 is none
_COLOURS = (
    (0x808080,),  # Sky
    (0xC00080, 0x008040, 0x800000, 0x400040, 0x40C000),  # Archway, Bridge, Building, Tunnel, Wall
    (0xC0C080, 0x000040),  # Column_Pole, TrafficCone
    (0x8000C0, 0xC00040, 0x804080),  # LaneMkgsDriv, LaneMkgsNonDriv, Road
    (0x40C080, 0x8080C0, 0x0000C0),  # ParkingBlock, RoadShoulder, Sidewalk
    (0x808000, 0xC0C000),  # Tree, VegetationMisc
    (0x808040, 0xC08080, 0x004040),  # Misc_Text, SignSymbol, TrafficLight
    (0x404080,),  # Fence
    (0x400080, 0x804040, 0x4080C0, 0xC04080, 0xC080C0),  # Car, OtherMoving, SUVPickupTruck, Train, Truck_Bus
    (0x408040, 0x4000C0, 0xC08040, 0x404000),  # Animal, CartLuggagePram, Child, Pedestrian
    (0x0080C0, 0xC000C0),  # Bicyclist, MotorcycleScooter
    (0x000000,),  # Void
)


def matches(tree: Tree) -> str:
    """A folder beside one of the same name and "annot"."""
    folders = set(tree.folders())
    found = next((name for name in tree.folders() if f"{name}annot" in folders), "")
    return f"the folders {found} and {found}annot lie beside each other" if found else ""


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The splits, with a map of the classes for each picture. Raises DataError where pictures and maps do not fit together."""
    folders = [name for name in tree.folders() if f"{name}annot" in tree.folders()]
    if not folders:
        raise DataError(f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the folder above them.")
    left_out = LeftOut(
        f"pictures and maps of {tree.root}", "Put a map of the same name beside each picture.", kind=BARE
    )
    pairs = {name: _pairs(tree, name, left_out) for name in folders}
    left_out.tell(sum(map(len, pairs.values())) + left_out.count)
    maps_there = (annotated for found in pairs.values() for _, annotated in found)
    colours = any(stored(tree.path(name))[1] for name in itertools.islice(maps_there, _LOOKED_AT))
    classes, read = _meaning(tree, colours=colours)
    parts = {}
    for name, found in pairs.items():
        paths, maps = (Paths([tree.path(each) for each in side]) for side in zip(*found, strict=True))
        columns = {"class_map": Beside(maps, read)}
        split = SPLITS.get(name.lower(), name)
        parts[split] = AnnotatedDataset(paths, columns, classes, task=task, root=tree.root)
    made = partial(Splits[AnnotatedDataset], name=tree.name)
    others = {name: part for name, part in parts.items() if name not in SPLITS.values()}
    return made(parts.get("train"), parts.get("test"), parts.get("validation"), others=others)


def _pairs(tree: Tree, folder: str, left_out: LeftOut) -> list[tuple[str, str]]:
    pictures = [name for name in tree.files(folder) if is_picture(name)]
    if f"{folder}.txt" in tree:
        inside = NamedPictures(tree.below(folder))
        listed = []
        for number, line in tree.lines(f"{folder}.txt"):
            found = inside.find(line.split()[0])
            if found is None:
                left_out.add(f"{folder}.txt, line {number} names {line.split()[0]}, which is not there")
            else:
                listed.append(f"{folder}/{found}")
        pictures = listed
    pairs, alone, _ = pairs_by_stem(pictures, [name for name in tree.files(f"{folder}annot") if is_picture(name)])
    for name in alone:
        left_out.add(f"{name} has no map in {folder}annot")
    if not pairs:
        raise DataError(
            f"No picture of {tree.path(folder)} has a map in {folder}annot.",
            "A map of the same name was expected for each.",
            "Check the names, or delete the folders.",
        )
    return pairs


def _meaning(tree: Tree, *, colours: bool) -> tuple[tuple[str, ...], ClassMap]:
    """The names of the classes, and what reads a map of them."""
    if colours:
        pairs = [(colour, number) for number, several in enumerate(_COLOURS) for colour in several]
        classes = [number if number < len(CLASSES) else IGNORED for _, number in pairs]
        return CLASSES, ClassMap([colour for colour, _ in pairs], classes, colours=True)
    names = [line for _, line in tree.lines("classes.txt")] if "classes.txt" in tree else [*CLASSES, "unlabelled"]
    kept = [name for name in names if name.lower() not in NO_CLASS]
    numbers = np.array([kept.index(name) if name in kept else IGNORED for name in names])
    values = np.append(np.arange(len(names)), [] if len(names) > IGNORED else [IGNORED])
    return tuple(kept), ClassMap(values, np.append(numbers, [IGNORED] * (len(values) - len(names))))
