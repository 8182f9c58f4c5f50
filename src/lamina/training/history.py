"""What was logged in each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping


class History:
    """What was logged: `history["val_loss"][3]` belongs to `epoch[3]`."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the figures of one epoch; NaN where one was not logged, such as those of a metric that a resumed run added."""
        for name in logs:
            self.history.setdefault(name, [math.nan] * len(self.epoch))
        for name, values in self.history.items():
            values.append(logs.get(name, math.nan))
        self.epoch.append(epoch)

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs: {', '.join(self.history)})"
