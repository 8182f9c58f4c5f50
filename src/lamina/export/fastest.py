"""The fastest engine for a network on this machine: measured once, compared with torch, and remembered."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from lamina.core.errors import MissingExtraError, UnknownNameError, unknown_name
from lamina.export import remembered
from lamina.export.checking import OF_SPREAD, TOLERANCES, Reference
from lamina.export.deployable import Deployable
from lamina.export.engines import Arrays, Engine
from lamina.export.made_engines import ENGINES, Maker
from lamina.export.samples import Samples

PRECISIONS: Mapping[str, tuple[str, ...]] = {  # what may be chosen from where one of them is asked for
    "float32": ("float32",),
    "bfloat16": ("float32", "bfloat16"),
    "int8": ("float32", "int8"),
}
_ROUND_S = 1.0  # a batch is shortened to what torch answers in so long
_LEAST = 4  # samples of a shortened batch
_FEWEST, _MOST = 3, 30  # rounds
_HOPELESS = 3.0  # times as long as the fastest: not measured further
# What export and measuring are expected to take: on two cores 9 to 19 s, with bfloat16 11 to 26, with int8 24 to 27.
BUILD_S, _LAYER_S, _TIMES = 9.0, 0.06, {"float32": 1.0, "bfloat16": 1.3, "int8": 2.5}


@dataclass(frozen=True)
class Timing:
    """One engine in batches of one size: samples a second, the seconds it took to build, and its answers beside torch's.

    `agreement` is the share of samples with the same class, None where answers are no classes; `difference` the largest of
    any answer (see export.checking). `reason` says why it is not to be chosen; of one that does not run it is all there is.
    """

    engine: str
    precision: str
    batch: int
    per_s: float = 0.0
    agreement: float | None = None
    difference: float = float("inf")
    build_s: float = 0.0
    reason: str = ""
    alike: str = "classes"  # or "boxes"

    @property
    def name(self) -> str:
        """The engine, and its precision where that is not float32."""
        return self.engine if self.precision == "float32" else f"{self.engine} in {self.precision}"

    @property
    def beside_torch(self) -> str:
        """How the answers compare with torch's, to stand behind a name."""
        none = ", on pictures in which there are no boxes" if self.alike == "boxes" else ""
        classes = none if self.agreement is None else f", {100 * self.agreement:.4g} % of the {self.alike} as torch's"
        return f"{classes}, largest difference {self.difference:.1g}"

    def __str__(self) -> str:
        if not self.per_s:
            return f"{self.name}: {self.reason}"
        same = "" if self.agreement is None else f"{self.alike} agree {100 * self.agreement:.2f} %, "
        told = f"{self.name}, batches of {self.batch}: {self.per_s:,.1f} a second, {same}largest difference {self.difference:.1g}"
        return f"{told} ({self.reason})" if self.reason else told


def say(text: str) -> None:
    """Prints a line on stderr."""
    print(text, file=sys.stderr)


def usual_engines() -> tuple[str, ...]:
    """What is measured where nobody says: compiling takes minutes, and is left for where no other runtime is installed."""
    there = remembered.versions()
    runs = tuple(name for name in ("onnxruntime", "openvino") if name in there and "onnxscript" in there)
    return ("torch", *(runs or ("compiled",)))


def measured(
    deployable: Deployable,
    batch_sizes: Sequence[int] = (1, 32),
    *,
    precision: str = "float32",
    engines: Sequence[str] | None = None,
    samples: Samples | None = None,
    threads: int | None = None,
) -> list[Timing]:
    """Each engine at each batch size: medians over rounds in which they take turns, some seconds for each of them.

    With a lower `precision` its engines are measured beside those in float32. Answers are compared on `samples`; where there
    are none, on made ones, and int8 is left out, for its ranges come from real pictures.
    """
    return _Race(deployable, batch_sizes, precision, engines, samples, threads).timings()


def fastest(
    deployable: Deployable,
    batch: int = 32,
    *,
    precision: str = "float32",
    engines: Sequence[str] | None = None,
    samples: Samples | None = None,
    threads: int | None = None,
    told: Callable[[str], None] = say,
) -> Engine:
    """The engine that answers batches of this size fastest, of those whose answers are torch's; see `measured`.

    Other answers are those that lie 1e-3 apart in float32, or where fewer than 99 % of the classes are the same. The choice
    is kept in the cache by architecture, shapes, machine and versions; a later call builds that one alone, and compares it
    again, for its weights may be others. `told` gets one line about it, which names the kept file: one that was measured while
    the machine did other work is removed by hand.
    """
    chosen = _checked(engines)
    key = remembered.key(deployable, batch=batch, precision=precision, engines=chosen, threads=threads)
    kept = remembered.recall(key)
    if kept is not None:
        race = _Race(deployable, (batch,), precision, chosen, samples, threads)
        engine, timing = race.built_again(kept["engine"], kept["precision"])
        if engine is not None:
            told(
                f"{timing.name} answers, the fastest here when it was measured{timing.beside_torch}. "
                f"To measure anew, remove {remembered.path(key)}."
            )
            return engine
    race = _Race(deployable, (batch,), precision, chosen, samples, threads)
    timings = race.timings()
    best = max((timing for timing in timings if not timing.reason), key=lambda timing: timing.per_s)
    facts = {"engine": best.engine, "precision": best.precision, "build_s": round(best.build_s, 2)}
    remembered.keep(
        key, {**facts, "per_s": {timing.name: round(timing.per_s, 2) for timing in timings if timing.per_s}}
    )
    told(_line(best, timings))
    return race.engines[best.engine, best.precision]


def expected_s(
    deployable: Deployable,
    batch: int = 32,
    *,
    precision: str = "float32",
    engines: Sequence[str] | None = None,
    threads: int | None = None,
) -> float | None:
    """The seconds that `fastest` will take where its choice is remembered; None where it has to measure."""
    key = remembered.key(deployable, batch=batch, precision=precision, engines=_checked(engines), threads=threads)
    kept = remembered.recall(key)
    return None if kept is None else float(kept["build_s"])


def guessed_s(net: nn.Module, *, precision: str = "float32") -> float:
    """The seconds that `fastest` is expected to take where it has to measure: more for every layer, and for other precisions."""
    layers = sum(1 for module in net.modules() if next(module.children(), None) is None)
    return BUILD_S * _TIMES[precision] + _LAYER_S * layers


def check(engine: str, precision: str) -> None:
    """Raises UnknownNameError for an engine ("auto" is one) or precision that there is not, and an engine without that precision."""
    if engine not in ("auto", *ENGINES):
        raise unknown_name("engine", engine, ("auto", *ENGINES))
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if engine != "auto" and precision not in ENGINES[engine]:
        known = ", ".join(f"{name} ({', '.join(kinds)})" for name, kinds in ENGINES.items())
        raise UnknownNameError(
            f"The engine {engine!r} came with precision={precision!r}.",
            f"The engines and their precisions: {known}.",
            'Pass engine="auto", or another of the two.',
        )


def _checked(engines: Sequence[str] | None) -> tuple[str, ...]:
    chosen = usual_engines() if engines is None else tuple(engines)
    for name in chosen:
        if name not in ENGINES:
            raise unknown_name("engine", name, ENGINES)
    return chosen


def _line(best: Timing, timings: Sequence[Timing]) -> str:
    others = sorted((timing for timing in timings if timing is not best), key=lambda timing: -timing.per_s)
    slower = [f"{timing.name} {timing.per_s:,.1f}" for timing in others if not timing.reason]
    without = [f"{timing.name}: {timing.reason}" for timing in others if timing.reason]
    beside = f" ({', '.join(slower)})" if slower else ""
    left = f" Left out: {'; '.join(without)}." if without else ""
    return (
        f"{best.name} answers: {best.per_s:,.1f} a second in batches of {best.batch}{beside}{best.beside_torch}.{left}"
    )


class _Race:
    """Engines for one network that take turns."""

    def __init__(
        self,
        deployable: Deployable,
        batch_sizes: Sequence[int],
        precision: str,
        engines: Sequence[str] | None,
        samples: Samples | None,
        threads: int | None,
    ) -> None:
        if precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
        self.batch_sizes, self.precision = tuple(batch_sizes), precision
        self.names = _checked(engines)
        self.maker = Maker(deployable, samples, threads=threads, batches=self.batch_sizes)
        self.engines: dict[tuple[str, str], Engine] = {}
        self._spent: dict[tuple[str, str], Timing] = {}  # what is known before any round

    def timings(self) -> list[Timing]:
        """Builds, compares and times all of them."""
        entrants = [(name, kind) for kind in PRECISIONS[self.precision] for name in self.names if kind in ENGINES[name]]
        if ("torch", "float32") not in entrants:  # which is there whatever fails
            entrants.insert(0, ("torch", "float32"))
        reference, told = self.maker.reference, []
        for name, kind in entrants:
            timing, engine = self._entered(name, kind, reference)
            if engine is not None:
                self.engines[name, kind] = engine
            if timing.reason:
                told += [dataclasses.replace(timing, batch=batch) for batch in self.batch_sizes[:1]]
            self._spent[name, kind] = timing
        running = {key: engine for key, engine in self.engines.items() if not self._spent[key].reason}
        for batch in self.batch_sizes:
            rates = _rates(running, reference.samples, batch)
            told += [dataclasses.replace(self._spent[key], batch=batch, per_s=rate) for key, rate in rates.items()]
        return told

    def built_again(self, name: str, precision: str) -> tuple[Engine | None, Timing]:
        """The engine that was chosen before; None where it does not run any more, or answers otherwise with these weights."""
        if name not in self.names or precision not in PRECISIONS[self.precision]:
            return None, Timing(name, precision, 0, reason="not among those asked for")
        timing, engine = self._entered(name, precision, self.maker.reference)
        return (None if timing.reason else engine), timing

    def _entered(self, name: str, precision: str, reference: Reference) -> tuple[Timing, Engine | None]:
        blank = Timing(name, precision, self.batch_sizes[0])
        begun = time.perf_counter()
        try:
            engine = self.maker.make(name, precision)
            spent = time.perf_counter() - begun
            if _is_hopeless(engine, reference):
                return dataclasses.replace(blank, reason="far slower than torch in float32"), None
            answers = reference.ask(engine)
        except MissingExtraError:
            return dataclasses.replace(blank, reason="not installed"), None
        except Exception as error:  # an engine raises what it likes, and the others still run
            text = str(error).splitlines()[0] if str(error) else "no reason told"
            return dataclasses.replace(blank, reason=f"{type(error).__name__}: {text}"), None
        return _judged(dataclasses.replace(blank, build_s=spent), reference, answers), engine


def judged(engine: Engine, precision: str, reference: Reference) -> Timing:
    """What an engine's answers to the reference's samples are worth, without any time."""
    return _judged(Timing(engine.name, precision, len(reference.samples)), reference, reference.ask(engine))


def _judged(timing: Timing, reference: Reference, answers: Arrays) -> Timing:
    difference, agreement = reference.difference(reference.answers, answers), reference.agreement(answers)
    timing = dataclasses.replace(timing, difference=difference, agreement=agreement, alike=reference.alike)
    if not np.isfinite(difference):
        return dataclasses.replace(timing, reason="its answers are not finite, or of another shape")
    if agreement is not None and agreement < reference.least_agreement(timing.precision):
        return dataclasses.replace(
            timing, reason=f"only {100 * agreement:.4g} % of the {reference.alike} are those of torch"
        )
    # Below float32 probabilities may move, as long as the classes stay.
    if difference > TOLERANCES[timing.precision] and (timing.precision == "float32" or agreement is None):
        return dataclasses.replace(timing, reason=f"its answers lie up to {difference:.2g} from those of torch")
    spread = reference.of_spread(answers)
    if spread is not None and spread > OF_SPREAD:
        apart = f"{100 * spread:,.1f} % of their spread"
        return dataclasses.replace(timing, reason=f"its answers lie on average {apart} from those of torch")
    return timing


def _is_hopeless(engine: Engine, reference: Reference) -> bool:
    """Whether two samples already take far longer than torch does: a precision that the processor can only emulate."""
    few = reference.samples.part(0, 2)
    engine(*few)  # the first call of many engines is slow
    return _seconds(engine, few) > 0.1 + _HOPELESS * _seconds(reference.engine, few)


def _rates(engines: Mapping[tuple[str, str], Engine], samples: Samples, batch: int) -> dict[tuple[str, str], float]:
    """Samples a second of each, medians over rounds in turn; those that are far behind are asked once."""
    longest = max(_LEAST, round(_ROUND_S / max(_seconds(engines["torch", "float32"], samples.part(0, 1)), 1e-9)))
    count = min(batch, longest)
    inputs = tuple(np.resize(value, (count, *value.shape[1:])) for value in samples.inputs)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in engines}
    for key in engines:
        engines[key](*inputs)  # a first batch of this length
    for turn in range(_MOST):
        least = min((min(taken) for taken in times.values() if taken), default=float("inf"))
        for key in list(engines) if turn % 2 else reversed(list(engines)):
            if turn < 1 or min(times[key]) < _HOPELESS * least:
                times[key].append(_seconds(engines[key], inputs))
        if turn + 1 >= _FEWEST and sum(map(sum, times.values())) > _ROUND_S * len(engines):
            break
    return {key: count / statistics.median(taken) for key, taken in times.items()}


def _seconds(engine: Engine, inputs: Arrays) -> float:
    begun = time.perf_counter()
    engine(*inputs)
    return time.perf_counter() - begun
