"""What every peer does alike: the same digits, two cores, seconds per epoch after the first, one JSON line.

A peer gives `run` a function

    train(images, labels, epochs, ended) -> predict

that trains DeepConvNet on `images` (float32 in 0..1, N 28 28) and `labels` (int64, N) for `epochs` epochs in batches of
128, calls `ended()` after each, and returns predict(images) -> class numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

BATCH_SIZE = 128
LEARNING_RATE = 0.001
THREADS = 2
STEPS_PER_EPOCH = 469  # 60,000 digits in batches of 128
DATA = Path(__file__).parents[1] / ".peers" / "data"


def limit_to_two_cores() -> None:
    """Called before any framework is imported: their thread pools count the cores that they may use."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


limit_to_two_cores()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, help="steps of a shortened epoch; all 469 without it")
    parser.add_argument("--epochs", type=int, default=2, help="epochs in all; the first is not counted")
    parser.add_argument("--precision", default="default", choices=["default", "float32", "bfloat16"])
    parser.add_argument("--accuracy", action="store_true", help="measure accuracy on the test digits at the end")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


OPTIONS = options()


def run(train: Callable[..., Callable[[Any], Any]], *packages: str) -> None:
    """Trains, and prints the JSON line. `packages` are the distributions whose versions are worth noting."""
    import numpy as np

    count = OPTIONS.steps * BATCH_SIZE if OPTIONS.steps else 60_000
    images = np.load(DATA / "x_train.npy")[:count].astype(np.float32) / np.float32(255)
    labels = np.load(DATA / "y_train.npy")[:count].astype(np.int64)
    marks = [time.perf_counter()]
    predict = train(images, labels, OPTIONS.epochs, lambda: marks.append(time.perf_counter()))
    epochs = [after - before for before, after in pairwise(marks)]
    if len(epochs) != OPTIONS.epochs:
        sys.exit(f"{len(epochs)} epochs were reported, not {OPTIONS.epochs}")
    steps = -(-count // BATCH_SIZE)
    result: dict[str, Any] = {
        "peer": Path(sys.argv[0]).stem,
        "precision": OPTIONS.precision,
        "seconds_per_epoch": statistics.median(epochs[1:]) * STEPS_PER_EPOCH / steps,
        "measured_steps": steps,
        "measured_epochs": len(epochs) - 1,
        "versions": {name: version(name) for name in packages},
    }
    if OPTIONS.accuracy:
        digits = np.load(DATA / "x_test.npy").astype(np.float32) / np.float32(255)
        answers = np.asarray(predict(digits))
        result["accuracy"] = float((answers == np.load(DATA / "y_test.npy")).mean())
    print(json.dumps(result), flush=True)
