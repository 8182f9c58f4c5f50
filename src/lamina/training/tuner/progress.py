"""What a search shows while it runs: a bar on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lamina.core.errors import LaminaError
from lamina.training.tuner.study import DONE, IMPOSSIBLE, Study, Trial, figure_shown

_REFRESH_S = 0.5
_BAR_WIDTH = 20  # characters


def reporter(study: Study, trials: int, verbose: str | int, *, console: Console | None = None) -> SearchReport:
    """The report of a search: "auto" or 1 a bar on a terminal and lines elsewhere, 2 lines, 0 nothing."""
    if verbose not in ("auto", 0, 1, 2):
        raise LaminaError(
            f"verbose is {verbose!r}.",
            'It is "auto" or 1 (a bar where there is a terminal), 2 (a line a trial) or 0 (nothing).',
            "Leave it out for the usual.",
        )
    if verbose == 0:
        return SearchReport(trials)
    console = console or Console()
    live = verbose != 2 and (console.is_terminal or console.is_jupyter) and not console.is_dumb_terminal
    return BarReport(trials, study.monitor, console) if live else LineReport(trials, study.monitor, console)


class SearchReport:
    """Shows nothing."""

    def __init__(self, trials: int) -> None:
        self.trials, self.finished = trials, 0

    def begin(self, study: Study, finished: int) -> None:
        """At the start, with the number of trials that a study in a file has already."""
        self.finished = finished

    def trial(self, trial: Trial) -> None:
        """Before a trial is built."""

    def step(self, epoch: int, epochs: int) -> None:
        """After each step of it."""

    def done(self, trial: Trial, study: Study) -> None:
        """After it."""
        self.finished += trial.outcome != IMPOSSIBLE

    def end(self) -> None:
        """At the end, whatever it was."""


class LineReport(SearchReport):
    """One line a trial: its figure or why it has none, and the best so far."""

    def __init__(self, trials: int, monitor: str, console: Console) -> None:
        super().__init__(trials)
        self.monitor, self.console = monitor, console
        self.best: Trial | None = None

    def begin(self, study: Study, finished: int) -> None:
        super().begin(study, finished)
        self._look(study)
        if finished >= self.trials:
            self._print(f"The study is finished ({finished} trials). More trials would go on with it.")
        elif finished:
            self._print(f"Going on with {study.path}: {finished} of {self.trials} trials are there.")

    def done(self, trial: Trial, study: Study) -> None:
        super().done(trial, study)
        before = self.best
        self._look(study)
        words = [
            f"{self.finished:>{len(str(self.trials))}}/{self.trials}",
            f"trial {trial.number}",
            f"{trial.seconds:.1f} s",
        ]
        if trial.outcome == DONE:
            words.append(f"{self.monitor} {figure_shown(trial.figure)}")
            is_best = self.best is not None and self.best.number == trial.number
            words.append("the best so far" if is_best and before is not None else "" if is_best else self._told_best())
        else:
            again = " Not counted, drawn again." if trial.outcome == IMPOSSIBLE else ""
            words.append(f"{trial.outcome}: {trial.reason}{again}")
        self._print("  ".join(word for word in words if word))

    def _look(self, study: Study) -> None:
        try:
            self.best = study.best
        except LaminaError:
            self.best = None

    def _told_best(self) -> str:
        return "" if self.best is None else f"(best {figure_shown(self.best.figure)})"

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class BarReport(LineReport):
    """A live line under those of the trials that are done: how many, the epoch, the best so far, the time left."""

    def __init__(self, trials: int, monitor: str, console: Console) -> None:
        super().__init__(trials, monitor, console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._seconds: list[float] = []
        self._began = self._next = 0.0
        self._number = 1

    def begin(self, study: Study, finished: int) -> None:
        super().begin(study, finished)
        self._live.start()

    def trial(self, trial: Trial) -> None:
        self._began, self._number = time.monotonic(), trial.number
        self._show("")

    def step(self, epoch: int, epochs: int) -> None:
        if time.monotonic() >= self._next:
            self._show(f"epoch {epoch + 1}/{epochs}")

    def done(self, trial: Trial, study: Study) -> None:
        if trial.outcome != IMPOSSIBLE:
            self._seconds.append(trial.seconds)
        super().done(trial, study)

    def end(self) -> None:
        self._live.update(Text(""))
        self._live.stop()

    def _show(self, doing: str) -> None:
        self._next = time.monotonic() + _REFRESH_S
        full = round(_BAR_WIDTH * min(self.finished / self.trials, 1.0))
        line = Text(f"{self.finished}/{self.trials} trials  ", no_wrap=True, overflow="ellipsis", end="")
        line.append("━" * full, style="cyan")
        line.append("─" * (_BAR_WIDTH - full), style="bright_black")
        best = "" if self.best is None else f"best {self.monitor} {figure_shown(self.best.figure)}"
        line.append("  ".join(["", f"trial {self._number} {doing}".rstrip(), best, self._left()]).rstrip())
        self._live.update(line, refresh=True)

    def _left(self) -> str:
        if not self._seconds:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        running = max(mean - (time.monotonic() - self._began), 0.0)
        seconds = round(running + mean * max(self.trials - self.finished - 1, 0))
        hours, rest = divmod(seconds, 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02} left" if hours else f"{rest // 60}:{rest % 60:02} left"
