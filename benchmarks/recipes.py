"""Runs a recipe with several seeds on its own data: n, mean and standard deviation of the test accuracy, and the seconds.

    python benchmarks/recipes.py mnist_fast --seeds 5

Every reading of the test set is written to test_evaluations.csv. `--held-out` measures on 10,000 digits held out of the
training set instead: that is what settings are chosen on. `--jpeg`: the JPEG copy of CIFAR-10, as for cifar10_plain.py.
"""

from __future__ import annotations

import argparse
import statistics
import time

import cifar10_plain
import torch
from readings import log

from lamina import data, recipes
from lamina.data.datasets.cifar10 import CLASSES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=recipes.names())
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="measure on held-out training digits")
    parser.add_argument("--jpeg", action="store_true", help="CIFAR-10 from its JPEG copy")
    told = parser.parse_args()
    recipe = recipes.get(told.recipe)
    splits = _jpeg_copy() if told.jpeg else data.load(recipe.data)
    train, test = (splits.train, splits.test) if not told.held_out else splits.train.split(1 / 6, seed=0)
    rows = []
    for seed in range(told.first_seed, told.first_seed + told.seeds):
        start, start_cpu = time.perf_counter(), time.process_time()
        classifier = recipe.fit(train, seed=seed, verbose=0)
        seconds, of_cpu = time.perf_counter() - start, time.process_time() - start_cpu
        accuracy = classifier.evaluate(test)["accuracy"]
        rows.append((accuracy, seconds))
        print(f"seed {seed}: {100 * accuracy:.2f} % in {seconds:.1f} s ({of_cpu:.1f} of CPU)", flush=True)
        if not told.held_out:
            log(recipe.name, seed, accuracy, len(test), seconds, classifier.runtime.precision)
    accuracies = [100 * accuracy for accuracy, _ in rows]
    spread = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
    print(
        f"{recipe.name}: {statistics.mean(accuracies):.3f} +- {spread:.3f} %, n = {len(rows)}, "
        f"median {statistics.median(seconds for _, seconds in rows):.1f} s of training"
    )


def _jpeg_copy() -> data.Splits:
    parts = []
    for name in ("train", "test"):
        images, labels = cifar10_plain.decoded(name)
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        parts.append(data.ImageDataset(pictures, torch.from_numpy(labels), CLASSES, name="cifar10"))
    return data.Splits(*parts, name="cifar10")


if __name__ == "__main__":
    main()
