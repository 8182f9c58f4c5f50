"""BCCD: trains a recipe's detector with one seed, and prints COCO's numbers and the table of its classes.

    LAMINA_DATA=... python benchmarks/bccd.py --seed 0              resumable: the same command goes on where it stopped
    LAMINA_DATA=... python benchmarks/bccd.py --held-out            measures on the validation pictures, and writes nothing

Each reading of the 72 test pictures is written to test_evaluations.csv; its accuracy there is AP50. `--epochs` is for trying.
"""

from __future__ import annotations

import time

import torch
from at_hand import parser_of, trained
from readings import log

from lamina import recipes


def main() -> None:
    asked = parser_of(__doc__).parse_args()
    recipe = recipes.bccd_retinanet()
    detector, measured, seconds = trained(recipe, "bccd/bccd_voc.zip", asked)
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
