"""`lamina check`: JPEGs of 224 px a second on one and two threads beside decoding alone, and near duplicates among 70,000 digits.

    python benchmarks/check.py
    python benchmarks/check.py --pictures 500 --digits 20000 --files 0

Made-up photos (waves and noise, quality 90) in a folder of their own are checked with all that the check looks at, then only
decoded by Pillow on as many threads; seconds of the processor say what a machine at rest would take. Near duplicates: the time
to make 70,000 hashes of MNIST, to find all pairs of distinct hashes within 4 bits, and the same by comparing all with all.
Memory: a folder of so many files without a picture in them (`--files`), as the largest growth of this process (Linux).
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lamina import data
from lamina.data.checking.perceptual import hashes, near_pairs
from lamina.data.checking.pictures import seen_in_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--digits", type=int, default=70_000)
    parser.add_argument("--files", type=int, default=100_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        photos(Path(folder), asked.pictures)
    digits(asked.digits)
    if asked.files:
        with tempfile.TemporaryDirectory() as folder:
            files(Path(folder), asked.files)


def photos(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        (folder / f"class{index % 2}").mkdir(exist_ok=True)
        rough = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        waves = np.asarray(rough.resize((224, 224), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (waves + rng.integers(-20, 21, waves.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"class{index % 2}/{index}.jpg", quality=90)
    opened = data.open(folder)
    assert isinstance(opened.train, data.FolderDataset)
    names = [str(path) for path in opened.train.paths]
    print(f"{count:,} JPEGs of 224 px, {sum(Path(name).stat().st_size for name in names) / count / 1000:.0f} kB each")

    def decoded(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda name: Image.open(io.BytesIO(Path(name).read_bytes())).load(), names))

    for threads in (1, 2):
        timed(f"check, {threads} threads", count, lambda: data.check(opened, threads=threads))  # noqa: B023
        timed(f"decoding alone, {threads} threads", count, lambda: decoded(threads))  # noqa: B023


def timed(what: str, count: int, act: Callable[[], object]) -> None:
    began, busy = time.perf_counter(), time.process_time()
    act()
    wall, busy = time.perf_counter() - began, time.process_time() - busy
    print(f"{what:28s} {count / wall:8.0f} pictures/s, {1000 * busy / count:.2f} ms of the processor each")


def digits(count: int) -> None:
    splits = data.load("mnist")
    assert splits.train is not None
    assert splits.test is not None
    images = torch.cat([splits.train.images, splits.test.images])[:count]
    began = time.perf_counter()
    parts = []
    for first in range(0, len(images), 1000):
        greys = [seen.grey for seen in seen_in_memory(images[first : first + 1000])]
        parts.append(hashes(np.stack([grey for grey in greys if grey is not None]))[0])
    distinct = np.unique(np.concatenate(parts))
    hashed = time.perf_counter() - began
    began = time.perf_counter()
    found = sum(len(one) for one, _ in near_pairs(distinct))
    searched = time.perf_counter() - began
    began = time.perf_counter()
    expected = sum(
        int((np.bitwise_count(distinct[row] ^ distinct[row + 1 :]) <= 4).sum()) for row in range(len(distinct))
    )
    compared = time.perf_counter() - began
    assert found == expected, (found, expected)
    print(f"{len(images):,} MNIST digits, {len(distinct):,} distinct hashes, {found:,} pairs within 4 bits")
    print(f"hashes {hashed:.1f} s, search {searched:.2f} s, all with all {compared:.1f} s, the same pairs")
    began = time.perf_counter()
    report = data.check(splits)
    print(f"the whole check of MNIST {time.perf_counter() - began:.1f} s: {report.headline}")


def files(folder: Path, count: int) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
    for index in range(count):
        (folder / "ab"[index % 2] / f"{index:07d}.jpg").write_bytes(b"" if index % 10 else b"x")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    report = data.check(folder)
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{count:,} files without a picture: {seconds:.1f} s, at most {grown:.0f} MiB more; {report.headline}")


if __name__ == "__main__":
    main()
