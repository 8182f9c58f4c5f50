"""Which engine answers `predict`: torch for a few pictures, and what is fastest here where there are enough to pay for it."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.core.warnings import warn
from lamina.export import fastest
from lamina.export.engines import Engine
from lamina.export.made_engines import Maker
from lamina.export.samples import CALIBRATION, CHECKED, Samples
from lamina.models.fingerprint import Fingerprint

BATCH = 32  # pictures an engine is given at once, and by which it is chosen
_TRIED = 32  # pictures on which answers in float32 are compared
_GAIN = 2.0  # how much faster the fastest engine is expected to be

Plain = Callable[[Tensor], np.ndarray[Any, Any]]


class Engines:
    """The engines that were built for a model's network as it is now. A copy of the model begins without any."""

    def __init__(self) -> None:
        self._made_for: Fingerprint | None = None
        self._built: dict[tuple[str, str], Engine | None] = {}  # None: torch as it is, for nothing else works
        self._lock = threading.RLock()
        self._expected = 0  # pictures that are going to be answered, in several calls
        self._warm = False  # whether torch has answered a batch: the first of a process is slow
        self._spent_s = 0.0  # what torch has taken to answer since there was an engine: who asked often will ask again

    def __reduce__(self) -> tuple[type[Engines], tuple[()]]:
        return Engines, ()

    @contextlib.contextmanager
    def expecting(self, pictures: int) -> Iterator[None]:
        """Within, so many pictures will be answered, some at a time: whether an engine pays is judged by all that are left."""
        before, self._expected = self._expected, pictures
        try:
            yield
        finally:
            self._expected = before

    def answer(
        self, model: Any, images: Tensor, plain: Plain, *, batch_size: int, engine: str, precision: str
    ) -> np.ndarray[Any, Any]:
        """The answers (N ...) to uint8 pictures (N C H W); `plain` gives those of the model's network in torch."""
        fastest.check(engine, precision)
        later = max(self._expected - len(images), 0)
        self._expected = later
        if not len(images) or batch_size < 1:
            return plain(images)  # whose error is that of every way
        if engine == "auto" and not _is_free(model):
            return plain(images)
        if engine == "torch" and precision == "float32":
            return plain(images)
        asked = (engine, precision)

        def otherwise(some: Tensor, left: int) -> np.ndarray[Any, Any]:
            """Without this engine: a lower precision falls back to whatever answers in float32."""
            if precision == "float32":
                return plain(some)
            with self.expecting(left + later):
                return self.answer(model, some, plain, batch_size=batch_size, engine="auto", precision="float32")

        built, missing = self._there(model, asked)
        given, done = images, list[np.ndarray[Any, Any]]()
        if missing:
            if engine == "auto" and not self._was_asked_often(model, precision):
                while True:
                    some, was_warm, there = images[:BATCH], self._warm, len(self._built)
                    begun = time.perf_counter()
                    done.append(otherwise(some, len(images)))
                    took_s = time.perf_counter() - begun
                    images, self._warm = images[BATCH:], True
                    left = len(images) + later
                    if not left or not _is_worth_it(model, took_s / len(some) * left, precision):
                        self._spent_s += took_s * (len(some) + len(images)) / len(some) if was_warm else 0.0
                        return np.concatenate([*done, otherwise(images, len(images))] if len(images) else done)
                    if was_warm and len(self._built) == there:  # else it took longer than those to come will
                        break
                    if not len(images):  # the next call judges
                        return np.concatenate(done)
            with self._lock:
                built, missing = self._there(model, asked)
                if missing:
                    model.runtime.place(
                        model._own_net
                    )  # as torch's own answers do, lest the weights seem to change then
                    self._made_for, self._spent_s = Fingerprint(model), 0.0
                    built = _build(model, images if len(images) else given, engine, precision)
                    if engine == "auto" and built is not None and built.precision == "float32":
                        # a lower precision does not pay: what was found for float32 goes on, one engine for both
                        built = self._built.setdefault((engine, "float32"), built)
                    self._built[asked] = built
        if len(images):
            done += (
                [otherwise(images, len(images))] if built is None else _batches(built, images, min(batch_size, BATCH))
            )
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _was_asked_often(self, model: Any, precision: str) -> bool:
        """Whether torch has answered small calls for as long as an engine takes to build: more of them will come."""
        return precision == "float32" and self._spent_s > 0 and _is_worth_it(model, self._spent_s, precision)

    def _there(self, model: Any, asked: tuple[str, str]) -> tuple[Engine | None, bool]:
        """The engine for what the model is now, and whether none was made yet; those of what it was are dropped."""
        with self._lock:
            if self._made_for is not None and not self._made_for.holds(model):
                self._built.clear()
                self._made_for = None
            return self._built.get(asked), asked not in self._built


def _is_free(model: Any) -> bool:
    """Whether an engine may answer for this network: on the processor, whole, not while it is being trained."""
    return model.runtime.device.type == "cpu" and model.runtime.world.size == 1 and model._fed is None


def _is_worth_it(model: Any, left_s: float, precision: str) -> bool:
    """Whether what torch still has to do takes longer than another engine, with all that it takes to build it."""
    saved_s = left_s * (1 - 1 / _GAIN)
    if saved_s < fastest.BUILD_S:  # before anything is looked up
        return False
    known = fastest.expected_s(model._deployable(), BATCH, precision=precision, engines=_usual())
    return saved_s > (fastest.guessed_s(model._own_net, precision=precision) if known is None else known)


def _usual() -> tuple[str, ...]:
    """Compiling takes minutes, so it has to be asked for."""
    return tuple(name for name in fastest.usual_engines() if name != "compiled")


def _build(model: Any, images: Tensor, engine: str, precision: str) -> Engine | None:
    """The engine, which has answered some of the pictures as torch does; None where only torch as it is can answer."""
    some = images[: _TRIED if precision == "float32" else CALIBRATION + CHECKED]
    tried = Samples((np.ascontiguousarray(some.numpy()),), "pictures at hand")

    def told(text: str) -> None:
        if model.runtime.world.is_main:
            print(f"{model.name}: {text}", file=sys.stderr)

    if engine == "auto":
        several = tried if len(some) > 1 else None  # one alone tells little about classes
        try:
            return fastest.fastest(
                model._deployable(), BATCH, precision=precision, engines=_usual(), samples=several, told=told
            )
        except Exception as error:  # what was asked for are answers, and torch has them
            told(f"torch goes on alone ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}).")
            return None
    maker = Maker(model._deployable(), tried, batches=(BATCH,))
    made = maker.make(engine, precision)
    timing = fastest.judged(made, precision, maker.reference)
    if timing.reason and precision == "float32":
        raise LaminaError(
            f"The engine {engine} answers otherwise: {timing.reason}.",
            "The answers of torch were expected.",
            'Pass engine="torch".',
        )
    if timing.reason:
        warn(f"{timing.name}: {timing.reason}. Pass precision='float32' for answers as they were trained.")
    elif precision != "float32":
        told(f"{timing.name} answers{timing.beside_torch}.")
    return made


def _batches(engine: Engine, images: Tensor, count: int) -> Iterator[np.ndarray[Any, Any]]:
    if len(images) <= count:  # uncut: even that is told from a single picture's time
        yield engine(images.numpy())[0]
        return
    for start in range(0, len(images), count):
        yield engine(images[start : start + count].numpy())[0]
