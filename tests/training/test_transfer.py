"""Transfer learning: which part of a network learns, and how fast."""

import copy

import pytest
import torch
from torch import nn

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.losses import SparseCategoricalCrossentropy
from lamina.structures.batch import Batch
from lamina.training import Loop, Runtime, SupervisedStep, Target, Update, transfer


class Net(nn.Module):
    """Three blocks of convolution and BatchNorm, and a class layer."""

    class_layers = ("fc",)

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.third(self.second(self.pool(self.first(x)))).mean(dim=(2, 3)))


def learning(net):
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]


def trained(net, *, epochs=2, **told):
    """The network after training by the loop, as any person's is."""
    torch.manual_seed(0)
    images, labels = torch.randn(12, 1, 8, 8) + 2, torch.arange(12) % 3
    runtime = Runtime("cpu", precision="float32")
    update = Update(net, "sgd", runtime=runtime, **told)
    step = SupervisedStep(net, update, targets=[Target(SparseCategoricalCrossentropy())], runtime=runtime)
    Loop(step).fit([Batch(images[i : i + 4], labels[i : i + 4]) for i in (0, 4, 8)], epochs=epochs)
    return net


def changed(before, after):
    return {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}


def test_only_the_class_layer_learns_and_nothing_else_changes():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    frozen = transfer.freeze(net)
    assert learning(net) == ["fc.weight", "fc.bias"]
    assert set(frozen) | set(learning(net)) == {name for name, _ in net.named_parameters()}
    assert list(net.state_dict()) == list(before)
    assert changed(before, trained(net)) == {"fc.weight", "fc.bias"}


def test_statistics_follow_the_new_pictures_where_they_are_not_frozen_too():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    transfer.freeze(net, statistics=False)
    after = changed(before, trained(net))
    assert {"first.1.running_mean", "third.1.running_var"} < after
    assert "first.0.weight" not in after


@pytest.mark.parametrize(
    ("up_to", "behind"),
    [
        ("first", ("second", "third", "fc")),
        ("first.0", ("first.1", "second", "third", "fc")),
        ("pool", ("second", "third", "fc")),
        ("third", ("fc",)),
    ],
)
def test_all_up_to_a_named_layer_is_frozen_and_what_lies_behind_learns(up_to, behind):
    net = Net()
    transfer.freeze(net)
    transfer.freeze(net, up_to)  # what was frozen and lies behind is let go
    assert learning(net) == [
        name for name, _ in net.named_parameters() if name.startswith(tuple(f"{b}." for b in behind))
    ]
    modes = {name: module.training for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert modes == {name: name.startswith(behind) for name in modes}
    before = copy.deepcopy(net.state_dict())
    assert {name.partition(".")[0] for name in changed(before, trained(net))} <= {
        name.partition(".")[0] for name in behind
    }


def test_unfreezing_lets_all_learn_and_statistics_can_stay():
    net = Net()
    transfer.freeze(net)
    transfer.unfreeze(net)
    assert all(module.training for module in net.modules())
    assert len(learning(net)) == len(list(net.parameters()))
    transfer.freeze_statistics(net)
    before = copy.deepcopy(net.state_dict())
    after = changed(before, trained(net))
    assert "first.1.weight" in after
    assert not {name for name in after if "running" in name}


def test_an_unknown_layer_lists_the_nearest():
    with pytest.raises(UnknownNameError, match="'third'"):
        transfer.freeze(Net(), "thrid")
    with pytest.raises(LaminaError, match="no layer with weights before"):
        transfer.freeze(nn.Linear(2, 2))


def test_rates_fall_with_the_distance_from_the_classes():
    net = Net()
    groups = transfer.depth_rates(net, decay=0.5, parts=3, rate=0.2)
    update = Update(net, "sgd", runtime=Runtime("cpu", precision="float32"), groups=groups)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    rates = {names[id(p)]: group["lr"] / 0.01 for group in update.optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(names)
    for start, rate in (("fc", 0.2), ("third", 0.1), ("second", 0.05), ("first", 0.025)):
        assert all(value == pytest.approx(rate) for name, value in rates.items() if name.startswith(start))
    assert "0x" not in str(groups)  # a run's config.yaml tells them


def test_rates_by_depth_serve_a_network_with_few_layers_and_refuse_nonsense():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    groups = transfer.depth_rates(net)
    assert sum(1 for group in groups if group.rate < 1) == 1
    Update(net, "adamw", groups=groups)
    for told in ({"decay": 0.0}, {"rate": 2.0}, {"parts": 0}):
        with pytest.raises(LaminaError, match=next(iter(told))):
            transfer.depth_rates(net, **told)
