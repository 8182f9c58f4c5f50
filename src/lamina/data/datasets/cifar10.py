"""CIFAR-10: 60,000 colour pictures of 32 x 32 in ten classes (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images").

Fetched once, 170 MB, from its author's page, and checked by the MD5 that is published there.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path

from lamina.core.download import download
from lamina.core.errors import DataError
from lamina.data.dataset import ImageDataset
from lamina.data.formats import cifar_binary
from lamina.data.splits import Splits

URLS = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)
DIGEST = "md5:c32a1d4ab5d03f1284b67883e8d87530"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LICENCE = (
    "no formal licence; free with citation: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
)
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)


def load() -> Splits[ImageDataset]:
    """The 50,000 training and 10,000 test pictures, uint8 N 3 32 32, with labels 0..9; fetched where they are not at hand.

    Raises DownloadError, and DataError for an archive of another layout.
    """
    name = URLS[0].rpartition("/")[2]
    path = download(URLS, name=name, digest=DIGEST, folder="datasets", licence=LICENCE)
    content = _unpacked(path)
    missing = [name for name in (*TRAIN, *TEST) if name not in content]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}.",
            "The six batches of CIFAR-10's binary version were expected.",
            "Delete the file, so that it is fetched again.",
        )
    train, test = ([content[name] for name in names] for names in (TRAIN, TEST))
    return Splits(_data_set(train, path), _data_set(test, path), name="cifar10", licence=LICENCE)


def _unpacked(path: Path) -> dict[str, memoryview]:
    """The files of the archive by their names without folders."""
    try:
        content = gzip.decompress(
            path.read_bytes()
        )  # at once: in half the time that tarfile takes, which asks for 10 kB each
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files = [member for member in archive if member.isfile()]
        view = memoryview(content)
        return {file.name.rpartition("/")[2]: view[file.offset_data : file.offset_data + file.size] for file in files}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be unpacked ({error}).",
            "A whole .tar.gz was expected.",
            "Delete the file, so that it is fetched again.",
        ) from error


def _data_set(batches: list[memoryview], path: Path) -> ImageDataset:
    images, labels = cifar_binary.records((f"A batch in {path}", batch) for batch in batches)
    return ImageDataset(images, labels[:, 0], CLASSES, name="cifar10")
