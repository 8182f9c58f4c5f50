"""How far the values of a regressor may lie apart: they are judged by their spread."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Preprocess, Regressor
from lamina.core.errors import LaminaError
from lamina.export import fastest
from lamina.export.checking import Reference
from lamina.export.samples import Samples

pytestmark = pytest.mark.usefixtures("untimed")


class Given:
    """An engine that gives these answers, whatever it is asked."""

    name, precision = "openvino", "int8"

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, *inputs):
        return (self.answers[: len(inputs[0])],)


def aged(photos, *, loud=1.0, far=0.0):
    """A regressor of ages around 50 that reads one of two channels: the other is `loud` times as large, or both lie `far` from 0."""
    model = Regressor(regressing(), preprocess=Preprocess(size=(32, 32)), names=["age"])
    model.fit(photos(20), torch.linspace(20, 80, 20)[:, None], epochs=0, verbose=0, validation_split=0.0)
    model.net.load_state_dict(regressing(loud, far).state_dict())
    return model


def regressing(loud=1.0, far=0.0):
    net = nn.Sequential(nn.Conv2d(3, 2, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.fill_(1 / 27)
        net[0].weight[1].mul_(loud)
        net[0].bias.fill_(far)
        net[4].weight.copy_(torch.tensor([[1.0, 0.0]]))
        net[4].bias.fill_(-far)
    return net


@pytest.mark.usefixtures("without_openvino")
@pytest.mark.parametrize(
    ("name", "precision", "bad"),
    [("age.onnx", "int8", {"loud": 3000.0}), ("age.pt2", "bfloat16", {"far": 60.0})],
)
def test_values_that_lie_far_apart_for_their_spread_are_an_error(photos, tmp_path, name, precision, bad):
    good = aged(photos).export(tmp_path / name, precision=precision, data=photos(20))
    assert 0 < good.checks[0].of_spread < 0.1
    made = aged(photos, **bad)
    good.path.unlink()
    with pytest.raises(
        LaminaError, match=r"% of the spread on average, .* and on average 20 % of the spread"
    ) as caught:
        made.export(tmp_path / name, precision=precision, data=photos(20))
    assert list(tmp_path.iterdir()) == []
    enough = float(re.search(r"tolerance=([\d.]+)", caught.value.remedy)[1])
    assert enough <= {"int8": 0.5, "bfloat16": 0.1}[precision], "beside the largest answer it is little"
    assert (
        made.export(tmp_path / name, precision=precision, data=photos(20), tolerance=enough).checks[0].of_spread > 0.2
    )


def test_an_engine_whose_values_lie_far_apart_for_their_spread_is_not_chosen():
    model = Regressor(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)), preprocess=Preprocess(size=8))
    x = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    ages = torch.tensor([[40.0, 1e4], [80, 2e4], [60, 1e4], [50, 3e4], [70, 2e4], [60, 1e4]])
    model.fit(x, ages, epochs=0, verbose=0, validation_split=0.0)
    values = Reference(model.deployable(), Samples((x.numpy(),), "pictures"))
    spread = values.answers[0].std(axis=0)
    for share, refused in ((0.15, False), (0.25, True)):
        for number in ([1, 0], [0, 1]):  # one of the two is enough
            answers = values.answers[0] + spread * number * np.float32(share)
            assert values.of_spread((answers,)) == pytest.approx(share, rel=0.01)
            assert ("of their spread" in fastest.judged(Given(answers), "int8", values).reason) == refused
