"""The share of a batch that is learnt from, over the epochs: what is easy is learnt before what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

from lamina.core.errors import LaminaError
from lamina.losses import SmallLoss
from lamina.training.callback import Callback


class RampSmallLoss(Callback):
    """Raises the rate of a SmallLoss from 0 in the first epoch to its whole after `epochs` epochs (Han 2018, R(T)).

    A network that knows nothing yet has no small losses to go by. A further `fit` goes on with the whole rate.
    """

    def __init__(self, epochs: int) -> None:
        if epochs < 1:
            raise LaminaError(
                f"RampSmallLoss: epochs is {epochs}.", "One epoch or more was expected.", "Leave it out for none."
            )
        self.epochs = epochs

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Raises LaminaError where nothing is trained with a SmallLoss."""
        if not self._losses():
            raise LaminaError(
                "RampSmallLoss came without a SmallLoss.",
                "It raises the rate of one.",
                "Compile with loss=lamina.losses.SmallLoss(rate=...).",
            )

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """The rate of this epoch."""
        self._set(min(self.loop.epochs_done / self.epochs, 1.0))

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """The loss is as it was."""
        self._set(1.0)

    def _losses(self) -> list[SmallLoss]:
        targets = getattr(self.loop.step, "targets", ())
        return [target.loss for target in targets if isinstance(target.loss, SmallLoss)]

    def _set(self, share: float) -> None:
        for loss in self._losses():
            vars(loss)["ramp"] = share  # a loss is frozen, for it is a setting; this is where training stands
