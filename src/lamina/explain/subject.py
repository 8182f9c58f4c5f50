"""What a report is about. Each of its sections is a function of a Subject, or of a Scene, that gives HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int64, UInt8


class About(Protocol):
    """What the sections about a run need, whatever its model answers."""

    @property
    def model(self) -> Any:
        """The model."""

    @property
    def run(self) -> Path | None:
        """The folder of the training run."""

    @property
    def history(self) -> Any:
        """As for `learning_curves`, or None."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the run was begun with."""


@dataclass(frozen=True)
class Subject:
    """A model, what it answered to a data set, and the run that it comes from.

    images: uint8 (N C H W), as the model sees them. labels: the class of each (N), or with `multi_label` 0 or 1 for each class
    (N K). probs (N K). sources: the pictures' files, or empty. run: the folder of the training run, None where there is none.
    history: as for `learning_curves`, or None. shown: how many mistakes a person wants to see.
    """

    model: Any
    data: Any
    images: UInt8[np.ndarray, "N C H W"]
    labels: Int64[np.ndarray, " N"] | Int64[np.ndarray, "N K"]
    probs: Float[np.ndarray, "N K"]
    classes: tuple[str, ...]
    multi_label: bool = False
    sources: Sequence[str] = ()
    run: Path | None = None
    history: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shown: int = 300


@dataclass(frozen=True)
class Scene:
    """A detector or a segmenter, its answers beside the truth of a data set, and the run that it comes from; the rest as of Subject."""

    model: Any
    data: Any
    beside: Any
    run: Path | None = None
    history: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shown: int = 300


@dataclass(frozen=True, eq=False)
class Numbers:
    """A regressor, its answers (N D) beside the true numbers (N D) of pictures (uint8 N C H W), and what they are called; the rest as
    of Subject."""

    model: Any
    images: UInt8[np.ndarray, "N C H W"]
    truths: Float[np.ndarray, "N D"]
    answers: Float[np.ndarray, "N D"]
    names: tuple[str, ...]
    sources: Sequence[str] = ()
    run: Path | None = None
    history: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shown: int = 300

    @property
    def errors(self) -> Float[np.ndarray, "N D"]:
        """What was said less what is true."""
        return np.asarray(self.answers - self.truths)


def fitting(pieces: Iterable[str], *, limit_bytes: int) -> list[str]:
    """As many of the pieces of HTML as fit in so many bytes, from the first on; the others are never made if `pieces` is a generator."""
    taken, size = [], 0
    for piece in pieces:
        size += len(piece.encode())
        if size > limit_bytes:
            break
        taken.append(piece)
    return taken
