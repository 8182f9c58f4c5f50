"""Where each sample was read: the file, and the line or the entry in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor


class Origins:
    """For each of N samples one of a few `files`, and a number in it; `word` says what is counted: "line", "image".

    `which` (N) are positions in `files`; None where there is one file for each sample, in order.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        numbers: npt.NDArray[np.int64] | None = None,
        *,
        which: npt.NDArray[np.int64] | None = None,
        word: str = "line",
    ) -> None:
        self.files, self.word = files, word
        self._numbers = numbers
        self._which = which

    def __len__(self) -> int:
        told = self._which if self._which is not None else self._numbers
        return len(self.files) if told is None else len(told)

    def __getitem__(self, index: int) -> str:
        """Such as "labels.csv, line 12"."""
        alone = self._which is None and len(self.files) == 1
        file = self.files[0 if alone else index if self._which is None else int(self._which[index])]
        return str(file) if self._numbers is None else f"{file}, {self.word} {int(self._numbers[index])}"

    def take(self, rows: Tensor | npt.NDArray[np.int64]) -> Origins:
        """Those of these samples, in this order."""
        chosen = np.asarray(rows, dtype=np.int64)
        numbers = None if self._numbers is None else self._numbers[chosen]
        if self._which is None and len(self.files) != 1:
            return Origins(self.files, numbers, which=chosen, word=self.word)
        which = np.zeros(len(chosen), np.int64) if self._which is None else self._which[chosen]
        return Origins(self.files, numbers, which=which, word=self.word)
