"""One warning where training waits for its data."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lamina.metrics import Metric
from lamina.structures.batch import Logs
from lamina.training import Callback, Loop
from lamina.training.watching import Starvation, StarvationWarning


class Clock:
    """Time that passes only where something takes some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


class Batches:
    """Each waited for as long as it says; the first ten of a training longer, for workers start."""

    workers = 2

    def __init__(self, clock: Clock, wait_s: float, steps: int = 100) -> None:
        self.clock, self.wait_s, self.steps, self.waited_s, self.made = clock, wait_s, steps, 0.0, 0

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[int]:
        self.waited_s = 0.0
        for number in range(self.steps):
            self.made += 1
            waited = 5.0 if self.made <= 10 else self.wait_s
            self.clock.now += waited
            self.waited_s += waited
            yield number


class Slow(Metric):
    """To be computed it waits for what the device is behind."""

    def __init__(self, clock: Clock, behind_s: float) -> None:
        super().__init__("slow")
        self.clock, self.behind_s = clock, behind_s

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None: ...

    def value(self, *sums: Tensor) -> Tensor:
        return torch.tensor(0.0)

    def compute(self) -> Tensor:
        self.clock.now += self.behind_s
        return torch.tensor(0.0)


class Steps:
    """Each takes 10 ms, and what the device is behind when somebody looks."""

    def __init__(self, clock: Clock, behind_s: float = 0.0) -> None:
        self.clock, self.behind_s = clock, behind_s
        self.networks: dict[str, nn.Module] = {"net": nn.Linear(1, 1)}
        self.updates: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {"slow": Slow(clock, behind_s)}

    def train(self, batch: int) -> Logs:
        self.clock.now += 0.010
        return Logs(1, loss=torch.tensor(0.0))

    evaluate = train


def said(
    monkeypatch: pytest.MonkeyPatch, wait_s: float, *, steps: int = 100, epochs: int = 1, behind_s: float = 0.0
) -> list[str]:
    clock = Clock(monkeypatch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Loop(Steps(clock, behind_s), callbacks=[Starvation()]).fit(Batches(clock, wait_s, steps), epochs=epochs)
    assert all(warning.category is StarvationWarning for warning in caught)
    return [str(warning.message) for warning in caught]


def test_waiting_half_of_the_time_is_told_once_with_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = said(monkeypatch, 0.010, epochs=3)
    assert text.startswith(
        "Training waits for data 50% of the time. Up to 30% is usual. Keep decoded pictures in a cache"
    )
    assert text.endswith("data.WorkerBatches(dataset, workers=...) with more workers (now 2).")
    assert "larger batches" in text


@pytest.mark.parametrize(("wait_s", "count"), [(0.0, 0), (0.004, 0), (0.005, 1)])
def test_up_to_three_tenths_nothing_is_said(monkeypatch: pytest.MonkeyPatch, wait_s: float, count: int) -> None:
    assert len(said(monkeypatch, wait_s)) == count


def test_short_epochs_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, 0.1, steps=20, epochs=3) == []
    assert len(said(monkeypatch, 0.1, steps=20, epochs=4)) == 1


def test_a_device_that_is_still_busy_does_not_starve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, 0.1, behind_s=5.0) == []
    assert len(said(monkeypatch, 0.1, behind_s=0.1)) == 1


def test_where_nobody_waits_no_hook_is_called() -> None:
    watch = Starvation()

    class Plain(Callback):
        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            assert "on_train_batch_end" not in vars(watch)

    class Clockless:
        now = 0.0

    loop = Loop(Steps(Clockless()), callbacks=[watch, Plain()])  # type: ignore[arg-type]
    loop.fit([1, 2], epochs=1)
    assert type(watch).on_train_batch_end is Callback.on_train_batch_end
