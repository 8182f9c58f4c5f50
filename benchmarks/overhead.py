"""What `fit` costs the host per step, in microseconds over a bare loop on a tiny MLP; and whether memory stays flat.

    python benchmarks/overhead.py

Epochs of the bare loop and of `fit` take turns in one process, on the same network, data and fused Adam; the figure is
the median of the differences. Memory is the process's resident size between epochs of `fit`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina import models, optimizers
from lamina.training import Callback

STEPS, BATCH_SIZE, ROUNDS = 500, 32, 22
MEMORY_FROM = 11  # rounds until the allocator has what it wants; the 5,000 steps after them are watched


def tiny() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


class Bare:
    """The loop that a person writes who wants nothing but speed."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.net = x, y, tiny()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.001, fused=True)

    def epoch(self) -> None:
        for rows in torch.randperm(len(self.x)).split(BATCH_SIZE):
            loss = F.cross_entropy(self.net(self.x[rows]), self.y[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


class Turns(Callback):
    """Times each epoch of `fit`, and lets the bare loop run between them."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.fit_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.resident: list[int] = []
        self.begin = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        start = time.perf_counter()
        self.bare.epoch()
        self.begin = time.perf_counter()
        self.bare_seconds.append(self.begin - start)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.fit_seconds.append(time.perf_counter() - self.begin)
        self.resident.append(resident_bytes())


def resident_bytes() -> int:
    """Memory of this process that lies in RAM; its greatest so far where the system does not tell."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(metrics: list[str]) -> Turns:
    torch.set_num_threads(1)  # nothing here is large enough to share, and idle threads would only be in the way
    x, y = torch.randn(STEPS * BATCH_SIZE, 16), torch.randint(0, 4, (STEPS * BATCH_SIZE,))
    turns = Turns(Bare(x, y))
    model = models.Model(tiny())
    model.compile(
        optimizer=optimizers.Adam(learning_rate=0.001),
        loss="sparse_categorical_crossentropy",
        metrics=metrics,
        precision="float32",
    )
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=ROUNDS, verbose=0, callbacks=[turns])
    return turns


def main() -> None:
    print(
        f"Host overhead of `fit`, MLP 16-16-4, batch {BATCH_SIZE}: medians of {ROUNDS - 1} epochs of {STEPS} steps.\n"
    )
    print("| metrics | bare loop, us a step | fit, us a step | overhead, us |")
    print("| --- | ---: | ---: | ---: |")
    for metrics in ([], ["accuracy"]):
        turns = measure(metrics)
        bare = [seconds / STEPS * 1e6 for seconds in turns.bare_seconds[1:]]
        fit = [seconds / STEPS * 1e6 for seconds in turns.fit_seconds[1:]]
        over = statistics.median(ours - theirs for ours, theirs in zip(fit, bare, strict=True))
        name = ", ".join(metrics) or "none"
        print(f"| {name} | {statistics.median(bare):.0f} | {statistics.median(fit):.0f} | {over:.0f} |")
    before, after = turns.resident[MEMORY_FROM], turns.resident[-1]
    steps = (ROUNDS - 1 - MEMORY_FROM) * STEPS
    print(f"\nMemory over {steps:,} steps: {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after.")


if __name__ == "__main__":
    main()
