"""What trainings of detectors and segmenters by recipe share: their arguments, data and weights, and the training itself."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from lamina import data
from lamina.recipes.annotated import AnnotatedRecipe

AT_HAND = Path(os.environ.get("LAMINA_DATA", "."))
WEIGHTS = AT_HAND / "weights" / "mobilenet_v2_features_bn.npz"


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Arguments that say which training is meant."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--held-out", action="store_true", help="measure on the validation pictures")
    parser.add_argument("--run", help="the run's folder; runs/RECIPE_SEED where nobody says")
    return parser


def trained(recipe: AnnotatedRecipe[Any], path: str, asked: argparse.Namespace) -> tuple[Any, Any, float]:
    """The recipe's model, trained on the data at `path` or taken up where it stopped, the pictures to measure it on, and the seconds."""
    splits = data.open(AT_HAND / path)
    begun = time.perf_counter()
    model = recipe.fit(
        splits.train,
        validation_data=splits.validation,
        pretrained=WEIGHTS,
        seed=asked.seed,
        epochs=asked.epochs,
        run=asked.run or f"runs/{recipe.name}_{asked.seed}",
        resume=True,
        verbose=2,
    )
    return model, splits.validation if asked.held_out else splits.test, time.perf_counter() - begun
