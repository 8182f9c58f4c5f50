"""MNIST, all 70,000 handwritten digits: LeCun, Cortes & Burges 1998, CC BY-SA 3.0 (MNIST-LICENSE.txt).

mnist.xz is a row of independent xz streams; `xz -dc mnist.xz` gives the four original IDX files one after the other.
Several, because decoding takes most of the loading time, and lzma lets threads decode streams side by side.
"""

from __future__ import annotations

import lzma
import os
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

from lamina.core.errors import DataError
from lamina.data.dataset import ImageDataset
from lamina.data.formats import idx
from lamina.data.splits import Splits

# name, size in bytes, MD5; in the order in which mnist.xz holds them.
FILES = (
    ("train-images-idx3-ubyte", 47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    ("train-labels-idx1-ubyte", 60_008, "a25bea736e30d166cdddb491f175f624"),
    ("t10k-images-idx3-ubyte", 7_840_016, "2646ac647ad5339dbf082846283269ea"),
    ("t10k-labels-idx1-ubyte", 10_008, "27ae3e4e09519cfbb04c329615203637"),
)
CLASSES = tuple("0123456789")
LICENCE = "CC BY-SA 3.0, Yann LeCun, Corinna Cortes, Christopher J.C. Burges"
# The end of one xz stream and the start of the next; 64 bits that occur nowhere else in the file (a test counts them).
_SEAM = b"YZ\xfd7zXZ\x00"


def load() -> Splits[ImageDataset]:
    """The 60,000 training and 10,000 test digits, 28 x 28, grey, uint8 N 1 28 28, with labels 0..9."""
    files = idx_files()
    sets = {}
    for split in ("train", "t10k"):
        images, labels = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
        pixels = idx.images_from(files[images], images)
        sets[split] = ImageDataset(pixels, idx.labels_from(files[labels], labels), CLASSES, name="mnist")
    return Splits(sets["train"], sets["t10k"], name="mnist", licence=LICENCE)


def idx_files() -> dict[str, memoryview]:
    """The four original files by name, bit for bit. Raises DataError where the package's copy is damaged."""
    packed = resources.files("lamina.data.datasets").joinpath("mnist.xz").read_bytes()
    total = sum(size for _, size, _ in FILES)
    content, filled = memoryview(bytearray(total)), 0  # written once, and never copied on the way to the tensors
    try:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for piece in pool.map(lzma.decompress, streams(packed)):
                content[filled : filled + len(piece)] = piece
                filled += len(piece)
    except (lzma.LZMAError, ValueError) as error:  # ValueError: more came out than fits
        raise _damaged(str(error)) from error
    if filled != total:
        raise _damaged(f"{filled} bytes came out")
    files, start = {}, 0
    for name, size, _ in FILES:
        files[name] = content[start : start + size]
        start += size
    return files


def streams(packed: bytes) -> list[bytes]:
    """The independent xz streams of a file that holds several, in order."""
    pieces = packed.split(_SEAM)
    heads = [b""] + [_SEAM[2:]] * (len(pieces) - 1)
    tails = [_SEAM[:2]] * (len(pieces) - 1) + [b""]
    return [head + piece + tail for head, piece, tail in zip(heads, pieces, tails, strict=True)]


def _damaged(what: str) -> DataError:
    return DataError(
        f"The MNIST file of this installation cannot be unpacked ({what}).",
        "It holds four xz streams that unpack to 54,950,048 bytes.",
        "Install the package again: pip install --force-reinstall lamina",
    )
