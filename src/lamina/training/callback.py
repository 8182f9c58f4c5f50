"""What callbacks are made of: the moments of training, and the exception of one that was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from lamina.training.loop import Loop


class Callback:
    """Something that happens at certain moments of training. Override what you need.

    `self.loop` is the running loop (`loop.step`, `loop.epoch`, `loop.steps_per_epoch`; `loop.stop = True` ends training
    after the step), and `self.model` the model where one trains. `logs` maps names to floats; within an epoch it holds
    the means so far, and reading an entry waits for the device. A method that is not overridden costs nothing.
    """

    loop: Loop
    model: Any = None
    main_only: ClassVar[bool] = False  # prints or writes: where many processes train, only the first one has it

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Before the first step of an epoch (counted from 0)."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """After each step (counted from 0 in each epoch)."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """After an epoch and its validation; `logs` holds both."""

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """After the last epoch, and also when training was stopped or failed (`loop.failed`: other processes may not answer then)."""

    def on_interrupt(self) -> str | None:
        """At Ctrl-C or SIGTERM, between two updates: save what must not be lost; the text returned says how it goes on."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of this callback."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""

    def tell(self, text: str) -> None:
        """Prints a line, of many processes in the first alone."""
        if self.loop.world.is_main:
            print(text)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the update in progress was finished and the run was saved."""


class LiveLogs(Mapping[str, float]):
    """The figures of the epoch in progress; nothing is computed until an entry is read."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __getitem__(self, name: str) -> float:
        return self._loop.figures()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loop.figures())

    def __len__(self) -> int:
        return len(self._loop.figures())
