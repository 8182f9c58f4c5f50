"""Whether training waits for its data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lamina.core.warnings import warn
from lamina.training.callback import Callback

_WARM_UP = 10  # steps in which workers start, kernels are chosen and code is compiled
_STEPS = 50
_SHARE = 0.3  # of the time


class StarvationWarning(UserWarning):
    """The device waits for data for much of the time."""


class Starvation(Callback):
    """Warns once if, over 50 steps after the first 10, more than 30 % of the time was spent waiting for batches.

    Looks only where the batches come from workers and say how long they were waited for (`waited_s`, of the epoch in
    progress); any other training has no hook to call.
    """

    main_only = True

    def __init__(self) -> None:
        self._batches: Any = None
        self._since: tuple[float, float] | None = None
        self._steps = 0
        self._elapsed_s = self._waited_s = 0.0

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Begins to look, where there is something to see."""
        self._batches = self.loop.batches
        self._steps, self._elapsed_s, self._waited_s = 0, 0.0, 0.0
        vars(self).pop("on_train_batch_end", None)
        if hasattr(self._batches, "waited_s"):
            vars(self)["on_train_batch_end"] = self._look  # the loop calls only hooks that are there

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Time between epochs does not count."""
        self._since = None

    def _look(self, batch: int, logs: Mapping[str, float]) -> None:
        measured = self._steps - _WARM_UP
        if measured >= _STEPS:
            return
        now = (time.perf_counter(), self._batches.waited_s)
        if self._since is not None:
            self._steps += 1
            if measured >= 0:
                self._elapsed_s += now[0] - self._since[0]
                self._waited_s += now[1] - self._since[1]
        self._since = now
        if self._steps == _WARM_UP + _STEPS:
            self._judge()

    def _judge(self) -> None:
        """A device that is busy with many steps to come does not starve, however long the host has waited."""
        share = self._waited_s / self._elapsed_s
        if share <= _SHARE:
            return
        began = time.perf_counter()
        self.loop.figures()  # waits for the device
        if time.perf_counter() - began > 3 * self._elapsed_s / _STEPS:
            return
        workers = getattr(self._batches, "workers", None)
        have = "" if workers is None else f" (now {workers})"
        warn(
            f"Training waits for data {share:.0%} of the time. "
            f"Up to {_SHARE:.0%} is usual. Keep decoded pictures in a cache (dataset.cached()), store them smaller, take larger "
            f"batches, or let a models.Model train on data.WorkerBatches(dataset, workers=...) with more workers{have}.",
            StarvationWarning,
        )
