"""What models answer to pictures that they have not learnt: k of them, each asked of the fold that it was kept from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from lamina.core import random
from lamina.core.errors import LaminaError
from lamina.core.files import replacing
from lamina.core.warnings import warn
from lamina.data.dataset import FolderDataset
from lamina.data.faults import all_unreadable, named
from lamina.explain.answers import class_probs
from lamina.models import pictures

_BATCH = 1024  # picture files that are decoded at once

Answers = tuple[Int64[np.ndarray, " M"], Float[np.ndarray, "M K"]]


def out_of_sample(
    data: Any,
    train: Callable[..., Any],
    *,
    folds: int,
    seed: int,
    run: str | os.PathLike[str] | None,
    settings: Mapping[str, Any],
    verbose: bool,
) -> Answers:
    """(positions, probabilities of each class) of all samples that can be read, each by a model that did not learn its fold.

    `train(part, seed=...)` returns a trained model. Folds that lie in `run` are not trained again. Raises LaminaError where
    `run` holds those of other data or settings.
    """
    numbers = data.fold_of(folds, seed=seed).numpy()  # equal pictures are in one: none is learnt and judged
    kept = None if run is None else _Kept(Path(run), folds, data.labels, {"seed": seed, **settings})
    parts: list[Answers] = []
    for fold in range(folds):
        if kept is not None and (before := kept.read(fold)) is not None:
            parts.append(before)
            if verbose:
                print(f"Fold {fold + 1} of {folds}: kept in {run}")
            continue
        held = np.flatnonzero(numbers == fold)
        start = time.perf_counter()
        with _told_how_far(fold, folds, run), _own_randomness(random.key(seed, fold)):
            rest = torch.from_numpy(np.flatnonzero(numbers != fold))
            model = train(data.subset(rest), seed=random.key(seed, fold) >> 32)
            readable, probs = _answers(model, data.subset(torch.from_numpy(held)))
        parts.append((held[readable], probs))
        if kept is not None:
            kept.write(fold, parts[-1])
        if verbose:
            labels = np.asarray(data.labels)[parts[-1][0]]
            agree = float((probs.argmax(axis=1) == labels).mean())
            print(
                f"Fold {fold + 1} of {folds}: learnt {len(rest):,} pictures, and of {len(labels):,} others agrees with "
                f"{100 * agree:.1f} % of the labels ({time.perf_counter() - start:.0f} s)",
                flush=True,
            )
    positions = np.concatenate([part[0] for part in parts])
    order = np.argsort(positions)
    return positions[order], np.concatenate([part[1] for part in parts])[order]


def _answers(model: Any, held: Any) -> Answers:
    """Which of the samples can be read, and the probabilities of these; a few files at a time are in memory."""
    if not isinstance(held, FolderDataset):
        return np.arange(len(held)), class_probs(model, held)
    places, parts, faults = [], [], dict[int, str]()
    for start in range(0, len(held), _BATCH):
        some = range(start, min(start + _BATCH, len(held)))
        images, problems = pictures.readable([held.paths[index] for index in some], model.preprocess)
        faults |= {start + index: error.came for index, error in problems.items()}
        places += [start + index for index in range(len(some)) if index not in problems]
        if len(images):
            parts.append(np.asarray(model.predict_probs(images)))
    if not parts:
        raise all_unreadable(f"{len(held):,} pictures of a fold", faults)
    if faults:
        warn(f"{len(faults):,} of {len(held):,} pictures cannot be read; their labels are not judged:\n{named(faults)}")
    return np.array(places), np.concatenate(parts)


@contextlib.contextmanager
def _own_randomness(key: int) -> Iterator[None]:
    """Initial values are a function of the key, and the caller's own draws go on as if nothing had been drawn."""
    drawn = random.state()
    random.reseed(key)
    try:
        yield
    finally:
        random.restore(drawn)


@contextlib.contextmanager
def _told_how_far(fold: int, folds: int, run: str | os.PathLike[str] | None) -> Iterator[None]:
    """Adds to a Ctrl-C or SIGTERM which folds are done, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        done = f"{fold} of {folds} folds are done"
        how = (
            f"{done}, and kept in {run}; the same call goes on with them."
            if run
            else f"{done}; run=FOLDER would keep them."
        )
        raise type(error)("\n".join(filter(None, [str(error), how]))) from None


class _Kept:
    """The answers of the folds that are done, a file each, with what they depend on."""

    def __init__(self, folder: Path, folds: int, labels: Any, settings: Mapping[str, Any]) -> None:
        hashed = hashlib.sha256(np.asarray(labels).astype(np.int64).tobytes()).hexdigest()[:16]
        self.folder, self.folds = folder, folds
        self.key = json.dumps({"labels": hashed, **{name: str(value) for name, value in settings.items()}})

    def read(self, fold: int) -> Answers | None:
        path = self._path(fold)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as held:
                key, answers = str(held["key"]), (held["positions"], held["probs"])
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            warn(f"{path} is damaged. The fold is trained again.")
            return None
        if key == self.key:
            return answers
        before, now = json.loads(key), json.loads(self.key)
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        told = ", ".join(f"{name} {before.get(name)} instead of {now.get(name)}" for name in names)
        raise LaminaError(
            f"{path} is of other data or settings: {told}.",
            "A search goes on with what it began with.",
            "Give the same, or another folder.",
        )

    def write(self, fold: int, answers: Answers) -> None:
        with replacing(self._path(fold)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, key=np.array(self.key), positions=answers[0], probs=answers[1])

    def _path(self, fold: int) -> Path:
        return self.folder / f"fold-{fold + 1}-of-{self.folds}.npz"
