"""Snapshots: the models of one run, kept."""

import pytest
from torch import nn

from lamina.callbacks import Snapshots
from lamina.core.errors import LaminaError
from lamina.training import Loop, Runtime, SupervisedStep


def test_snapshots_need_a_model():
    step = SupervisedStep(nn.Linear(1, 1), None, targets=[], runtime=Runtime("cpu"))
    with pytest.raises(LaminaError, match="bare loop"):
        Loop(step, callbacks=[Snapshots("x", every=1)]).callbacks[0].on_train_begin({})
