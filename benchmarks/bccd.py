"""BCCD: trains a recipe's detector with one seed, and prints COCO's numbers and the table of its classes.

    LAMINA_DATA=... python benchmarks/bccd.py --seed 0              resumable: the same command goes on where it stopped
    LAMINA_DATA=... python benchmarks/bccd.py --held-out            measures on the validation pictures, and writes nothing

Each reading of the 72 test pictures is written to test_evaluations.csv; its accuracy there is AP50. `--epochs` is for trying.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from readings import log

from lamina import data, recipes

AT_HAND = Path(os.environ.get("LAMINA_DATA", "."))
WEIGHTS = AT_HAND / "weights" / "mobilenet_v2_features_bn.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--held-out", action="store_true", help="measure on the validation pictures")
    parser.add_argument("--run", help="the run's folder; runs/NAME_SEED where nobody says")
    asked = parser.parse_args()
    recipe = recipes.bccd_retinanet()
    splits = data.open(AT_HAND / "bccd" / "bccd_voc.zip")
    run = asked.run or f"runs/{recipe.name}_{asked.seed}"
    begun = time.perf_counter()
    detector = recipe.fit(
        splits.train,
        validation_data=splits.validation,
        pretrained=WEIGHTS,
        seed=asked.seed,
        epochs=asked.epochs,
        run=run,
        resume=True,
        verbose=2,
    )
    seconds = time.perf_counter() - begun
    measured = splits.validation if asked.held_out else splits.test
    detector.predict(measured.limit(2))  # chooses an engine
    begun = time.perf_counter()
    detector.predict(measured)
    picture_s = (time.perf_counter() - begun) / len(measured)
    scores = detector.scores(measured)
    print(scores)
    print(
        f"{recipe.name}, seed {asked.seed}: AP {scores['AP']:.4f}, AP50 {scores['AP50']:.4f} on {len(measured)} pictures; "
        f"{seconds:.0f} s of training in this call, {1000 * picture_s:.0f} ms a picture, {torch.get_num_threads()} threads"
    )
    if not asked.held_out and asked.epochs is None:
        log(recipe.name, asked.seed, scores["AP50"], len(measured), seconds, detector.runtime.precision)


if __name__ == "__main__":
    main()
