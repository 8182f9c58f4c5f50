"""ADE20K (Zhou et al. 2017, arXiv:1608.05442): the challenge's cut, and the full data set of 2017.

    images/training/*.jpg, annotations/training/*.png     the challenge: 0 is none (255 here), 1 .. 150 the classes 0 .. 149
    training/**/NAME.jpg, NAME_seg.png, NAME_atr.txt      the full one: thousands of classes

In the full one a _seg.png says by its blue which object a pixel is of, and the line of the same number in _atr.txt (level 0; levels
below are parts, which are not read) says what that is. A map holds at most 255 classes: those that are in most pictures; the other
objects are 255. The classes of the challenge are those of objectInfo150.txt if it is there; their names are the first words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.annotated import AnnotatedDataset
from lamina.data.class_names import first_words
from lamina.data.columns import Beside, Size
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.left_out import BARE, LeftOut
from lamina.data.maps import ClassMap, stored
from lamina.data.pairing import pairs_by_stem
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED

TASKS = ("segmentation",)
LOOKS_FOR = "images/training and annotations/training (the challenge), or NAME_seg.png and NAME_atr.txt beside NAME.jpg"
CLASSES = tuple(
    """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table,
mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat, fence, desk,
rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper,
fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge,
bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair,
boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver,
airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball,
food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase,
traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock,
flag""".replace("\n", " ").split(", ")
)
_SEG, _ATR = "_seg.png", "_atr.txt"


def matches(tree: Tree) -> str:
    """The challenge's folders, or a map of objects with its text."""
    if tree.folders("images/training") or tree.files("images/training"):
        if any(is_picture(name) for name in tree.files("annotations/training")):
            return "the folders images/training and annotations/training are there"
        return ""
    pair = next((name for name in tree.names if name.endswith(_SEG) and _text_of(name) in tree), "")
    return f"{pair} has its {_text_of(pair).rpartition('/')[2]}" if pair else ""


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The splits. Raises DataError where no picture has a map, and at a sample whose map is damaged or of another size."""
    parts = _challenge(tree) if tree.files("annotations/training") else _full(tree)
    others = {name: part for name, part in parts.items() if name not in SPLITS.values()}
    return Splits(parts.get("train"), parts.get("test"), parts.get("validation"), name=tree.name, others=others)


def _challenge(tree: Tree) -> Mapping[str, AnnotatedDataset]:
    classes = _challenge_classes(tree)
    read = ClassMap([*range(len(classes) + 1)], [IGNORED, *range(len(classes))])
    found: dict[str, list[tuple[str, str]]] = {}
    left_out = LeftOut(f"pictures of {tree.root}", "Put their maps into annotations/.", kind=BARE)
    for folder in tree.folders("annotations"):
        pictures = [name for name in tree.files(f"images/{folder}") if is_picture(name)]
        pairs, alone, _ = pairs_by_stem(pictures, [n for n in tree.files(f"annotations/{folder}") if is_picture(n)])
        for name in alone:
            left_out.add(f"{name} has no map")
        if pairs:
            found[SPLITS.get(folder.lower(), folder)] = pairs
    return _sets(tree, found, left_out, classes, read)


def _challenge_classes(tree: Tree) -> tuple[str, ...]:
    listed = next((name for name in tree.names if name.endswith("objectInfo150.txt")), None)
    if listed is None:
        return CLASSES
    rows = [(number, line.split("\t")) for number, line in tree.lines(listed)]
    wrong = next((number for number, row in rows[1:] if len(row) < 5 or not row[0].strip().isdecimal()), None)
    if wrong is not None or len(rows) < 2:
        raise DataError(
            f"{tree.path(listed)}, line {wrong or 1} is no class.",
            "A number, three values and the name, with tabs between, were expected.",
            "Fetch the file again.",
        )
    words = [row[-1].strip() for _, row in rows[1:]]
    return first_words(words, [row[0].strip() for _, row in rows[1:]])


def _full(tree: Tree) -> Mapping[str, AnnotatedDataset]:
    found: dict[str, list[tuple[str, str]]] = {}
    seen: Counter[str] = Counter()
    left_out = LeftOut(f"pictures of {tree.root}", "Put their _seg.png and _atr.txt beside them.", kind=BARE)
    pictures = {name.rpartition(".")[0]: name for name in tree.names if is_picture(name) and name.endswith(".jpg")}
    for start, name in pictures.items():
        if f"{start}{_SEG}" not in tree or f"{start}{_ATR}" not in tree:
            left_out.add(f"{name} has no map or no text")
            continue
        split = name.split("/")[0]
        found.setdefault(SPLITS.get(split.lower(), split if "/" in name else "train"), []).append(
            (name, f"{start}{_SEG}")
        )
        seen.update(set(_objects(tree.path(f"{start}{_ATR}")).values()))
    kept = sorted(name for name, _ in seen.most_common(IGNORED))
    if len(seen) > IGNORED:
        warn(
            f"{tree.root} has {len(seen):,} classes; a map holds {IGNORED}. Those in fewest pictures are left out, as pixels of no class."
        )
    return _sets(tree, found, left_out, first_words(kept, kept), _Objects(kept))


def _sets(
    tree: Tree,
    found: Mapping[str, list[tuple[str, str]]],
    left_out: LeftOut,
    classes: tuple[str, ...],
    read: Callable[[str, Size], Any],
) -> Mapping[str, AnnotatedDataset]:
    if not found:
        raise DataError(
            f"{tree.root} holds {tree.digest()}, and no picture with a map.",
            f"Expected {LOOKS_FOR}.",
            "Pass the folder above training/ and validation/.",
        )
    left_out.tell(left_out.count + sum(map(len, found.values())))
    sets = {}
    for split, pairs in found.items():
        paths, maps = (Paths([tree.path(each) for each in side]) for side in zip(*pairs, strict=True))
        columns = {"class_map": Beside(maps, read)}
        sets[split] = AnnotatedDataset(paths, columns, classes, task="segmentation", root=tree.root)
    return sets


def _text_of(name: str) -> str:
    return name.removesuffix(_SEG) + _ATR


def _objects(path: str) -> dict[int, str]:
    """The class of each whole object in an _atr.txt, by its number. Raises DataError that names the line."""
    found = {}
    try:
        text = archive.read_bytes(path).decode("utf-8", "replace")  # some names in the original are no UTF-8
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}).", "It was there before.", "Copy it again.") from error
    for number, line in enumerate(text.splitlines(), 1):
        parts = [part.strip() for part in line.split("#")]
        if not line.strip():
            continue
        if len(parts) < 5 or not parts[0].isdecimal() or not parts[1].isdecimal():
            raise DataError(
                f"{path}, line {number}: {line[:60]!r}.",
                "An object was expected: number # level # hidden # class # name # attributes.",
                "Mend that line, or fetch the file again.",
            )
        if parts[1] == "0":
            found[int(parts[0])] = parts[3]
    return found


class _Objects:
    """Reads a _seg.png by the names of its objects; `classes` are those that are told apart."""

    def __init__(self, classes: list[str]) -> None:
        self._labels = {name: label for label, name in enumerate(classes)}

    def __call__(self, path: str, size: Size) -> UInt8[Tensor, "H W"]:
        values, colours = stored(path, size)
        instances, rows = np.unique(values & 0xFF if colours else values, return_inverse=True)
        names = _objects(_text_of(path))
        first = int(instances[0] != 0)  # objects are counted in the order of their values, from 1; 0 is none
        told = [
            IGNORED if value == 0 else self._labels.get(names.get(at + first, ""), IGNORED)
            for at, value in enumerate(instances)
        ]
        return torch.from_numpy(np.array(told, dtype=np.uint8)[rows.reshape(values.shape)])
