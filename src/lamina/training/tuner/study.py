"""What a search has tried: its trials, kept in memory or in an SQLite file that several processes may share."""

from __future__ import annotations

import math
import os
import socket
import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.core.errors import LaminaError
from lamina.core.files import replacing
from lamina.training.tuner import file as study_file
from lamina.training.tuner import space as spaces
from lamina.training.tuner.file import keeping, quiet

if TYPE_CHECKING:
    import optuna
    from rich.table import Table

_FEWEST = 10  # trials by which importance is told
DONE, STOPPED, FAILED, IMPOSSIBLE, RUNNING = "done", "stopped early", "failed", "impossible", "running"


class Trial(spaces.Drawing):
    """The values of one trial, by name, and what came of them.

    `number` counts from 1, `seed` is a function of the search's seed and the number. Afterwards: `outcome` ("done", "stopped
    early", "failed", "impossible", "running"), `reason`, the monitored `figure` after the last epoch, its `figures` of
    all epochs, and `seconds`.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        space: Mapping[str, Any],
        *,
        number: int,
        seed: int,
        outcome: str = RUNNING,
        reason: str = "",
        figures: tuple[float, ...] = (),
        seconds: float = math.nan,
    ) -> None:
        super().__init__(values, space)
        self.number, self.seed = number, seed
        self.outcome, self.reason, self.figures, self.seconds = outcome, reason, figures, seconds

    @property
    def figure(self) -> float:
        """The monitored figure after the last epoch that was trained; NaN where there is none."""
        return self.figures[-1] if self.figures else math.nan

    @property
    def drawn(self) -> dict[str, Any]:
        """The values that were drawn, without those that the space fixes."""
        return {n: v for n, v in self._values.items() if isinstance(self._space[n], spaces.Range | spaces.Choice)}

    def __repr__(self) -> str:
        drawn = ", ".join(f"{name}={shown(value)}" for name, value in self.drawn.items())
        return f"<Trial {self.number}, {self.outcome}, {figure_shown(self.figure)}: {drawn}>"


class Study:
    """The trials of a search over a space. `optuna` is the optuna study beneath, for whatever else is wanted of it."""

    def __init__(
        self, study: optuna.Study, space: Mapping[str, Any], *, monitor: str, more_is_better: bool, path: Path | None
    ) -> None:
        self.optuna, self.space, self.monitor = study, space, monitor
        self.more_is_better, self.path = more_is_better, path
        self.interrupted = False

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials but those that were interrupted, which a resumed search does again."""
        with keeping(self.path):
            return tuple(sorted((self._told(trial) for trial in self.alive()), key=lambda trial: trial.number))

    @property
    def best(self) -> Trial:
        """The trial with the best figure of those that were trained to their end. Raises LaminaError where none was."""
        done = [trial for trial in self.trials if trial.outcome == DONE]
        if not done:
            reasons = dict.fromkeys(trial.reason for trial in self.trials if trial.reason)
            raise LaminaError(
                "No trial of this search was trained to its end.",
                "The best is one of those.",
                f"Go on with more trials. {' '.join(list(reasons)[:3])}".strip(),
            )
        return max(done, key=lambda trial: trial.figure if self.more_is_better else -trial.figure)

    def importance(self) -> dict[str, float]:
        """The share of each drawn name in what sets good trials apart (PED-ANOVA, Watanabe 2023, arXiv:2304.10255); largest first.

        Empty where fewer than ten trials were trained to their end: it would be noise.
        """
        import optuna

        done = [trial for trial in self.trials if trial.outcome == DONE]
        if len(done) < _FEWEST or len({trial.figure for trial in done}) < 2:
            return {}
        with quiet(), keeping(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of values that two trials have, or one
            return dict(optuna.importance.get_param_importances(self.optuna))

    def table(self, count: int | None = None) -> Table:
        """The trials, best first, as a table to print; the first `count` of them."""
        from rich.table import Table

        table = Table("trial", "outcome", self.monitor, "time", *self._names(), box=None, pad_edge=False)
        for trial in self.ranked()[:count]:
            cells = [shown(trial[name]) if name in trial else "" for name in self._names()]
            time = "" if math.isnan(trial.seconds) else f"{trial.seconds:.1f} s"
            table.add_row(str(trial.number), trial.outcome, figure_shown(trial.figure), time, *cells)
        return table

    def ranked(self) -> list[Trial]:
        """The trials, best first: those that were done, then those that were stopped, then the rest."""

        def rank(trial: Trial) -> tuple[int, float]:
            figure = -trial.figure if self.more_is_better else trial.figure
            return (DONE, STOPPED).index(trial.outcome) if trial.outcome in (DONE, STOPPED) else 2, (
                math.inf if math.isnan(figure) else figure
            )

        return sorted(self.trials, key=rank)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes trials.csv, slices.png and, where it can be told, importance.png into the folder; returns their paths."""
        import csv

        from lamina.training.tuner import figures as study_figures

        folder = Path(folder)
        names = self._names()
        with replacing(folder / "trials.csv") as path, path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["trial", "outcome", self.monitor, "epochs", "seconds", "seed", *names, "reason"])
            for trial in self.trials:
                figure = "" if math.isnan(trial.figure) else repr(trial.figure)
                head = [trial.number, trial.outcome, figure, len(trial.figures), f"{trial.seconds:.1f}", trial.seed]
                writer.writerow([*head, *(trial.get(name, "") for name in names), trial.reason])
        pictures = {"slices.png": study_figures.slices(self), "importance.png": study_figures.importance(self)}
        drawn = {name: picture for name, picture in pictures.items() if picture is not None}
        for name, picture in drawn.items():
            with replacing(folder / name) as path:
                picture.savefig(path, dpi=110, format="png")
        return [folder / "trials.csv", *(folder / name for name in drawn)]

    def __repr__(self) -> str:
        outcomes = [trial.outcome for trial in self.trials]
        counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        return f"<Study of {self.monitor}: {counts or 'no trial yet'}>"

    def alive(self) -> list[optuna.trial.FrozenTrial]:
        """optuna's trials but for those that were interrupted."""
        import optuna

        states = optuna.trial.TrialState
        wanted = (states.COMPLETE, states.PRUNED, states.RUNNING)
        return [t for t in self.optuna.get_trials(deepcopy=False, states=wanted) if "slot" in t.user_attrs]

    def _names(self) -> list[str]:
        return [name for name, entry in self.space.items() if isinstance(entry, spaces.Range | spaces.Choice)]

    def _told(self, trial: optuna.trial.FrozenTrial) -> Trial:
        facts = trial.user_attrs
        figures = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
        return Trial(
            spaces.read(self.space, trial.params),
            self.space,
            number=facts["slot"],
            seed=facts["seed"],
            outcome=facts.get("outcome", RUNNING),
            reason=facts.get("reason", ""),
            figures=figures,
            seconds=trial.duration.total_seconds() if trial.duration is not None else math.nan,
        )


def open_study(
    space: Mapping[str, Any], *, monitor: str, more_is_better: bool, seed: int, storage: str | os.PathLike[str] | None
) -> Study:
    """The study in a file, or a new one, in memory where no file is named. Raises where the file is of another search."""
    optuna = study_file.require_optuna()
    told = {
        "monitor": repr(monitor),
        "seed": repr(seed),
        **{f"space {n}": t for n, t in spaces.described(space).items()},
    }
    direction: Literal["minimize", "maximize"] = "maximize" if more_is_better else "minimize"
    path = None if storage is None else Path(storage)
    with quiet(), keeping(path):
        if path is None:
            study = optuna.create_study(direction=direction)
            return Study(study, space, monitor=monitor, more_is_better=more_is_better, path=None)
        if not path.exists() or path.stat().st_size == 0:
            study_file.create(path, direction, told)
        study_file.refuse_foreign(path)
        try:
            study = optuna.load_study(study_name=study_file.NAME, storage=study_file.opened(path))
        except KeyError:
            raise study_file.foreign(path, "an optuna study of something else") from None
    began = study.user_attrs.get(study_file.TOLD)
    if not isinstance(began, dict):
        raise study_file.foreign(path, "an optuna study of something else")
    if began != told:
        differences = [
            f"{name}: {began.get(name, 'not there')} in the file, {told.get(name, 'not there')} now"
            for name in [*began, *(name for name in told if name not in began)]
            if began.get(name) != told.get(name)
        ]
        raise LaminaError(
            f"The study in {path} is of another search ({'; '.join(differences)}).",
            "A study goes on with the space, the figure and the seed that it began with.",
            "Pass these, or name another file.",
        )
    return Study(study, space, monitor=monitor, more_is_better=more_is_better, path=path)


def release_dead(study: Study) -> None:
    """Marks trials as interrupted whose process on this machine is no more: it was killed."""
    import optuna

    running = study.optuna.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    for trial in running:
        host, _, number = str(trial.user_attrs.get("process", "")).rpartition(":")
        if not host:  # killed within the moment between drawing a number and saying who drew it
            began = trial.datetime_start
            dead = began is not None and (datetime.now() - began).total_seconds() > 2 * study_file.PATIENCE_S
        else:
            dead = host == socket.gethostname() and not study_file.is_running(int(number))
        if dead:
            study.optuna.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)


def this_process() -> str:
    """This machine and process, as a trial remembers who runs it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def shown(value: Any) -> str:
    """A value as a table has it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def figure_shown(figure: float) -> str:
    """A figure as the lines of training have it."""
    if math.isnan(figure):
        return ""
    return f"{figure:.4f}" if figure == 0 or 1e-3 <= abs(figure) < 1e4 else f"{figure:.3g}"
