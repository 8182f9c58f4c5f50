"""What a search may draw: ranges, choices, and values that are fixed. Nothing here needs optuna until something is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lamina.core.errors import LaminaError, UnknownNameError, nearest_names

When = Mapping[str, Any]
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `step` apart where it is given, evenly in their logarithm with `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: float | None = None
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = isinstance(self.low, int | float) and isinstance(self.high, int | float)
        whole = not self.whole or (isinstance(self.low, int) and isinstance(self.high, int))
        if not numbers or not whole or not self.low < self.high or (self.log and self.low <= 0):
            wanted = "Two whole numbers" if self.whole else "Two numbers"
            raise LaminaError(
                f"The range {self!r} came.",
                f"{wanted}, the lower first{' and above 0' if self.log else ''}, were expected.",
                "Write for example tuner.log_uniform(1e-4, 1e-1), and a value that is fixed as itself.",
            )

    def __repr__(self) -> str:
        name = "integer" if self.whole else "log_uniform" if self.log else "uniform"
        step = "" if self.step in (None, 1) else f", step={self.step}"
        log = ", log=True" if self.log and self.whole else ""
        return f"{name}({self.low!r}, {self.high!r}{step}{log}{_told(self.when)})"

    def draw(self, name: str, trial: Any) -> Any:
        """A number, drawn by an optuna trial."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def read(self, stored: Any) -> Any:
        """The value of what a study has stored."""
        return stored


@dataclass(frozen=True)
class Choice:
    """One of several values; a study stores their labels."""

    options: Mapping[Any, Any]
    when: When = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"choice({', '.join(map(repr, self.options))}{_told(self.when)})"

    def draw(self, name: str, trial: Any) -> Any:
        """One of the values, drawn by an optuna trial."""
        return self.options[trial.suggest_categorical(name, list(self.options))]

    def read(self, stored: Any) -> Any:
        """The value of what a study has stored."""
        return self.options[stored]


Drawn = Range | Choice


def uniform(low: float, high: float, *, step: float | None = None, when: When | None = None) -> Range:
    """Any number from `low` to `high`; multiples of `step` above `low`, where it is given.

    `when={"optimizer": "sgd"}`: drawn only in trials in which that entry of the space, which stands before, has that value
    (or one of a tuple of values). In others the name is missing: `trial.get("momentum", 0.0)`.
    """
    return Range(low, high, step=step, when=dict(when or {}))


def log_uniform(low: float, high: float, *, when: When | None = None) -> Range:
    """A number from `low` to `high`, each factor of ten as likely as any other: for rates. `when` as for `uniform`."""
    return Range(low, high, log=True, when=dict(when or {}))


def integer(low: int, high: int, *, step: int = 1, log: bool = False, when: When | None = None) -> Range:
    """A whole number from `low` to `high`, both included. `when` as for `uniform`."""
    return Range(low, high, log=log, whole=True, step=step, when=dict(when or {}))


def choice(*options: Any, when: When | None = None) -> Choice:
    """One of the values. Objects without a name of their own come as one dict of name -> object. `when` as for `uniform`."""
    if len(options) == 1 and isinstance(options[0], Mapping):
        labelled = dict(options[0])
    else:
        labelled = {_label(option): option for option in options}
        if len(labelled) < len(options):
            raise LaminaError(
                f"choice came with {', '.join(map(str, options))}.", "Each value once was expected.", "Leave one out."
            )
    if not labelled:
        raise LaminaError(
            "choice came without values.", "One or more were expected.", "Write tuner.choice(64, 128, 256)."
        )
    return Choice(labelled, dict(when or {}))


def checked(space: Mapping[str, Any]) -> dict[str, Any]:
    """The space, where a trial can be drawn from it. Raises LaminaError."""
    if not isinstance(space, Mapping) or not any(isinstance(entry, Range | Choice) for entry in space.values()):
        raise LaminaError(
            f"The space is {type(space).__name__ if not isinstance(space, Mapping) else list(space)}, with nothing to draw.",
            "A dict of names was expected, some of them drawn.",
            'Write {"lr": tuner.log_uniform(1e-4, 1e-1), "epochs": 5}.',
        )
    before: list[str] = []
    for name, entry in space.items():
        if isinstance(entry, list | set):
            raise LaminaError(
                f"The space has {name!r}: {entry}.",
                "A value, or one of tuner.choice, uniform, log_uniform and integer, was expected.",
                f"Write tuner.choice({', '.join(map(repr, entry))}); a fixed list is written as a tuple.",
            )
        for condition in entry.when if isinstance(entry, Range | Choice) else ():
            if condition not in before:
                raise LaminaError(
                    f"{name!r} is drawn when {condition!r} has a certain value.",
                    f"Names that stand before it were expected: {', '.join(before) or 'none do'}.",
                    f"Put {condition!r} in front of {name!r}.",
                )
        before.append(name)
    return dict(space)


def described(space: Mapping[str, Any]) -> dict[str, str]:
    """The space as texts: what a study remembers, and compares when it is opened again."""
    return {name: repr(entry) if isinstance(entry, Range | Choice) else _shown(entry) for name, entry in space.items()}


def draw(space: Mapping[str, Any], trial: Any) -> dict[str, Any]:
    """A value for each name whose condition holds, drawn by an optuna trial."""
    values: dict[str, Any] = {}
    for name, entry in space.items():
        if not isinstance(entry, Range | Choice):
            values[name] = entry
        elif _holds(entry.when, values):
            values[name] = entry.draw(name, trial)
    return values


def read(space: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trial from what a study has stored, in the order of the space."""
    values: dict[str, Any] = {}
    for name, entry in space.items():
        if not isinstance(entry, Range | Choice):
            values[name] = entry
        elif name in stored:
            values[name] = entry.read(stored[name])
    return values


class Drawing(Mapping[str, Any]):
    """The values of a trial. A name that the space does not have is an error, also for `get`; one that was not drawn is not there."""

    def __init__(self, values: Mapping[str, Any], space: Mapping[str, Any]) -> None:
        self._values, self._space = dict(values), space
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        if name not in self._space:
            near = ", ".join(map(repr, nearest_names(name, self._space)))
            raise UnknownNameError(
                f"build asked for {name!r}, which the space does not have.",
                f"The nearest that it has: {near}.",
                "Add it to the space, or ask for one of these.",
            )
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return name in self._values

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _holds(when: When, values: Mapping[str, Any]) -> bool:
    return all(
        name in values and values[name] in (wanted if isinstance(wanted, tuple) else (wanted,))
        for name, wanted in when.items()
    )


def _label(option: Any) -> Any:
    if isinstance(option, _PLAIN):
        return option
    shown = getattr(option, "__qualname__", None) or repr(option)
    if " at 0x" in shown or "<lambda>" in shown:
        raise LaminaError(
            f"choice came with {shown}, which has no name that lasts.",
            "A study on disk remembers names.",
            'Give names: tuner.choice({"small": ..., "large": ...}).',
        )
    return shown


def _shown(value: Any) -> str:
    shown = repr(value)
    return type(value).__name__ if " at 0x" in shown else shown


def _told(when: When) -> str:
    return f", when={dict(when)!r}" if when else ""
