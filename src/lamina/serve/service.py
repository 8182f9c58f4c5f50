"""A model at work for many clients: its engine, the threads around it, and whether it is ready."""

from __future__ import annotations

import gc
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lamina.core.errors import LaminaError
from lamina.export.engines import Engine
from lamina.export.samples import CALIBRATION, CHECKED
from lamina.models import file
from lamina.models.card import Card
from lamina.models.exporting import tried
from lamina.serve import engines, pictures
from lamina.serve.batching import WAITING_BYTES, Batcher, Picture, Pixels, Size, late
from lamina.serve.explaining import Explainer, can_explain
from lamina.serve.incoming import Ledger, Upload
from lamina.serve.limits import Limits
from lamina.serve.metrics import Figures
from lamina.serve.refusals import Refused
from lamina.serve.telling import Teller

log = logging.getLogger("lamina.serve")
_NOT_TOLD = ("compiled", "split", "versions")  # of a model's description: a client has no use for it


class Service:
    """What stands behind the routes. The engine is made and warmed in its own thread, by `start`.

    Raises LaminaError for a model that answers no pictures, or has learnt nothing yet.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        limits: Limits,
        engine: str = "auto",
        precision: str = "float32",
        data: Any = None,
        threads: int | None = None,
    ) -> None:
        if not hasattr(model, "results") or not hasattr(model, "deployable"):
            raise LaminaError(
                f"A {type(model).__name__} came to be served.",
                "A model that answers pictures with results was expected: a Classifier, a Detector, a Segmenter ...",
                "Wrap its network in one of them.",
            )
        engines.check(engine, precision, has_pictures=data is not None)
        self.model, self.name, self.limits = model, name, limits
        self.deployable = model.deployable()
        assert self.deployable.preprocess is not None
        self.preprocess = self.deployable.preprocess
        self._parameters = sum(value.numel() for value in self.deployable.net.parameters())
        self._wanted, self._precision, self.threads = engine, precision, threads or engines.cores()
        self._samples = None if data is None else tried(self.deployable, data, CALIBRATION + CHECKED)
        self.figures, self.ledger = Figures(), Ledger(limits.buffered_bytes)
        self.teller = Teller(model, self.deployable.description)
        self.batcher = Batcher(
            self._pixels,
            self._compute,
            self.teller.told,
            limits=limits,
            figures=self.figures,
            threads=max(self.threads, 1),
        )
        self.engine: Engine | None = None
        self.batch_s = 0.0  # that a whole batch took at the start
        self.example: dict[str, Any] = {}  # a result, as JSON
        self.has_token = False
        self.failure: Exception | None = None
        self.stopping = False
        self.explains = False  # whether the network has maps to look at
        self.explainer = Explainer(limits)
        self.requests = 0  # accepted and not yet answered
        self.say: Callable[[str], None] = _nothing
        self.when_ready: Callable[[Service], None] = _nothing
        self._started, self._lock = False, threading.Lock()
        self._doing, self._ready_at = (
            "it is loaded",
            0.0,
        )  # while it starts; and when that ends, of time.monotonic, as far as is known

    @property
    def ready(self) -> bool:
        """Whether a picture would be answered now."""
        return self.engine is not None and not self.stopping

    def start(self) -> None:
        """Begins to make the engine; requests wait for it. A second call does nothing."""
        with self._lock:
            if not self._started:
                self._started = True
                self.batcher.start(self._prepare)

    def stop(self) -> None:
        """Ends the threads."""
        self.stopping = True
        self.explainer.stop()
        self.batcher.stop()

    def card(self) -> dict[str, Any]:
        """What the model is and how it is run: JSON."""
        told = self.deployable.description
        described = {key: value for key, value in told.items() if key not in _NOT_TOLD}
        engine = None if self.engine is None else engines.described(self.engine, self.threads)
        versions = {**file.versions(), **told.get("versions", {})}
        return {
            "name": self.name,
            **described,
            **({"colours": self.teller.colours} if self.teller.colours else {}),
            "about": Card({**told, "versions": versions}, self._parameters).rows,
            "engine": engine,
            "precision": None if self.engine is None else self.engine.precision,
            "explains": self.explains,
            "batch_ms": round(1000 * self.batch_s, 2),
            "limits": self.limits.to_dict(),
            "versions": versions,
        }

    def drawn(self, picture: Picture) -> dict[str, Any]:
        """What is told of a picture that has its answer, with the picture it was drawn on, as a PNG in base64."""
        assert picture.answer is not None
        (told,) = self.teller.told(picture.answer[None], [picture.size])
        return {**told, "drawn": self.teller.drawn(picture.answer, picture.upload)}

    def _pixels(self, upload: Upload) -> tuple[Pixels, Size]:
        return pictures.pixels(upload.data(), upload.name, self.preprocess, self.limits)

    def _compute(self, batch: Pixels) -> npt.NDArray[Any]:
        assert self.engine is not None
        return np.array(self.engine(batch)[0])  # a copy: an engine may give the same memory again

    def _prepare(self) -> Refused | None:
        """Makes the engine and runs it on a batch and a single picture, so that the first client does not wait for that."""
        try:
            torch.get_num_threads()
            torch.set_num_threads(self.threads)
            told: dict[str, Any] = {"precision": self._precision, "threads": self.threads, "batch": self.limits.batch}
            self._doing, seconds = engines.prospect(self.deployable, self._wanted, **told)
            self._ready_at = time.monotonic() + seconds
            engine = engines.make(self.deployable, self._wanted, **told, samples=self._samples, told=self.say)
            self._samples = None
            gc.collect()  # what making it left behind
            shape = tuple(self.deployable.example[0].shape[1:])
            batch = np.random.default_rng(0).integers(0, 256, (self.limits.batch, *shape), np.uint8)
            answer = np.array(engine(batch[:1])[0])
            fitting = WAITING_BYTES // answer.nbytes  # maps of many classes are large
            batch = batch[: max(min(fitting, self.limits.batch), 1)]
            self.batcher.batch = len(batch)
            engine(batch)
            began = time.perf_counter()
            engine(batch)
            self.batch_s = time.perf_counter() - began
            self.example = self.teller.example(answer[0])
            self.explains = can_explain(self)
            self.engine = engine
        except Exception as error:
            self.failure = error
            if not isinstance(error, LaminaError | ImportError):
                log.exception("the engine could not be made")
        self.when_ready(self)
        return None if self.failure is None else self.not_ready()

    def without_heat(self) -> Refused | None:
        """Why there is no heat map for this kind of model; None where there may be one."""
        if not self.teller.locates:
            return None
        return Refused(
            "not_built_in",
            f"This model is a {self.teller.kind}: its answer says itself where in the picture things are.",
            "Maps of heat are there for answers about whole pictures.",
            "Ask /predict, with draw=1 for the drawn picture.",
        )

    def not_ready(self) -> Refused | None:
        """Why the server would not answer a picture now; None where it would."""
        if self.failure is not None:
            return Refused(
                "not_ready",
                f"The model could not be started ({self.failure}).",
                "It has to run.",
                "Tell whoever runs it.",
            )
        if self.stopping:
            return Refused(
                "stopping", "The server is stopping.", "It finishes what it has taken.", "Try another, or later."
            )
        if self.engine is None:
            left = math.ceil(self._ready_at - time.monotonic())
            return Refused(
                "not_ready",
                f"The model is being started: {self._doing}.",
                f"That takes some {left} s more." if left > 0 else "That takes some seconds.",
                f"Try again {f'in {left} s' if left > 0 else 'in a moment'}; /ready says when it answers.",
            )
        return None

    def too_early(self, until: float) -> Refused | None:
        """Why a request whose time ends then is not to wait for the engine, which will take longer; None where it may."""
        return self.not_ready() if self.engine is None and self._ready_at > until else None

    def late(self) -> Refused:
        """The error of a request whose time is over: there is no engine yet, or too much to do."""
        return (self.not_ready() if self.engine is None else None) or late(self.limits)


def _nothing(_: Any) -> None:
    """What is called where nobody asked for a call."""
