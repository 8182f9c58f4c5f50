"""Schedules around other schedules: a warm-up in front of any, and any held within each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lamina.optimizers.schedules.schedule import NamedSchedule, Schedule, require, require_share, whole_epoch


@dataclass(frozen=True)
class Warmup(NamedSchedule):
    """Up a line from `start` times the first rate of a schedule to that rate; then the schedule, from its beginning.

    It lasts a `share` of training, or a number of `epochs` (Goyal 2017, arXiv:1706.02677, section 2.2: 5 epochs). In front of a
    schedule of progress, `epochs` want the length of training as `total`: `Warmup("cosine", epochs=5, total=90)`.
    """

    schedule: Schedule | str = "constant"
    share: float | None = None
    epochs: float | None = None
    total: float | None = None
    start: float = 0.0

    def __post_init__(self) -> None:
        from lamina.optimizers.schedules.table import get

        if isinstance(self.schedule, str | type):
            object.__setattr__(self, "schedule", get(self.schedule))
        if self.share is None and self.epochs is None:
            _tell(
                self, "epochs" if self._inner_unit == "epochs" else "share", 5 if self._inner_unit == "epochs" else 0.05
            )
        came = f"Warmup was given share={self.share}, epochs={self.epochs} and total={self.total}."
        require(
            (self.share is None) != (self.epochs is None),
            came,
            "Either a share of training or a number of epochs was expected.",
            "Leave one of them out.",
        )
        require_share("start", self.start)
        _refuse_momentum(self.schedule)
        if self.share is not None:
            require_share("share", self.share)
            require(
                self._inner_unit == "progress",
                f"{came[:-1]} in front of {self.schedule!r}, which is measured in epochs.",
                "Its warm-up is measured in epochs too.",
                "Write for example Warmup(schedule, epochs=5).",
            )
            return
        assert self.epochs is not None
        require(self.epochs > 0, came, "A number of epochs above 0 was expected.", "Leave the warm-up out, or pass 5.")
        if self._inner_unit == "progress":
            require(
                self.total is not None and self.total > self.epochs,
                came,
                "In front of a schedule that is laid over the whole training, epochs of warm-up want the length of training.",
                f"Pass total=30 for a training of 30 epochs, or share={self.epochs:g}/30 in place of epochs.",
            )

    @property
    def _inner_unit(self) -> str:
        return getattr(self.schedule, "unit", "progress")

    @property
    def unit(self) -> Literal["progress", "epochs"]:
        """That of the warm-up."""
        return "progress" if self.epochs is None else "epochs"

    @property
    def length(self) -> float | None:
        """`total`, or the warm-up and the schedule together."""
        inner = getattr(self.schedule, "length", None)
        if self.epochs is None or self.total is not None or inner is None:
            return self.total
        return float(self.epochs + inner)

    @property
    def base_rate(self) -> float | None:
        """That of the schedule."""
        return getattr(self.schedule, "base_rate", None)

    def __call__(self, position: float, /) -> float:
        """The factor at a progress or an epoch."""
        assert not isinstance(self.schedule, str)
        span = self.share if self.epochs is None else self.epochs
        assert span is not None
        if position + 1e-9 < span:
            return self.schedule(0.0) * (self.start + (1.0 - self.start) * position / span)
        after = max(position - span, 0.0)
        if self._inner_unit == "epochs":
            return self.schedule(after)
        whole = 1.0 if self.epochs is None else self.total
        assert whole is not None
        return self.schedule(min(after / (whole - span), 1.0) if whole > span else 1.0)

    def misfit(self, epochs: float) -> tuple[str, float] | None:
        """What the schedule behind it says of the rest of training."""
        if self.epochs is None or self.length is not None:
            return super().misfit(epochs)
        if epochs <= self.epochs:
            return f"its warm-up alone takes {self.epochs:g}", self.epochs + 1
        inner = self.schedule.misfit(epochs - self.epochs) if isinstance(self.schedule, NamedSchedule) else None
        return inner and (f"after a warm-up of {self.epochs:g} epochs, {inner[0]}", inner[1] + self.epochs)


@dataclass(frozen=True)
class PerEpoch(NamedSchedule):
    """A schedule held within each epoch: it changes between epochs only.

    A schedule of progress wants the length of training: `PerEpoch("cosine", total=30)`.
    """

    schedule: Schedule | str
    total: float | None = None

    def __post_init__(self) -> None:
        from lamina.optimizers.schedules.table import get

        if isinstance(self.schedule, str | type):
            object.__setattr__(self, "schedule", get(self.schedule))
        _refuse_momentum(self.schedule)
        require(
            self._in_epochs or (self.total is not None and self.total > 0),
            f"PerEpoch was given total={self.total} and {self.schedule!r}.",
            "A schedule that is laid over the whole training wants its length, to know where epochs begin.",
            "Pass total=30 for a training of 30 epochs.",
        )

    @property
    def _in_epochs(self) -> bool:
        return getattr(self.schedule, "unit", "progress") == "epochs"

    @property
    def unit(self) -> Literal["progress", "epochs"]:
        """Epochs, from 0."""
        return "epochs"

    @property
    def length(self) -> float | None:
        """`total`, or that of the schedule."""
        return self.total if self.total is not None else getattr(self.schedule, "length", None)

    @property
    def base_rate(self) -> float | None:
        """That of the schedule."""
        return getattr(self.schedule, "base_rate", None)

    def __call__(self, epoch: float, /) -> float:
        """The factor at an epoch."""
        assert not isinstance(self.schedule, str)
        whole = whole_epoch(epoch)
        if self._in_epochs:
            return self.schedule(float(whole))
        assert self.total is not None
        return self.schedule(min(whole / self.total, 1.0))

    def misfit(self, epochs: float) -> tuple[str, float] | None:
        """What the schedule says."""
        if self.length is None and isinstance(self.schedule, NamedSchedule):
            return self.schedule.misfit(epochs)
        return super().misfit(epochs)


def _tell(schedule: NamedSchedule, name: str, value: float) -> None:
    object.__setattr__(schedule, name, value)


def _refuse_momentum(schedule: object) -> None:
    require(
        not hasattr(schedule, "momentum"),
        f"{schedule!r} moves the momentum too.",
        "A schedule that does so stands alone: what the momentum does in front of it would be a guess.",
        "Use its own warmup, or a schedule of the rate alone.",
    )
