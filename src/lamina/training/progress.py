"""What a person sees while a network trains: a live bar on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lamina.core.errors import LaminaError
from lamina.training.callback import Callback
from lamina.training.watching import Starvation

_REFRESH_S = 0.2  # reading the figures waits for the device, so not at every step
_BAR_WIDTH, _LEAST_BAR_WIDTH = 30, 8  # characters


def reporter(
    verbose: str | int = "auto", *, console: Console | None = None, epochs: int | None = None
) -> list[Callback]:
    """The callbacks that report: "auto" or 1 a bar on a terminal or in a notebook and lines elsewhere, 2 lines, 0 nothing.

    `epochs` is how many there are in all, where this `fit` has but the first of them.
    """
    if verbose not in ("auto", 0, 1, 2):
        raise LaminaError(
            f"verbose is {verbose!r}.",
            'It is "auto" or 1 (a bar where there is a terminal), 2 (a line an epoch) or 0 (nothing).',
            "Leave it out for the usual.",
        )
    if verbose == 0:
        return []
    console = console or Console()
    kind: type[Lines] = Lines
    if verbose != 2 and console.is_jupyter:
        kind = NotebookBar
    elif verbose != 2 and console.is_terminal and not console.is_dumb_terminal:
        kind = Bar
    return [kind(console, epochs=epochs), Starvation()]


class Lines(Callback):
    """One line an epoch: time, images a second (of training alone), memory (see Runtime.memory), and every figure."""

    main_only = True

    def __init__(self, console: Console | None = None, *, epochs: int | None = None) -> None:
        self._console, self._of = console or Console(), epochs
        self._began = self._trained = 0.0
        self._first_batch = self._done = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._began = self._trained = time.perf_counter()
        self._first_batch = self._done = self.loop.batch  # not 0 where a run goes on in the middle of an epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        self._trained, self._done = time.perf_counter(), batch + 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        seconds = time.perf_counter() - self._began
        words = [self._title(epoch), f"{seconds:.1f} s", *self._speed(), *self._memory(), *_figures(logs)]
        self._say("  ".join(words))

    def _say(self, text: str) -> None:
        # Plain text of any length: rich would wrap it, and colour its numbers.
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _title(self, epoch: int) -> str:
        of = self._of or self.loop.epochs
        return f"epoch {epoch + 1:>{len(str(of))}}/{of}"

    def _speed(self) -> list[str]:
        """Images a second; steps, where nobody knows how many images a step has; nothing before the first."""
        steps, seconds = self._done - self._first_batch, self._trained - self._began
        if steps <= 0 or seconds <= 0:
            return []
        samples, all_steps = self.loop.samples_per_epoch, self.loop.steps_per_epoch
        if samples is None or not all_steps:
            return [f"{steps / seconds:,.1f} steps/s"]
        return [f"{steps * samples / all_steps / seconds:,.0f} images/s"]

    def _memory(self) -> list[str]:
        runtime = getattr(self.loop.step, "runtime", None)
        used = None if runtime is None else runtime.memory()
        return [] if used is None else [f"{used / 1e9:.1f} GB" if used >= 1e9 else f"{used / 1e6:.0f} MB"]


class Bar(Lines):
    """A live bar under the lines of the epochs that are done: batches, images a second, memory, figures so far, time left."""

    def __init__(self, console: Console | None = None, *, epochs: int | None = None) -> None:
        super().__init__(console, epochs=epochs)
        self._live: Live | None = None
        self._next = 0.0
        self._epoch_seconds = 0.0  # of the last whole epoch with its validation

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        # No refreshing thread: it would take its time from the training thread whenever it likes.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        super().on_epoch_begin(epoch, logs)
        self._next = 0.0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        super().on_train_batch_end(batch, logs)
        if self._trained >= self._next or self._done == self.loop.steps_per_epoch:
            self._show()
            self._next = time.perf_counter() + _REFRESH_S

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if self._first_batch == 0:
            self._epoch_seconds = time.perf_counter() - self._began
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        if self._live is not None:
            self._live.update(Text(""))
            self._live.stop()
            self._live = None

    def _show(self) -> None:
        if self._live is None:
            return
        steps, done = self.loop.steps_per_epoch, self._done
        title = self._title(self.loop.epoch)
        count = f"{done:,}/{steps:,}" if steps else f"{done:,}"
        figures = [*self._speed(), *self._memory(), *_figures(self.loop.figures()), *self._left()]
        line = Text(f"{title} ", no_wrap=True, overflow="ellipsis", end="")
        room = self._console.width - sum(len(word) + 2 for word in [title, count, *figures])
        width = min(_BAR_WIDTH, room)
        if steps and width >= _LEAST_BAR_WIDTH:
            full = round(width * min(done / steps, 1.0))
            line.append(" " + "━" * full, style="cyan")
            line.append("─" * (width - full), style="bright_black")
        line.append("  ".join([" " + count, *figures]))
        self._live.update(line, refresh=True)

    def _left(self) -> list[str]:
        """Time to the end of the last epoch, by the speed of this one and the whole of the last."""
        steps = self.loop.steps_per_epoch
        if not steps:
            return []
        step_seconds = (self._trained - self._began) / (self._done - self._first_batch)
        later = self.loop.epochs - self.loop.epoch - 1
        seconds = (steps - self._done) * step_seconds + later * (self._epoch_seconds or steps * step_seconds)
        return [f"{_duration(seconds)} left"]


class NotebookBar(Bar):
    """Lines and bar in one place of a notebook's output, so a cell that is run again shows them once, and a saved one keeps them."""

    def __init__(self, console: Console | None = None, *, epochs: int | None = None) -> None:
        super().__init__(console, epochs=epochs)
        self._lines: list[str] = []
        self._place: Any = None

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        from IPython.display import HTML, display  # which is there: this runs in a notebook

        self._lines.clear()
        self._place = display(HTML(""), display_id=True)

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        self._draw()

    def _say(self, text: str) -> None:
        self._lines.append(text)
        self._draw()

    def _show(self) -> None:
        steps, done = self.loop.steps_per_epoch, self._done
        words = [self._title(self.loop.epoch), f"{done:,}/{steps:,}" if steps else f"{done:,}"]
        words += [*self._speed(), *self._memory(), *_figures(self.loop.figures()), *self._left()]
        bar = f'<progress value="{done}" max="{steps}" style="width:20em"></progress> ' if steps else ""
        self._draw(f"{bar}<code>{html.escape('  '.join(words))}</code>")

    def _draw(self, below: str = "") -> None:
        from IPython.display import HTML

        if self._place is not None:
            listed = html.escape("\n".join(self._lines))
            self._place.update(HTML(f'<pre style="margin:0">{listed}</pre>{below}'))


def _figures(logs: Mapping[str, float]) -> list[str]:
    return [f"{name} {_number(value)}" for name, value in logs.items()]


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
