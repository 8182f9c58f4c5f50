"""The index of five million pictures: how much memory grows while workers go through it once. Nothing is decoded.

    python benchmarks/index.py
    python benchmarks/index.py --rows 1000000 --workers 2

A FolderDataset of made-up names is handed to WorkerBatches with forked workers; a stand-in for `picture` asks for the name
and gives one grey pixel. Memory is the sum over this process and its workers of their proportional set sizes
(/proc/PID/smaps_rollup: a page that n processes share counts 1/n in each), after the first batches and after the epoch. Pages
of files are left out: they are libraries, which other programs of the machine share more or less of.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from torch import Tensor

from lamina import Preprocess
from lamina.data import FolderDataset, WorkerBatches

BATCH_SIZE = 4096
FIRST = 0.02  # of the batches, after which memory is taken for settled
MOST = 0.05


class Standing(FolderDataset):
    """Pictures that need no files."""

    def picture(self, index: int) -> Tensor:
        assert len(self.paths.name(index)) == len("/data/photos/class000/00000000.jpg")
        return torch.zeros(1, 1, 1, dtype=torch.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--workers", type=int, default=8)
    asked = parser.parse_args()
    names = [f"/data/photos/class{row % 1000:03d}/{row:08d}.jpg" for row in range(asked.rows)]
    labels = torch.arange(asked.rows) % 1000
    preprocess = Preprocess(channels=1, size=(1, 1))
    dataset = Standing(
        names, labels, [f"class{c:03d}" for c in range(1000)], root="/data/photos", preprocess=preprocess
    )
    del names
    batches = WorkerBatches(dataset, BATCH_SIZE, shuffle=True, workers=asked.workers)
    began, before = time.perf_counter(), {}
    for number, _ in enumerate(batches.epoch(0)):
        if number == int(FIRST * len(batches)):
            before = memory()
    after = memory()
    seconds = time.perf_counter() - began
    batches.close()
    first, last = sum(before.values()), sum(after.values())
    print(f"{asked.rows:,} rows, {asked.workers} workers, {seconds:.0f} s an epoch")
    print(
        f"all {len(after)} processes: {first / 2**20:,.0f} MiB, after the epoch {last / 2**20:,.0f} MiB, {last / first - 1:+.1%}"
    )
    if last > first * (1 + MOST):
        raise SystemExit(f"Memory grew by more than {MOST:.0%}.")


def memory() -> dict[int, int]:
    """Proportional bytes of this process and each of its children."""
    return {process: proportional(process) for process in [os.getpid(), *children()]}


def children() -> list[int]:
    return [int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def proportional(process: int) -> int:
    total = 0
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
            total += int(line.split()[1]) * 1024
    return total


if __name__ == "__main__":
    main()
