"""The layer profile: who is counted, how often, and that the parts make the whole. No test looks at how long anything took."""

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import Classifier, Preprocess, explain, models
from lamina.core.errors import LaminaError, ShapeError, UnknownNameError
from lamina.explain.ledger import ENGINE, Ledger
from lamina.explain.profile_table import BETWEEN, LayerTime, Profile, kind_of


class Shared(nn.Module):
    """One convolution, used twice; a sum and a function call that no layer owns."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(3, 2)

    def forward(self, images):
        x = self.act(self.conv(images))
        x = nn.functional.gelu(self.conv(x)) + images
        return self.fc(x.mean(dim=(2, 3)))


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch):
    monkeypatch.setattr("lamina.explain.layer_profile._SHORTEST_S", 0.0)


def measured(net=None, **told):
    return explain.profile(net or Shared(), batch_size=2, size=8, repeats=1, device="cpu", **told)


@pytest.mark.parametrize("train", [False, True])
def test_each_layer_is_counted_once_and_a_shared_one_as_often_as_it_is_used(train):
    found = measured(train=train)
    assert {row.name: row.calls for row in found.rows} == {"": 1, "conv": 2, "act": 1, "fc": 1}
    conv = next(row for row in found.rows if row.name == "conv")
    assert conv.multiply_adds == 2 * 2 * (8 * 8 * 3) * (3 * 3 * 3), "two uses, two pictures"
    assert found.multiply_adds == conv.multiply_adds + 2 * 3 * 2
    assert {row.kind for row in found.rows} == {"convolution", "activation", "linear", BETWEEN}
    assert (conv.backward_s is None) is not train
    assert sum(row.parameters for row in found.rows) == sum(p.numel() for p in Shared().parameters())


def test_multiply_adds_are_those_of_the_summary():
    found = explain.profile("cifar_resnet20", batch_size=2, repeats=1, device="cpu")
    summary = models.Model(lamina.networks.create("cifar_resnet20")).summary((3, 32, 32), show=False)
    assert found.multiply_adds == 2 * summary.multiply_adds
    assert found.activation_bytes == 2 * summary.activation_bytes
    assert found.shape == (2, 3, 32, 32)


def test_the_layers_parts_make_the_whole():
    found = measured(train=True)
    kinds = found.kinds()
    assert sum(forward for forward, _ in kinds.values()) == pytest.approx(sum(row.forward_s for row in found.rows))
    assert sum(found.share(kind) for kind in kinds) == pytest.approx(1)
    assert sum(found.share(kind, backward=True) for kind in kinds) == pytest.approx(1)
    assert found.booked_s == pytest.approx((1 + found.overhead) * found.total_s)
    assert min(row.forward_s for row in found.rows) >= 0


class Clock:
    """Goes on by one at each reading, and by what a layer says that it took."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(nn.Module):
    def __init__(self, clock, seconds, back=0.0):
        super().__init__()
        self.clock, self.seconds, self.back = clock, seconds, back

    def forward(self, x):
        self.clock.now += self.seconds
        return Waits.apply(x, self.clock, self.back)


class Waits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, clock, seconds):
        ctx.clock, ctx.seconds = clock, seconds
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.now += ctx.seconds
        return gradient, None, None


class Outer(nn.Module):
    def __init__(self, clock):
        super().__init__()
        self.clock, self.inner, self.twice = clock, Slow(clock, 5.0, 50.0), Slow(clock, 3.0, 30.0)

    def forward(self, x):
        self.clock.now += 1.0
        x = self.twice(self.inner(x))
        x = Waits.apply(x, self.clock, 7.0)  # a function that no layer owns
        self.clock.now += 2.0
        return self.twice(x)


def test_time_goes_to_the_layer_at_work_and_what_is_between_to_the_outer_one():
    clock = Clock()
    net = nn.Sequential(Outer(clock))
    ledger = Ledger(net, clock)
    with ledger.open(backward=True):
        result = net(torch.ones(1, requires_grad=True))
        with ledger.backward_pass():
            result.backward()
    assert ledger.forward == {"": 0.0, "0": 3.0, "0.inner": 5.0, "0.twice": 6.0}
    assert {name: spent for name, spent in ledger.backward.items() if spent} == {
        "0": 7.0,
        "0.inner": 50.0,
        "0.twice": 60.0,
    }
    assert ledger.backward[ENGINE] == 0
    assert ledger.calls == {"": 1, "0": 1, "0.inner": 1, "0.twice": 2}
    assert not net[0]._forward_hooks


def test_nothing_in_the_model_changes():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    state, seed = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    measured(net, train=True)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(value.grad is None for value in net.parameters())
    assert net.training
    assert torch.equal(torch.get_rng_state(), seed)


def test_networks_with_auxiliary_outputs_are_profiled_in_training():
    found = explain.profile("googlenet", batch_size=2, size=96, repeats=1, train=True, device="cpu")
    used = {row.name for row in found.rows if row.calls}
    assert any(name.startswith("aux") for name in used)


def test_a_classifier_knows_the_size_of_its_pictures():
    model = Classifier(Shared(), classes=["a", "b"], preprocess=Preprocess(size=(12, 8)))
    assert explain.profile(model, batch_size=1, repeats=1, device="cpu").shape == (1, 3, 12, 8)


def fixed():
    rows = (
        LayerTime("", BETWEEN, 1, 0.010, 0.0, 0, 0, 0),
        LayerTime("conv1", "convolution", 1, 0.070, 0.150, 10**9, 10**6, 100),
        LayerTime("fc", "linear", 1, 0.020, 0.050, 10**7, 10**3, 10),
    )
    return Profile("net", (4, 3, 8, 8), "cpu", rows, 0.08, 0.2, 0.01, 10**11, 440, 10**6, 10**7, 10**9)


def test_the_table_says_what_was_measured_beside_the_literature():
    text = str(fixed())
    assert "net, 4 x 3 x 8 x 8, float32 on cpu: forward 80.00 ms, backward 200 ms (14.3 images/s)" in text
    assert (
        "Convolutions: 70.0 % of the forward pass, 75.0 % of the backward pass; literature, AlexNet: 95 % on a GPU, 89 % on a CPU"
        in text
    )
    assert "Learning Semantic Image Representations at a Large Scale" in text
    assert "25.2 GFLOP/s forward, 25.2 % of this machine's 100 GFLOP/s" in text
    assert "the layers' sum is 310 ms, +10.7 %" in text
    assert [line.split()[0] for line in text.splitlines()[3:6]] == ["convolution", "linear", "between"]
    assert fixed().to_dict()["convolutions"] == pytest.approx(0.7)


def test_the_bars_are_told_apart_by_their_hatching_too():
    figure = fixed().figure()
    kinds, layers = figure.axes
    assert [text.get_text() for text in layers.get_yticklabels()] == ["net", "conv1", "fc"]
    hatches = {patch.get_hatch() for patch in kinds.patches}
    assert len(hatches) == 3


def test_kinds_are_told_by_what_a_layer_does():
    kinds = [
        kind_of(module) for module in (nn.Conv1d(1, 1, 1), nn.GELU(), nn.LayerNorm(2), nn.AvgPool2d(2), nn.Flatten())
    ]
    assert kinds == ["convolution", "activation", "normalisation", "pooling", "Flatten"]
    assert kind_of(nn.Sequential(nn.ReLU())) == BETWEEN


def test_wrong_names_sizes_and_numbers_are_refused():
    with pytest.raises(UnknownNameError, match="alexnet"):
        explain.profile("alexnett")
    with pytest.raises(ShapeError, match=r"Sequential was given pictures of 3 x 8 x 8.*torch says"):
        measured(nn.Sequential(nn.Conv2d(3, 2, 9), nn.Flatten()))
    with pytest.raises(LaminaError, match="batch_size is 0"):
        explain.profile(Shared(), batch_size=0)
    with pytest.raises(LaminaError, match=r"is not known.*size=224"):
        explain.profile(Shared())
    with pytest.raises(LaminaError, match="A ndarray came as model"):
        explain.profile(np.zeros(3))
