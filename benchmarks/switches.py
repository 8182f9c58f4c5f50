"""What each choice of the runtime is worth: DeepConvNet steps with it and without it, on two cores.

    python benchmarks/switches.py                 7 pairs for each switch
    python benchmarks/switches.py --pairs 3 --only channels_last fused

A pair is a run with the switch and one without, one right after the other, each in a fresh process (what the allocator was
told holds for a whole process). The ratio is the time without it over the time with it: above 1 it pays.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

BATCH_SIZE, STEPS, EPOCHS, THREADS = 128, 25, 3, 2

# With the switch and without it; what is not named stands at its default. Names in capitals are environment variables.
SWITCHES = {
    "channels_last": ({}, {"channels_last": False}),
    "fused": ({}, {"fused": False}),
    "keep_memory": ({}, {"keep_memory": False}),
    "compile": ({"compile": True}, {}),
    "bfloat16": ({"precision": "bfloat16"}, {"precision": "float32"}),
    "kernels": ({}, {"LAMINA_KERNELS": "0"}),
}


def run(settings: dict[str, object]) -> None:
    """One process: milliseconds a step, the median of the epochs after the first, as JSON."""
    import torch

    from lamina import models, networks, optimizers
    from lamina.training import Callback, Runtime

    class Marks(Callback):
        def __init__(self) -> None:
            self.marks: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
            self.marks.append(time.perf_counter())

        def on_train_end(self, logs: Mapping[str, float]) -> None:
            self.marks.append(time.perf_counter())

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    x = torch.rand(STEPS * BATCH_SIZE, 1, 28, 28)
    y = torch.randint(0, 10, (STEPS * BATCH_SIZE,))
    model = models.Model(networks.create("deepconvnet", in_channels=1))
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizers.Adam(learning_rate=0.001), loss, ["accuracy"], runtime=Runtime("cpu", **settings))
    marks = Marks()
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0, callbacks=[marks])
    times = [(after - before) / STEPS for before, after in zip(marks.marks[1:], marks.marks[2:], strict=False)]
    print(json.dumps(1e3 * statistics.median(times)))


def measure(settings: dict[str, object]) -> float:
    variables = {name: str(value) for name, value in settings.items() if name.isupper()}
    rest = {name: value for name, value in settings.items() if name not in variables}
    command = [sys.executable, __file__, "--one", json.dumps(rest)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), **variables}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(told.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(SWITCHES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        run(json.loads(asked.one))
        return
    import torch

    from lamina.training.runtime import has_bfloat16

    print("| switch | with it, ms a step | without, ms | ratio | least | greatest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (on, off) in SWITCHES.items():
        if asked.only and name not in asked.only:
            continue
        if name == "bfloat16" and not has_bfloat16(torch.device("cpu")):
            continue  # emulated: ten times slower, and never chosen
        pairs = [(measure(on), measure(off)) for _ in range(asked.pairs)]
        ratios = [without / with_it for with_it, without in pairs]
        on_ms, off_ms = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"| {name} | {on_ms:.1f} | {off_ms:.1f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} | {max(ratios):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
