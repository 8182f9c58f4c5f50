"""A classifier that is as often right as it says: its temperature, and how it learns one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.data.splits import Splits
from lamina.tasks.classification import inputs

if TYPE_CHECKING:
    from lamina.explain.calibrated import Temperature

_HOT = 64.0  # so warm no probability is rounded to 0 or 1, and logits can be had back
_TINY = float(torch.finfo(torch.float32).tiny)


class Calibrating:
    """The part of a Classifier that keeps a temperature."""

    temperature: float = 1.0  # logits are divided by it; 1 until `calibrate`, and again after `fit`
    _calibrated: Mapping[str, Any] = MappingProxyType({})  # what a file tells of the calibration beside the temperature

    def calibrate(self: Any, data: Any) -> Temperature:
        """Fits the temperature to pictures that were not trained on, and keeps it: in `predict`, in the file, in exports.

        data: as for `evaluate`; of a data set with several parts validation, or what `fit` held out, so that test stays for
        measuring. The result tells the calibration error before and after, measured crosswise on halves (Guo 2017, section 4.2). No answer
        gets another class; several labels a picture may cross their threshold. `evaluate` gives the loss of
        training, without it. Raises LaminaError for a classifier that has not met its data.
        """
        from lamina.explain.calibrated import fit_temperature  # matplotlib is slow to import

        seen = self.memorised(_held_out(inputs.resolve(data), self.split))
        before, self.temperature = self.temperature, _HOT
        try:
            # In torch: an engine would be built for a network that changes at once.
            probs = self.predict_probs(seen, engine="torch").astype(np.float64)
            logits = _HOT * (np.log(probs) - np.log1p(-probs) if self.multi_label else np.log(probs))
            found = fit_temperature(logits, seen.labels)
            before = found.value
        finally:
            self.temperature = before
        self._calibrated = {
            "temperature": found.value,
            "pictures": len(seen.labels),
            "before": found.before.ece,
            "after": found.after.ece,
        }
        return found

    def _told_temperature(self: Any) -> dict[str, Any]:
        """What a file tells of it; of a calibration only while its temperature stands."""
        if self.temperature == 1:
            return {}
        known = self._calibrated.get("temperature") == self.temperature
        how = {name: value for name, value in self._calibrated.items() if name != "temperature"} if known else {}
        return {"temperature": self.temperature, **({"calibrated": how} if how else {})}

    def _take_temperature(self: Any, described: Mapping[str, Any]) -> None:
        """Takes back what `_told_temperature` told."""
        self.temperature = described.get("temperature", 1.0)
        self._calibrated = {"temperature": self.temperature, **described.get("calibrated", {})}


def _held_out(data: Any, split: Mapping[str, Any]) -> Any:
    """The part of a data set that was not trained on and is not the test."""
    if not isinstance(data, Splits) or data.validation is not None:
        return data.validation if isinstance(data, Splits) else data
    if data.train is not None and inputs.was_split(data.train, split):
        return inputs.measured(replace(data, test=None), split)[1]
    raise LaminaError(
        f"{data.name or 'The data'} has no part for validation, and training held nothing out of it.",
        "A temperature is learnt from pictures that were not trained on; the test is for measuring.",
        "Pass pictures of their own, or a part by name, such as calibrate(splits.test), and measure on others.",
    )


class Tempered(nn.Module):
    """Probabilities over a temperature: those that the logits behind them, divided by it, would have given (Guo 2017, eq. 9)."""

    def __init__(self, ending: nn.Module, temperature: float, *, multi_label: bool) -> None:
        super().__init__()
        self.from_logits = not isinstance(ending, nn.Identity)
        self.ending: nn.Module = nn.Sigmoid() if multi_label else nn.Softmax(dim=-1)
        self.temperature, self.multi_label = temperature, multi_label

    def forward(self, outputs: Tensor) -> Tensor:
        values = outputs.float()
        if not self.from_logits:
            logs = values.clamp(min=_TINY).log()
            values = logs - (1 - values).clamp(min=1e-7).log() if self.multi_label else logs
        answers: Tensor = self.ending(values / self.temperature)
        return answers
