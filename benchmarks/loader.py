"""JPEG folder to batches of 224 px: ours, decoding alone, and torchvision's ImageFolder, in images a second.

    python benchmarks/loader.py FOLDER                    5 rounds with one worker and with two
    python benchmarks/loader.py FOLDER --rounds 9 --pictures 2000 --side 400 --workers 1 2 4

Pictures of FOLDER, at any depth, are scaled until their shorter side is `--side` px where they are larger, saved as JPEG
(quality 90), and repeated until there are `--pictures` of them, in a temporary folder. In each round everybody makes one pass
over all of it, one after the other; the table has medians of the rounds. Everybody's processes run before the clock starts.

    decoding alone   the faster of Pillow and torchvision.io, files to pixels of full size, thrown away
    ours             Preprocess(crop=0.875): the shorter side to 256, the middle 224 px; uint8 batches
    from cache       ours, a later epoch of `FolderDataset.cached`
    threads          ours, decoded by as many threads of this process: why the workers are processes
    torchvision      ImageFolder, Resize(256), CenterCrop(224), ToTensor, DataLoader
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision.io
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from lamina import Preprocess, data
from lamina.data import FolderDataset, WorkerBatches
from lamina.training import Runtime

BATCH_SIZE = 64
PREPROCESS = Preprocess(size=(224, 224), crop=0.875)


def main() -> None:
    asked = options()
    torch.set_num_threads(1)
    Runtime(device="cpu")  # as `fit` makes one: freed memory is kept, here and in everybody's workers
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "pictures")
        size = make(asked.folder, folder, count=asked.pictures, side=asked.side)
        print(
            f"{asked.pictures:,} JPEGs, {size}; {os.cpu_count()} cores, {platform.machine()}, {platform.system()}, ",
            end="",
        )
        print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}.\n")
        print(
            "| workers | decoding alone | ours | ratio | torchvision | ours over it | threads | from cache | over torchvision |"
        )
        print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for workers in asked.workers:
            print(row(folder, Path(made), workers, asked.rounds), flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=768)
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


def make(source: Path, folder: Path, *, count: int, side: int) -> str:
    """Fills the folder, half of it for each of two classes; returns the mean size."""
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"{source} holds no JPEGs.")
    for label in "ab":
        (folder / label).mkdir(parents=True)
    sizes, made = [], []
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        if number < len(found):
            with Image.open(found[number]) as opened:
                picture = opened.convert("RGB")
            scale = min(1.0, side / min(picture.size))
            picture = picture.resize(
                (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
            )
            picture.save(path, quality=90)
            sizes.append(picture.size)
            made.append(path)
        else:
            shutil.copy(made[number % len(made)], path)
    wide, high = (statistics.mean(size[axis] for size in sizes) for axis in (0, 1))
    return f"{wide:.0f} x {high:.0f} px and {sum(path.stat().st_size for path in made) / len(made) / 1000:.0f} kB on average"


def row(folder: Path, scratch: Path, workers: int, rounds: int) -> str:
    opened = data.open(folder).train
    assert isinstance(opened, FolderDataset)
    ours = WorkerBatches(opened.prepared(PREPROCESS), BATCH_SIZE, shuffle=True, workers=workers)
    kept = opened.cached(scratch / f"{workers}.cache").prepared(PREPROCESS)
    cached = WorkerBatches(kept, BATCH_SIZE, shuffle=True, workers=workers)
    dataset = ImageFolder(
        str(folder), transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    )
    theirs = torch.utils.data.DataLoader(
        dataset, BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=True
    )
    paths = [str(path) for path in opened.paths]
    parts = [paths[number::workers] for number in range(workers)]
    epochs = iter(range(10**6))
    with multiprocessing.get_context("fork").Pool(workers) as pool, ThreadPoolExecutor(workers) as threads:
        everybody: dict[str, Callable[[], Any]] = {
            "pillow": lambda: pool.map(with_pillow, parts, chunksize=1),
            "torchvision.io": lambda: pool.map(with_torchvision, parts, chunksize=1),
            "ours": lambda: exhaust(ours.epoch(next(epochs))),
            "torchvision": lambda: exhaust(theirs),
            "threads": lambda: exhaust(threads.map(PREPROCESS.host_last, paths)),
            "cached": lambda: exhaust(cached.epoch(next(epochs))),
        }
        seconds: dict[str, list[float]] = {name: [] for name in everybody}
        for number in range(rounds + 1):  # the first one starts processes, and fills the cache
            for name, work in everybody.items():
                began = time.perf_counter()
                work()
                if number:
                    seconds[name].append(time.perf_counter() - began)
    ours.close()
    cached.close()
    speed = {name: len(paths) / statistics.median(times) for name, times in seconds.items()}
    alone = max(speed["pillow"], speed["torchvision.io"])
    return (
        f"| {workers} | {alone:,.0f} | {speed['ours']:,.0f} | {speed['ours'] / alone:.2f} | {speed['torchvision']:,.0f} "
        f"| {speed['ours'] / speed['torchvision']:.2f} | {speed['threads']:,.0f} "
        f"| {speed['cached']:,.0f} | {speed['cached'] / speed['torchvision']:.1f} |"
    )


def exhaust(batches: Any) -> None:
    for _ in batches:
        pass


def with_pillow(paths: list[str]) -> None:
    for path in paths:
        with Image.open(path) as opened:
            opened.load()


def with_torchvision(paths: list[str]) -> None:
    torch.set_num_threads(1)
    for path in paths:
        torch.ops.image.decode_jpeg(torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=torch.uint8), 3, False)


if __name__ == "__main__":
    main()
