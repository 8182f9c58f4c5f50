"""The list of all readings of test sets, test_evaluations.csv: whoever measures on a test set writes a row."""

from __future__ import annotations

import csv
import datetime
import subprocess
from pathlib import Path

import torch

LOG = Path(__file__).parent / "test_evaluations.csv"
FIELDS = ("date", "commit", "recipe", "seed", "accuracy", "mistakes", "seconds", "threads", "precision")


def log(recipe: str, seed: int, accuracy: float, count: int, seconds: float, precision: str) -> None:
    """One reading: the share of `count` test pictures that were right, and the seconds of training."""
    told = {"date": datetime.date.today().isoformat(), "commit": commit(), "recipe": recipe, "seed": seed}
    told |= {"accuracy": f"{accuracy:.4f}", "mistakes": round((1 - accuracy) * count), "seconds": f"{seconds:.1f}"}
    told |= {"threads": torch.get_num_threads(), "precision": precision}
    with LOG.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, FIELDS).writerow(told)


def commit() -> str:
    """The commit of this checkout, abbreviated."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return found.stdout.strip() or "unknown"
