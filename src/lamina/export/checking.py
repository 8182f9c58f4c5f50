"""An exported network beside the one it was made of: how far its answers lie apart, and how fast each gives them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lamina.export import boxes_apart
from lamina.export.deployable import Deployable
from lamina.export.engines import Arrays, Engine
from lamina.export.samples import Samples, larger

BATCH = 16  # samples a batch, when it is checked and when it is timed
# The largest difference of answers that count as the same. Networks of this library showed 4e-6 in float32; the others are wide, for
# they were tried on few networks.
TOLERANCES: Mapping[str, float] = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1, "int8": 0.5}
# How far values may lie apart on average, as a share of their spread, the standard deviation of torch's answers. A share of the largest
# answer says little of values far from 0: half of it is 40 years where the ages are 40 to 80, and answering always 60 would pass. Errors
# of a fifth of the spread leave some 94 % of its variance explained.
OF_SPREAD = 0.2
LEAST_AGREEMENT = 0.99  # of the classes, for a file as for an engine
_OF_PIXELS = 0.999  # of the classes in maps, in float32
# Of maps so many pixels may lie farther apart, and of a single one: where two pixels are nearly equal, SegNet's pooling takes either.
_FAR_PIXELS, _FAR_OF_ONE = 0.01, 0.05
DETECTIONS = "detections"  # the name of answers that are boxes (B D 6), which are compared one by one
_HALF = 0.5
TIE = 1e-3  # classes whose probabilities lie closer, as a share of the largest, are equally probable, and neither is wrong
_TIMED_S = 0.2  # for each of the two
_FEWEST_RUNS = 2


@dataclass(frozen=True)
class Check:
    """Answers of one engine beside torch's in float32.

    `largest_difference` is absolute for probabilities (of maps that of all but a hundredth of the pixels, and but a twentieth of those of
    one), and for other answers a share of the largest one. `agreement` is the share of samples with the same class (of several labels: the
    share of labels; of detections: of boxes that both found, which `alike` says), None where answers are neither, or no box
    was found. `of_spread` is how far values lie apart on average, as a share of their spread; None for probabilities and boxes.
    `per_s` are samples a second in batches of at most 16, and `torch_per_s` those of torch in the same run.
    """

    engine: str
    largest_difference: float
    agreement: float | None
    per_s: float
    torch_per_s: float
    alike: str = "classes"
    of_spread: float | None = None

    @property
    def is_vacuous(self) -> bool:
        """Whether neither found any box, so that how boxes are chosen was not compared."""
        return self.alike == "boxes" and self.agreement is None

    def __str__(self) -> str:
        same = "" if self.agreement is None else f", {self.alike} agree {100 * self.agreement:.2f} %"
        same += ", no boxes found" if self.is_vacuous else ""
        same += "" if self.of_spread is None else f", {100 * self.of_spread:,.1f} % of the spread on average"
        speed = f"{self.per_s:,.0f} a second ({self.per_s / self.torch_per_s:.1f} x torch)"
        return f"{self.engine}: largest difference {self.largest_difference:.2g}{same}, {speed}"


class ModuleEngine:
    """A torch module as it is, in eager mode on this machine's processor."""

    def __init__(self, name: str, module: nn.Module, *, precision: str = "float32") -> None:
        self.name, self.precision, self._module = name, precision, module

    def __call__(self, *inputs: npt.NDArray[Any]) -> Arrays:
        with torch.inference_mode():
            answers = self._module(*(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs))
        return tuple(value.numpy() for value in ((answers,) if isinstance(answers, Tensor) else answers))


class Reference:
    """The network's own answers to some samples, in torch and float32; or those of an engine that is known to give the same."""

    def __init__(self, deployable: Deployable, samples: Samples, *, engine: Engine | None = None) -> None:
        self.deployable, self.samples = deployable, samples
        self.engine = engine or ModuleEngine("torch", deployable.module().to(memory_format=torch.channels_last))
        try:
            self.answers = self.ask(self.engine)
        except Exception as error:  # whatever the network raises
            raise deployable.misfit(error) from error
        self._larger: tuple[Arrays, Arrays] | None = None

    def ask(self, engine: Engine) -> Arrays:
        """The engine's answers to all samples, asked in batches."""
        starts = range(0, len(self.samples), BATCH)
        told = [engine(*self.samples.part(start, start + BATCH)) for start in starts]
        return tuple(np.concatenate(each) for each in zip(*told, strict=True))

    def check(self, engine: Engine, *, other_size: bool) -> Check:
        """The engine's answers to all samples, to one alone, and with `other_size` to some of another size."""
        told = [(self.answers, self.ask(engine))]
        told.append((_rows(self.answers, 1), engine(*self.samples.part(0, 1))))
        if other_size:
            inputs, answers = self._at_another_size()
            told.append((answers, engine(*inputs)))
        agreement = self.agreement(told[0][1])
        if self._is_map(self.answers[0]):  # whose few pixels that may lie apart might all be at an edge
            agreement = min(_same_classes(wanted[0], came[0]) for wanted, came in told)
        fast, slow = _rates([engine, self.engine], self.samples.part(0, BATCH))
        largest, spread = max(self.difference(*pair) for pair in told), self.of_spread(told[0][1])
        return Check(engine.name, largest, agreement, fast, slow, self.alike, spread)

    def takes_other_sizes(self, engine: Engine, precision: str) -> bool:
        """Whether the engine answers pictures of another size, as torch does."""
        inputs, answers = self._at_another_size()
        try:
            came = engine(*inputs)
            least = self.least_agreement(precision)
            same = not self._is_map(answers[0]) or _same_classes(answers[0], came[0]) >= least
            return same and self.difference(answers, came) <= TOLERANCES[precision]
        except Exception:  # a runtime raises what it likes for a shape that does not fit
            return False

    def difference(self, wanted: Arrays, came: Arrays) -> float:
        """The largest difference of the answers: infinite where one is not finite, or of another shape."""
        largest = 0.0
        for name, a, b in zip(self.deployable.answers, wanted, came, strict=True):
            if name == DETECTIONS:
                farthest, share = boxes_apart.apart(a, b, least_score=self._least_score)
                # How large the share is, `agreement` tells.
                largest = max(largest, float("inf") if share <= _HALF else farthest)
                continue
            if a.shape != b.shape:
                return float("inf")
            scale = 1.0 if name == "probs" else max(float(np.abs(a).max(initial=0)), 1e-12)
            apart = np.abs(a.astype(np.float64) - b) / scale
            apart = np.where(np.isnan(apart), np.inf, apart)
            far = _pixels_apart(apart.max(axis=1)) if self._is_map(a) else float(apart.max(initial=0))
            largest = max(largest, far)
        return largest

    def agreement(self, came: Arrays) -> float | None:
        """The share of samples with the same class; classes that are as probable to within TIE are the same. Of boxes that of those
        which both found, and None where there are none."""
        if self.deployable.answers == (DETECTIONS,):
            share = boxes_apart.apart(self.answers[0], came[0], least_score=self._least_score)[1]
            return None if np.isnan(share) else share
        if self.deployable.answers != ("probs",):
            return None
        wanted, probs = self.answers[0], came[0]
        if self.deployable.description.get("multi_label"):
            same = ((wanted >= 0.5) == (probs >= 0.5)) | (np.abs(wanted - 0.5) < TIE)
            return float(same.mean())
        return _same_classes(wanted, probs)

    def of_spread(self, came: Arrays) -> float | None:
        """How far values lie apart on average, as a share of their standard deviation over the samples: of a regressor the worst number's,
        of other answers over all. None for probabilities and boxes, and of a single sample, which has no spread.
        """
        shares = []
        for name, a, b in zip(self.deployable.answers, self.answers, came, strict=True):
            if name in ("probs", DETECTIONS) or len(a) < 2 or a.shape != b.shape:  # of other shapes `difference` tells
                continue
            wanted, apart = (
                value.astype(np.float64).reshape(len(a), *a.shape[1:2], -1) for value in (a, np.abs(a - b))
            )
            error, variance, largest = apart.mean((0, -1)), wanted.var((0, -1)), np.abs(wanted).max((0, -1))
            if name != "values":  # of a thousand features some may be dead
                error, variance, largest = error.mean(), variance.mean(), largest.max()
            least = np.maximum(TOLERANCES["float32"] * largest, 1e-12)  # what moves less is constant
            shares.append(float(np.max(error / np.maximum(np.sqrt(variance), least))))
        return max(shares, default=None)

    def least_agreement(self, precision: str) -> float:
        """The share of samples, or of pixels, that are to keep their class."""
        return _OF_PIXELS if precision == "float32" and self._is_map(self.answers[0]) else LEAST_AGREEMENT

    def _is_map(self, answer: npt.NDArray[Any]) -> bool:
        return self.deployable.answers == ("probs",) and answer.ndim == 4

    @property
    def alike(self) -> str:
        """What `agreement` counts."""
        return "boxes" if self.deployable.answers == (DETECTIONS,) else "classes"

    @property
    def _least_score(self) -> float:
        return float(self.deployable.description.get("suppression", {}).get("least_score", 0.0))

    def _at_another_size(self) -> tuple[Arrays, Arrays]:
        if self._larger is None:
            inputs = larger(self.samples.part(0, 2))
            self._larger = inputs, self.engine(*inputs)
        return self._larger


def _same_classes(wanted: npt.NDArray[Any], probs: npt.NDArray[Any]) -> float:
    """The share of the same classes; those that are as probable to within TIE are the same."""
    if wanted.shape != probs.shape:
        return 0.0
    chosen = np.take_along_axis(wanted, probs.argmax(1)[:, None], 1)[:, 0]
    return float((chosen >= (1 - TIE) * wanted.max(1)).mean())


def _pixels_apart(apart: npt.NDArray[np.float64]) -> float:
    """How far pixels (B H W) lie apart but for those few that may; infinite where any of them does."""
    if not np.isfinite(apart).all():
        return float("inf")
    if not apart.size:
        return 0.0
    each = np.quantile(apart.reshape(len(apart), -1), 1 - _FAR_OF_ONE, axis=1, method="higher")
    return max(float(each.max()), float(np.quantile(apart, 1 - _FAR_PIXELS, method="higher")))


def _rows(answers: Arrays, count: int) -> Arrays:
    return tuple(value[:count] for value in answers)


def _rates(engines: Sequence[Engine], batch: tuple[npt.NDArray[Any], ...]) -> list[float]:
    """Samples a second of each, the best of several runs in turn: what else the machine does slows both."""
    best, spent, runs = [float("inf")] * len(engines), 0.0, 0
    while runs < _FEWEST_RUNS or spent < _TIMED_S * len(engines):
        for index, engine in enumerate(engines):
            begun = time.perf_counter()
            engine(*batch)
            took = time.perf_counter() - begun
            best[index], spent = min(best[index], took), spent + took
        runs += 1
    return [len(batch[0]) / seconds for seconds in best]
