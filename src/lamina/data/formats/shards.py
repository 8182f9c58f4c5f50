"""Shards: tar files in which the files of a sample follow each other and share their name up to the first dot (WebDataset).

`lamina data shard` writes them, with an index, one folder for each part (see data.shards): these are opened at once. Of others
each header is looked at: pictures with KEY.cls, the number of a class (their names stand in classes.txt, one a line), with KEY.json as
`lamina data shard` has it, or with KEY.txt, a caption. Parts are folders train, val, test, or the starts of the tars' names.
Files are never unpacked: a path tells where in its shard a picture lies, and any sample is read in any order. What reads shards
front to back, without seeking, is data.stream.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import archive, shard_index, shard_samples
from lamina.data.annotated import TASKS as ANNOTATED
from lamina.data.annotated import AnnotatedDataset
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import SPLITS, few, is_picture
from lamina.data.shard_index import Places
from lamina.data.shard_samples import Gathered
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("classification", *ANNOTATED)
LOOKS_FOR = "shard-000000.tar .. with index.json, or tars of KEY.jpg and KEY.cls, KEY.json or KEY.txt"
_LABELS = ("cls", "json", "txt")
_WORD = re.compile(r"[a-z]+")


class _File(NamedTuple):
    name: str
    start: int
    size: int


def matches(tree: Tree) -> str:
    """The index, or the first two files of the first tar."""
    if os.path.isfile(tree.root):
        return _first_sample(tree.root) if tree.root.lower().endswith(".tar") else ""
    for folder in ("", *tree.folders()):
        tars = tree.files(folder, suffixes=[".tar"])
        if not tars:
            continue
        index = f"{folder}/{shard_index.TABLE}".lstrip("/")
        if index in tree and shard_index.FORMAT.encode() in tree.read(index)[:200]:
            return f"{index} lists shards"
        if how := _first_sample(tree.path(tars[0])):
            return how
    return ""


def tasks_there(tree: Tree) -> dict[str, str]:
    """None in particular: shards tell it."""
    return {"": matches(tree)}


def open_tree(tree: Tree, task: str) -> Splits[FolderDataset] | Splits[AnnotatedDataset]:
    """The parts. Raises DataError for shards that are cut short, unfinished, or of other classes than those of another part."""
    parts = {"train": [Path(tree.root)]} if os.path.isfile(tree.root) else _parts(tree)
    sets: dict[str, Any] = {name: _part(shards, tree) for name, shards in parts.items()}
    _check_alike(sets, tree)
    told = next(iter(sets.values())).task
    if task not in ("", told):
        raise DataError(
            f"{tree.root} holds shards for {told}.", f"Shards for {task} were asked for.", "Leave the task out."
        )
    others = {name: part for name, part in sets.items() if name not in ("train", "validation", "test")}
    return Splits(sets.get("train"), sets.get("test"), sets.get("validation"), name=tree.name, others=others)


def _parts(tree: Tree) -> dict[str, list[Path]]:
    """The shards of each part."""
    parts: dict[str, list[Path]] = {}
    for folder in ("", *tree.folders()):
        for name in tree.files(folder, suffixes=[".tar"]):
            words = _WORD.findall(name.rpartition("/")[2].lower().removesuffix(".tar"))
            named = next((SPLITS[word] for word in reversed(words) if word in SPLITS), "train")
            part = SPLITS.get(folder.lower(), folder) if folder else named
            parts.setdefault(part, []).append(Path(tree.path(name)))
    if not parts:
        raise DataError(f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the shards' folder.")
    return parts


def _part(shards: Sequence[Path], tree: Tree) -> FolderDataset | AnnotatedDataset:
    folder = shards[0].parent
    table = shard_index.read_table(folder) if not os.path.isfile(tree.root) else None
    if table is None:
        return _looked_through(shards, tree)
    held = shard_index.read_arrays(folder, table)
    files = shard_index.paths(held, folder)
    if table["task"] == "classification":
        return FolderDataset(files["picture"], torch.from_numpy(held["labels"]), table["classes"], root=folder)
    return AnnotatedDataset(
        files.pop("picture"),
        shard_samples.columns(held, files),
        table["classes"],
        task=table["task"],
        root=folder,
        things=table.get("things"),
        point_names=table.get("point_names", ()),
        skeleton=table.get("skeleton", ()),
    )


def _check_alike(sets: dict[str, Any], tree: Tree) -> None:
    first, *others = sets
    for name in others:
        for what in ("task", "classes"):
            mine, theirs = getattr(sets[first], what), getattr(sets[name], what)
            if mine != theirs:
                raise DataError(
                    f"The shards of {first} and {name} in {tree.root} differ in their {what}: "
                    f"{few(mine) if what == 'classes' else mine}, and {few(theirs) if what == 'classes' else theirs}.",
                    "Parts of one data set have the same.",
                    "Write them from one data set, or open each folder alone.",
                )


def _looked_through(shards: Sequence[Path], tree: Tree) -> FolderDataset | AnnotatedDataset:
    """Shards without an index: the headers of all, and the labels, are read."""
    places, labels, gathered = {"picture": Places()}, list[int](), Gathered()
    kind, count, incomplete = "", 0, list[str]()
    for shard in shards:
        for key, files in samples(shard):
            pictures = [ending for ending in files if is_picture(f"x.{ending}") and "." not in ending]
            label = next((ending for ending in _LABELS if ending in files), "")
            if not pictures or not label or (kind and label != kind):
                incomplete.append(f"{key} in {shard.name}")
                continue
            kind = label
            told = archive.read_bytes(_path(shard, files[label]))
            place = f"{shard}/{files[label].name}"
            if label == "cls":
                labels.append(class_of(told, place))
            elif label == "json":
                gathered.add(shard_samples.parsed(told, place), place)
            else:
                gathered.add({"captions": [told.decode("utf-8", "replace").strip()]}, place)
            for name, ending in (("picture", pictures[0]), ("json", "json"), *_BESIDE.items()):
                if ending in files:
                    places.setdefault(name, Places()).fill(count)
                    places[name].add(shard.name, files[ending].start, files[ending].size, files[ending].name)
            count += 1
    if incomplete:
        warn(
            f"{len(incomplete):,} samples of {tree.root} have no picture, or no label: {few(incomplete)}. They are left out."
        )
    if not count:
        raise DataError(f"{tree.root} holds no sample.", f"Expected {LOOKS_FOR}.", "Look at a shard: tar tf NAME.tar.")
    held: dict[str, npt.NDArray[Any]] = {}
    for name, each in places.items():
        each.fill(count)
        held |= each.arrays(name)
    files_of = shard_index.paths(held, shards[0].parent)
    if kind == "cls":
        classes = _classes(tree, labels)
        return FolderDataset(files_of["picture"], labels, classes, root=shards[0].parent)
    columns = shard_samples.columns(gathered.arrays(), files_of)
    if set(columns) == {"labels"}:
        return _several(columns["labels"], files_of["picture"], tree)
    values = getattr(columns.get("labels"), "values", np.zeros(0, np.int64)).tolist()
    task = next((task for column, task in _TELLS.items() if column in columns), "detection")
    classes = _classes(tree, values) if values else ()
    return AnnotatedDataset(files_of.pop("picture"), columns, classes, task=task, root=shards[0].parent)


_BESIDE = {name: f"{name}.png" for name in shard_samples.PICTURES}
_TELLS = {
    "keypoints": "keypoints",
    "boxes_xyxy": "detection",
    "class_map": "segmentation",
    "other": "translation",
    "captions": "captioning",
}


def _several(column: Any, paths: Any, tree: Tree) -> FolderDataset:
    """Several labels for each picture, or none."""
    classes = _classes(tree, column.values.tolist())
    labels = np.zeros((len(paths), len(classes)), dtype=np.int64)
    labels[np.repeat(np.arange(len(paths)), np.diff(column.ends)), column.values] = 1
    return FolderDataset(paths, torch.from_numpy(labels), classes, root=tree.root)


def samples(shard: Path) -> Iterator[tuple[str, dict[str, _File]]]:
    """(key, its files by ending) of each sample. Raises DataError for a shard that is cut short, naming its last whole sample."""
    last, key, files = "", "", dict[str, _File]()
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined] # or it keeps an object for each
                if not member.isreg():
                    continue
                named, ending = key_of(member.name)
                if files and named != key:
                    yield key, files
                    last, files = key, {}
                key = named
                files[ending] = _File(member.name, member.offset_data, member.size)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        whole = f"its last whole sample is {last}" if last else "no sample is whole"
        raise DataError(
            f"{shard} is cut short or damaged ({error}); {whole}.", "A whole tar was expected.", "Copy it again."
        ) from error
    if files:
        yield key, files


def key_of(name: str) -> tuple[str, str]:
    """(key, ending) of a file's name: cut at the first dot of its last part."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    key, _, ending = last.partition(".")
    return folder + slash + key, ending.lower()


def _first_sample(path: str) -> str:
    try:
        first = next(samples(Path(path)), None)
    except DataError:
        return ""
    if first is None or not any(ending in first[1] for ending in _LABELS):
        return ""
    pictures = [ending for ending in first[1] if is_picture(f"x.{ending}")]
    listed = " and ".join(f"{first[0]}.{ending}" for ending in [*pictures, *(e for e in _LABELS if e in first[1])][:2])
    return f"{os.path.basename(path)} begins with {listed}" if pictures else ""


def _path(shard: Path, file: _File) -> str:
    return f"{shard}/@{file.start}+{file.size}/{file.name}"


def class_of(told: bytes, place: str) -> int:
    """The number in KEY.cls. Raises DataError, naming `place`, where there is none."""
    text = told.strip()
    if not text.isdigit():
        raise DataError(
            f"{place} holds {told[:20]!r}.", "The number of a class, from 0 on, was expected.", "Write the shard again."
        )
    return int(text)


def _classes(tree: Tree, labels: Sequence[int]) -> tuple[str, ...]:
    count = max(labels, default=-1) + 1
    if "classes.txt" not in tree:
        return tuple(map(str, range(count)))
    names = tuple(line for _, line in tree.lines("classes.txt"))
    if len(names) < count:
        raise DataError(
            f"{tree.path('classes.txt')} names {len(names)} classes.",
            f"The labels go up to {count - 1}.",
            "Name every class, one a line.",
        )
    return names
