"""Loss scaling: float16 holds nothing below 6e-8, so the loss is multiplied before differentiating and the gradients divided after."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.core.warnings import warn

_PATIENCE = 40  # updates skipped in a row: the scale is then 2^16 / 2^40, and no gradient overflows by that


class _Stepped:
    """An optimizer as GradScaler sees it. The fused kernels' own way to skip would pass by the hooks of our optimizers."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's."""
        return self._optimizer.param_groups

    def step(self) -> bool:
        """Steps, and says so."""
        self._optimizer.step()
        return True


class LossScale:
    """The factor of the loss: halved when a gradient overflows, and that update is skipped; doubled after 2,000 that did not.

    (Micikevicius 2018, arXiv:1710.03740, section 3.2; torch.amp.GradScaler.) Waits for the device once an update, for only
    the host can leave the update out.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._scaler, self._device = torch.amp.GradScaler(device.type), device
        self._stepped = _Stepped(optimizer)
        self._skipped = 0  # in a row
        self._warned = False

    @property
    def factor(self) -> float:
        """What the loss is multiplied by; waits for the device."""
        return self._scaler.get_scale()

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to differentiate."""
        return self._scaler.scale(loss)

    def unscale(self) -> None:
        """Divides the gradients; before they are clipped."""
        self._scaler.unscale_(self._stepped)  # type: ignore[arg-type]

    def step(self) -> bool:
        """The optimizer's step on unscaled gradients; False where one was not finite, and the step was left out."""
        made = self._scaler.step(self._stepped) is not None  # type: ignore[arg-type]
        self._scaler.update()
        self._skipped = 0 if made else self._skipped + 1
        if not made:
            self._tell()
        return made

    def _tell(self) -> None:
        scale = self._scaler.get_scale()
        if self._skipped >= _PATIENCE:
            raise LaminaError(
                f"The gradients of {_PATIENCE} updates in a row were not finite, though the loss scale went down to {scale:.3g}.",
                "A loss scale that is small enough keeps float16 from overflowing, unless the loss itself is NaN or infinite.",
                'Look for the first such tensor with training.first_nonfinite(step, batch), or train in "bfloat16" or "float32".',
            )
        if not self._warned:
            self._warned = True
            warn(
                f"An update was skipped: a gradient overflowed in float16. The loss scale is now {scale:g}. "
                "A few such updates at the beginning are usual, and this is said once.",
            )

    def state_dict(self) -> dict[str, Any]:
        """The scale and when it last changed."""
        return {"scaler": self._scaler.state_dict(), "skipped": self._skipped, "warned": self._warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._scaler.load_state_dict(state["scaler"])
        self._scaler.scale(torch.zeros((), device=self._device))  # else it has no scale before its first loss
        self._skipped, self._warned = state["skipped"], state["warned"]
