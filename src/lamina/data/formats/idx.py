"""IDX folders, as MNIST, Fashion-MNIST, KMNIST and EMNIST come (format: LeCun, yann.lecun.com/exdb/mnist).

Files: [PREFIX-]{train,t10k,test}-{images-idx3,labels-idx1}-ubyte[.gz]; dots may stand for the last dashes.
Class names stand in classes.txt, one a line, or in EMNIST's [PREFIX-]mapping.txt (a label and the codes of its characters on
each line); without these they are the numbers. EMNIST's files (their prefix says emnist) hold the pictures transposed; they
are turned upright.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.dataset import ImageDataset
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("classification",)
LOOKS_FOR = "pairs of files like train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz]"
_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<split>train|t10k|test)[-.](?P<kind>images|labels)[-.]idx[13][-.]ubyte(\.gz)?", re.IGNORECASE
)


def matches(tree: Tree) -> str:
    """The file that is named like an IDX file."""
    return next((f"{name} is named like an IDX file" for name in tree.files() if _NAME.fullmatch(name)), "")


def open_tree(tree: Tree, task: str) -> Splits[ImageDataset]:
    """The splits in the folder, in memory. Raises DataError naming the file that is missing, damaged or foreign."""
    found, prefixes = _find(tree)
    if len(prefixes) != 1:
        several = f"files of several data sets: {', '.join(sorted(prefixes))}" if prefixes else "no IDX file"
        raise DataError(
            f"{tree.root} holds {several}.",
            f"Expected {LOOKS_FOR}.",
            "Put the files of one data set into a folder of its own.",
        )
    pairs = {split: _pair(found, split, tree) for split in ("train", "test") if any(key[0] == split for key in found)}
    prefix = prefixes.pop()
    classes = _classes(tree, prefix, 1 + max(int(labels.max()) for _, labels in pairs.values()))
    upright = not prefix.startswith("emnist")
    sets = {
        split: ImageDataset(images if upright else images.mT.contiguous(), labels, classes, name=tree.name)
        for split, (images, labels) in pairs.items()
    }
    return Splits(sets.get("train"), sets.get("test"), name=tree.name)


def images_from(content: bytes | memoryview, name: str) -> UInt8[Tensor, "N 1 H W"]:
    """The pictures in an IDX file of unsigned bytes with three dimensions; `name` is for messages.

    They share memory with a memoryview, and are copied from bytes, which torch could not write to.
    """
    return _parsed(content, name, dims=3).unsqueeze(1)


def labels_from(content: bytes | memoryview, name: str) -> Int64[Tensor, " N"]:
    """The labels in an IDX file of unsigned bytes with one dimension. `name` is for messages."""
    return _parsed(content, name, dims=1).to(torch.int64)


def unzipped(content: bytes, name: str) -> bytes:
    """The content, unzipped if it is gzip, whatever the file's name says."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name} is a damaged gzip file ({error}).", "A complete one was expected.", "Copy or download it again."
        ) from error


def _find(tree: Tree) -> tuple[dict[tuple[str, str], str], set[str]]:
    """Files by (split, kind), and the prefixes of their names. Of a file that is there twice, the unzipped one counts."""
    found, prefixes = {}, set()
    for name in sorted(tree.files(), reverse=True):
        if match := _NAME.fullmatch(name.lower()):
            split = "train" if match["split"] == "train" else "test"
            found[split, match["kind"]] = name
            prefixes.add(match["prefix"])
    return found, prefixes


def _pair(found: dict[tuple[str, str], str], split: str, tree: Tree) -> tuple[Tensor, Tensor]:
    missing = [kind for kind in ("images", "labels") if (split, kind) not in found]
    if missing:
        there = next(name for (of, _), name in found.items() if of == split)
        raise DataError(
            f"{tree.root} holds {there}, but no file of {missing[0]} for it.",
            f"Expected {LOOKS_FOR}.",
            f"Put the {missing[0]} file beside it.",
        )
    names = found[split, "images"], found[split, "labels"]
    images_path, labels_path = map(tree.path, names)
    images = images_from(unzipped(tree.read(names[0]), images_path), images_path)
    labels = labels_from(unzipped(tree.read(names[1]), labels_path), labels_path)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images):,} images and {labels_path} {len(labels):,} labels.",
            "Each image needs one label.",
            "One of the files belongs to another split or data set: fetch both again.",
        )
    return images, labels


def _parsed(content: bytes | memoryview, name: str, *, dims: int) -> Tensor:
    kind = "images" if dims == 3 else "labels"
    magic = bytes([0, 0, 8, dims])  # two zeros, 8 for unsigned bytes, the number of dimensions
    if content[:4] != magic:
        raise DataError(
            f"{name} starts with the bytes {content[:4].hex(' ') or '(none)'}.",
            f"An IDX file of {kind} starts with {magic.hex(' ')}.",
            "It is empty, damaged or of another kind: fetch it again.",
        )
    start = 4 + 4 * dims
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(shape):
        raise DataError(
            f"{name} has {len(content):,} bytes.",
            f"Its header promises {' x '.join(map(str, shape))} values: {start + math.prod(shape):,} bytes.",
            "It is truncated or damaged: fetch it again.",
        )
    if 0 in shape:
        raise DataError(f"{name} holds no {kind}.", "At least one was expected.", "Fetch it again.")
    writable = content if isinstance(content, memoryview) else bytearray(content)
    return torch.frombuffer(writable, dtype=torch.uint8, offset=start).reshape(shape)


def _classes(tree: Tree, prefix: str, count: int) -> tuple[str, ...]:
    texts = {name.lower(): name for name in tree.files(suffixes=[".txt"])}
    mapping = texts.get(f"{prefix}mapping.txt") or texts.get("mapping.txt")
    if (listed := texts.get("classes.txt")) is not None:
        names = tuple(line for _, line in tree.lines(listed))
    elif mapping is not None:
        listed, names = mapping, _mapped(tree, mapping)
    else:
        return tuple(str(label) for label in range(count))
    if len(names) < count:
        raise DataError(
            f"{tree.path(listed)} names {len(names)} classes.",
            f"The labels go up to {count - 1}.",
            "Name every class, one a line.",
        )
    return names


def _mapped(tree: Tree, listed: str) -> tuple[str, ...]:
    """The first character of each label; "N/A" for labels without one, as the 0 of EMNIST's letters."""
    try:
        rows = [[int(part) for part in line.split()] for _, line in tree.lines(listed)]
        characters = {row[0]: chr(row[1]) for row in rows}
    except (ValueError, IndexError) as error:
        raise DataError(
            f"{tree.path(listed)} is no mapping ({error}).",
            "A label and the codes of its characters were expected on each line, such as '10 65'.",
            "Fetch it again, or name the classes in classes.txt, one a line.",
        ) from error
    return tuple(characters.get(label, "N/A") for label in range(max(characters, default=-1) + 1))
