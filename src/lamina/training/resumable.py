"""Callbacks that begin anew with each `fit`, unless a resumed run brings their state back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.training.callback import Callback


class Resumable(Callback):
    """Has the attributes named in `_state`, at first as `_begin` sets them."""

    _state: tuple[str, ...] = ()
    _resumed = False  # whether this fit goes on with what `load_state_dict` brought

    def _begin(self) -> None:
        raise NotImplementedError

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Begins anew, unless a resumed run has brought the state back."""
        if not self._resumed:
            self._begin()
        self._resumed = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name in self._state:
            if name in state:  # an older version may have kept less
                setattr(self, name, state[name])
        self._resumed = True
