"""JPEGs in shards: samples a second as bytes and as batches of 224 px, ours beside the webdataset package, and a folder of files.

    pip install webdataset
    python benchmarks/shards.py FOLDER --pictures 1500 --workers 2 --rounds 5

Pictures of FOLDER, at any depth, are saved as JPEG (quality 90, shorter side 256 px) and repeated until there are `--pictures`; they are
written as shards of 500 samples. In each round everybody makes one pass over all of it in this machine's page cache, one after the
other; the table has medians of the rounds. Workers live before the clock starts.

    bytes        one process, nothing is decoded: ours by the index in a random order, nearby, and as a stream; webdataset as its tars
                 have them
    batches      decoded, the middle 224 px, batches of 64 uint8 (ours) or float (webdataset, Resize(256), CenterCrop, ToTensor)
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from lamina import Preprocess, data
from lamina.core import random
from lamina.data import FolderDataset, WorkerBatches, archive, tar_stream
from lamina.data.formats.image_folder import picture_files
from lamina.data.shards import write_shards
from lamina.data.tar_bytes import Stop

BATCH_SIZE, PER_SHARD, NEARBY = 64, 500, 200
PREPROCESS = Preprocess(size=(224, 224), crop=0.875)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        files = make(asked.folder, Path(made, "files"), asked.pictures)
        began = time.perf_counter()
        write_shards(files, Path(made, "shards"), samples_per_shard=PER_SHARD)
        print(f"written: {asked.pictures / (time.perf_counter() - began):,.0f} samples/s")
        shards = data.open(Path(made, "shards")).train
        passes = {**reading(files, shards, Path(made)), **batching(files, shards, Path(made), asked.workers)}
        rates: dict[str, list[float]] = {name: [] for name in passes}
        for _ in range(asked.rounds):
            for name, one_pass in passes.items():
                rates[name].append(asked.pictures / one_pass())
    print(f"| {asked.pictures:,} JPEGs, {asked.workers} workers for batches | samples/s |\n| --- | ---: |")
    for name, several in rates.items():
        print(f"| {name} | {statistics.median(several):,.0f} |")


def make(source: Path, folder: Path, count: int) -> FolderDataset:
    """The pictures, in two folders by turns."""
    originals, paths = picture_files(source), []
    for number in range(count):
        path = folder / str(number % 2) / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < len(originals):
            with Image.open(originals[number]) as opened:
                scale = 256 / min(opened.size)
                opened.convert("RGB").resize([round(side * scale) for side in opened.size]).save(path, quality=90)
        else:
            path.write_bytes(paths[number % len(originals)].read_bytes())
        paths.append(path)
    return FolderDataset(paths, [number % 2 for number in range(count)], ("0", "1"), root=folder)


def timed(one_pass: Callable[[], int], expected: int) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        seen = one_pass()
        assert seen == expected, (seen, expected)
        return time.perf_counter() - began

    return run


def tars(made: Path) -> list[str]:
    return sorted(map(str, (made / "shards" / "train").glob("*.tar")))


def reading(files: FolderDataset, shards: FolderDataset, made: Path) -> dict[str, Callable[[], float]]:
    """Passes over the bytes."""

    def through(dataset: FolderDataset, order: torch.Tensor) -> int:
        return sum(bool(archive.read_bytes(dataset.paths.name(row))) for row in order.tolist())

    count = len(files)
    passes = {
        "bytes, a folder of files": timed(lambda: through(files, random.order(0, count)), count),
        "bytes, our shards": timed(lambda: through(shards, random.order(0, count)), count),
        "bytes, our shards, nearby": timed(lambda: through(shards, random.order_nearby(0, count, NEARBY)), count),
        "bytes, our stream": timed(
            lambda: sum(1 for place in tars(made) for _ in tar_stream.samples(place, Stop())), count
        ),
    }
    wds = package()
    if wds is not None:
        passes["bytes, webdataset"] = timed(
            lambda: sum(1 for _ in wds.WebDataset(tars(made), shardshuffle=False).shuffle(NEARBY)), count
        )
    return passes


def batching(files: FolderDataset, shards: FolderDataset, made: Path, workers: int) -> dict[str, Callable[[], float]]:
    """Passes over decoded batches."""
    count, epochs = len(files), iter(range(1, 1_000_000))

    def ours(dataset: FolderDataset, shuffle: bool | int) -> Callable[[], float]:
        batches = WorkerBatches(dataset.prepared(PREPROCESS), BATCH_SIZE, shuffle=shuffle, workers=workers)
        next(batches.epoch(0))  # the workers live
        return timed(lambda: sum(len(batch.targets) for batch in batches.epoch(next(epochs))), count)  # type: ignore[arg-type]

    def streamed() -> Callable[[], float]:
        train = made / "shards" / "train"
        batches = data.stream(train, PREPROCESS, batch_size=BATCH_SIZE, shuffle=NEARBY, workers=workers)
        sum(1 for _ in batches.epoch(0))  # the workers live, and stay
        return timed(lambda: sum(len(batch.targets) for batch in batches.epoch(next(epochs))), count)  # type: ignore[arg-type]

    passes = {
        "batches, a folder of files": ours(files, True),
        "batches, our shards": ours(shards, True),
        "batches, our shards, nearby": ours(shards, NEARBY),
        "batches, our stream": streamed(),
    }
    wds = package()
    if wds is not None:
        change = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
        theirs = wds.WebDataset(tars(made), shardshuffle=10).shuffle(NEARBY).decode("pil").to_tuple("jpg", "cls")
        theirs = theirs.map_tuple(change, int).batched(BATCH_SIZE)
        loader = torch.utils.data.DataLoader(
            theirs, batch_size=None, num_workers=workers, persistent_workers=workers > 0
        )
        next(iter(loader))
        passes["batches, webdataset"] = timed(lambda: sum(len(labels) for _, labels in loader), count)
    return passes


def package() -> Any:
    try:
        return importlib.import_module("webdataset")
    except ImportError:
        return None


if __name__ == "__main__":
    main()
