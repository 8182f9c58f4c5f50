"""Averaged weights, slow weights, BatchNorm's statistics under them."""

import copy

import pytest
import torch
from torch import nn

from lamina.data.workers import WorkerBatches
from lamina.structures.batch import Logs
from lamina.training import Runtime, Update, recalibrate
from lamina.training.averaging import EMA, SWA, AveragedWeights, Lookahead, WiSE, averaged
from lamina.training.transfer import freeze_statistics

FLOAT32 = Runtime("cpu", precision="float32")
X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A BatchNorm, and a mask whose infinities no average survives."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def forward(self, x):
        return self.body(x)


def step(net, update, index):
    torch.manual_seed(index)
    return update((net(X[index % 4 * 8 :][:8]) ** 2).mean())


def copied(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def trained(updates, **settings):
    net = Net()
    update = Update(net, "adam", runtime=FLOAT32, **settings)
    update.plan(updates)
    history = []
    for index in range(updates):
        step(net, update, index)
        history.append(copied(net))
    return net, update, history


def test_ema_is_its_formula_and_covers_batchnorm():
    net, update, history = trained(40, average=EMA(decay=0.8))
    expected = {name: value.double() for name, value in history[0].items()}
    for made, state in enumerate(history[1:], start=1):
        decay = min(0.8, (1 + made) / (10 + made))
        expected = {name: decay * expected[name] + (1 - decay) * state[name].double() for name in expected}
    live = copied(net)
    with update.averaged():
        for name, value in net.state_dict().items():
            if value.is_floating_point() and name != "mask":
                assert torch.allclose(value.double(), expected[name], atol=1e-6), name
                assert not torch.equal(value, live[name]), name
        assert torch.equal(net.mask, torch.tensor([0.0, -torch.inf]))


def test_swa_is_the_mean_from_its_start_on():
    net, update, history = trained(20, average=SWA(start=0.75))
    with update.averaged():
        for name, parameter in net.named_parameters():
            mean = torch.stack([state[name] for state in history[15:]]).mean(dim=0)
            assert torch.allclose(parameter, mean, atol=1e-7), name


def test_swa_begins_anew_with_a_new_plan_and_has_nothing_to_show_before_its_start():
    net, update, _ = trained(4, average=SWA(start=0.5))
    assert update.average.made
    update.plan(10)
    assert not update.average.made
    before = copied(net)
    with update.averaged():
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_wise_is_between_the_weights_before_and_those_of_now():
    torch.manual_seed(0)
    net = Net()
    before = copied(net)
    update = Update(net, "adam", runtime=FLOAT32, average=WiSE(alpha=0.3))
    for updates in (5, 3):  # the second training goes out from where the first ended
        update.plan(updates)
        for index in range(updates):
            step(net, update, index)
        live = copied(net)
        with update.averaged():
            for name, parameter in net.named_parameters():
                between = 0.7 * before[name] + 0.3 * live[name]
                assert torch.allclose(parameter, between, atol=1e-6), name
                assert not torch.allclose(parameter, live[name], atol=1e-5), name
        before = live


def test_wise_with_nothing_of_now_is_what_was_before():
    torch.manual_seed(0)
    before = copied(Net())
    net, update, _ = trained(3, average=WiSE(alpha=0.0))
    with update.averaged():
        assert all(torch.equal(parameter, before[name]) for name, parameter in net.named_parameters())


def test_averages_within_averages_are_the_same():
    net, update, _ = trained(3, average=WiSE())
    with update.averaged():
        outer = copied(net)
        with update.averaged():
            assert all(torch.equal(value, outer[name]) for name, value in net.state_dict().items())
        assert all(torch.equal(value, outer[name]) for name, value in net.state_dict().items())


def test_a_state_of_a_first_update_that_was_skipped_is_taken_back():
    net = Net()
    update = Update(net, "adam", runtime=FLOAT32, average=WiSE())
    update.plan(3)
    update.guard()
    update((net(X) * torch.inf).sum())
    assert update.skipped == 1
    other = Update(again := Net(), "adam", runtime=FLOAT32, average=WiSE())
    other.load_state_dict(copy.deepcopy(update.state_dict()))
    step(again, other, 0)
    assert other.average.made == 1


def test_afterwards_all_is_as_it_was_bit_for_bit_also_after_an_error():
    net, update, _ = trained(10, average=EMA())
    before, tensors = copied(net), [id(p) for p in net.parameters()]

    def fail():
        with update.averaged():
            recalibrate(net, [X])
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert tensors == [id(p) for p in net.parameters()]


def test_averaging_leaves_training_alone():
    plain, averaged = trained(7)[2][-1], trained(7, average=EMA())[2][-1]
    assert all(torch.equal(plain[name], averaged[name]) for name in plain)


def test_half_precision_is_averaged_in_float32():
    class Thousandth:
        def share(self, made, progress):
            return 0.001

    net = nn.Linear(2, 1, bias=False, dtype=torch.bfloat16)
    averages = AveragedWeights(Thousandth(), [net], list(net.parameters()))
    for value in (0.0, *[1.0] * 693):
        nn.init.constant_(net.weight, value)
        averages.follow(0.0)
    with averages.swapped():
        assert net.weight.float().tolist() == [[0.5, 0.5]]  # in bfloat16 a thousandth is lost from 0.25 on


def test_recalibrated_statistics_are_those_of_all_samples_without_dropout():
    net = Net().train()
    net.body[2].eval()
    modes = [module.training for module in net.modules()]
    recalibrate(net, [X[:20], X[20:]])
    features = net.body[0](X)
    norm = net.body[1]
    assert torch.allclose(norm.running_mean, features.mean(dim=0), atol=1e-6)
    parts = torch.stack([features[:20].var(dim=0), features[20:].var(dim=0)])
    assert torch.allclose(norm.running_var, (parts * torch.tensor([[20 / 32], [12 / 32]])).sum(dim=0), atol=1e-6)
    assert norm.momentum == 0.1
    assert modes == [module.training for module in net.modules()]


def test_recalibrating_is_torchs_update_bn_where_batches_are_alike():
    ours, theirs = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), None
    theirs = copy.deepcopy(ours)
    recalibrate(ours, list(X.split(8)))
    torch.optim.swa_utils.update_bn(list(X.split(8)), theirs)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_statistics_that_training_leaves_as_they_are_are_not_measured_under_averages():
    made = Forward(SWA(start=0.0))
    freeze_statistics(made.body)
    made.updates["body"].plan(4)
    for _ in range(2):
        made.train(X)
    norm, other = made.body.body[1], made.critic.body[1]
    tracked = other.num_batches_tracked.item()
    before = copied(norm)
    with averaged(made, [X]):
        assert all(torch.equal(norm.state_dict()[name], before[name]) for name in ("running_mean", "running_var"))
        assert other.num_batches_tracked == tracked
    made.body.eval()  # by who looks on: what training leaves as it is stays
    with averaged(made, [X]):
        assert all(torch.equal(norm.state_dict()[name], before[name]) for name in ("running_mean", "running_var"))
    recalibrate(made.body, [X])  # nothing trains now, so there is nothing that it could mean
    assert not torch.equal(norm.running_mean, before["running_mean"])


def test_recalibrating_on_nothing_is_refused_and_changes_nothing():
    net = Net()
    net(X)
    before = copied(net)
    with pytest.raises(ValueError, match="no batch"):
        recalibrate(net, [])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_lookahead_is_the_hand_written_loop():
    net, update, _ = trained(0, lookahead=Lookahead(k=3, alpha=0.25))
    hand = Net()
    optimizer = Update(hand, "adam", runtime=FLOAT32)
    slow = [p.detach().clone() for p in hand.parameters()]
    for index in range(8):
        step(net, update, index)
        step(hand, optimizer, index)
        if (index + 1) % 3 == 0:
            with torch.no_grad():
                for p, s in zip(hand.parameters(), slow, strict=True):
                    s += 0.25 * (p - s)
                    p.copy_(s)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(net.parameters(), hand.parameters(), strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"average": EMA(decay=0.9)},
        {"average": SWA(start=0.2)},
        {"average": WiSE(alpha=0.4)},
        {"lookahead": Lookahead(k=4)},
        {"average": EMA(), "lookahead": Lookahead(), "accumulate": 2, "clip_norm": 0.1},
    ],
)
def test_a_resumed_run_is_bit_equal(settings):
    def run(begin, end, state=None):
        net = Net()
        update = Update(net, "adam", runtime=FLOAT32, **settings)
        update.plan(20)
        if state is not None:
            net.load_state_dict(state[0])
            update.load_state_dict(state[1])
        for index in range(begin, end):
            step(net, update, index)
        return net, update

    net, update = run(0, 17)
    middle = run(0, 9)
    again, other = run(9, 17, copy.deepcopy((middle[0].state_dict(), middle[1].state_dict())))
    for swapped in (False, True):
        states = []
        for one, its in ((net, update), (again, other)):
            if swapped:
                with its.averaged():
                    states.append(copied(one))
            else:
                states.append(copied(one))
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_state_without_the_averages_is_refused():
    _, plain, _ = trained(2)
    _, averaging, _ = trained(2, average=EMA())
    with pytest.raises(ValueError, match="average"):
        averaging.load_state_dict(plain.state_dict())


@pytest.mark.parametrize(
    "make", [lambda: EMA(1.5), lambda: SWA(-0.1), lambda: WiSE(1.5), lambda: Lookahead(k=0), lambda: Lookahead(alpha=2)]
)
def test_settings_that_mean_nothing_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_an_average_that_is_none_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"EMA\("):
        Update(Net(), "sgd", runtime=FLOAT32, average=EMA)


@pytest.mark.parametrize(("name", "rule"), [("ema", EMA()), ("swa", SWA()), ("wise", WiSE())])
def test_an_average_is_known_by_its_name(name, rule):
    assert Update(Net(), "sgd", runtime=FLOAT32, average=name).average.rule == rule


def test_a_name_that_no_average_has_lists_the_known():
    with pytest.raises(ValueError, match="'ema'"):
        Update(Net(), "sgd", runtime=FLOAT32, average="mean")


def test_an_average_of_ones_own_is_told_the_progress():
    told = []

    class Own:
        def share(self, made, progress):
            told.append(progress)
            return 0.5

    update = Update(net := Net(), "sgd", runtime=FLOAT32, average=Own())
    assert update.needs_plan
    with pytest.raises(ValueError, match="no plan"):
        step(net, update, 0)
    update.plan(4)
    for index in range(4):
        step(net, update, index)
    assert told == [0.25, 0.5, 0.75, 1.0]


class Steps:
    """A step over two networks; the second is not passed by `forward`."""

    def __init__(self, average):
        self.body, self.critic = Net(), Net()
        self.networks = {"body": self.body, "critic": self.critic}
        self.updates = {"body": Update(self.networks.values(), "sgd", runtime=FLOAT32, average=average)}
        self.metrics, self.passes = {}, 0

    def train(self, batch):
        return Logs(len(batch), loss=self.updates["body"]((self.body(batch) ** 2).mean() + self.critic(batch).sum()))

    def evaluate(self, batch):
        return Logs(len(batch), loss=self.body(batch).mean())


class Forward(Steps):
    def forward(self, batch):
        self.passes += 1
        return self.body(batch)


def averaging_step(kind=Forward):
    made = kind(SWA(start=0.0))
    made.updates["body"].plan(4)
    for _ in range(2):
        made.train(X)
    return made


def test_a_step_with_forward_and_no_net_has_its_statistics_measured_once_for_each_state_of_the_weights():
    made = averaging_step()
    counted = made.critic.body[1].num_batches_tracked.item()
    for passes in (4, 4):
        with averaged(made, X.split(8)):
            assert torch.allclose(made.body.body[1].running_mean, made.body.body[0](X).mean(dim=0), atol=1e-6)
            assert made.critic.body[1].num_batches_tracked == counted  # no batch passed
            statistics = copied(made.body)
        assert made.passes == passes
    made.train(X)
    with averaged(made, X.split(8)):
        assert not torch.equal(statistics["body.1.running_mean"], made.body.body[1].running_mean)
    assert made.passes == 8


@pytest.mark.parametrize("kind", [Steps, Forward])
def test_statistics_that_cannot_be_measured_are_told_once(kind):
    made = averaging_step(kind)
    with pytest.warns(UserWarning, match="not measured under the averaged weights"), averaged(made, iter([X])):
        pass
    with averaged(made, iter([X])):
        pass


def test_looking_in_the_midst_of_an_epoch_that_workers_read_leaves_the_epoch_alone():
    pictures = [(torch.full((1, 2, 2), index, dtype=torch.uint8), 0) for index in range(12)]
    batches = WorkerBatches(pictures, 3, workers=0)
    made = averaging_step()
    made.forward = lambda batch: made.body(batch.inputs.flatten(1)[:, :3].float())
    seen = []
    for batch in batches.epoch(0):
        seen += batch.inputs[:, 0, 0, 0].tolist()
        made.train(X)
        with averaged(made, batches):
            pass
    assert seen == list(range(12))


def test_other_weights_make_the_average_and_the_slow_weights_begin_anew():
    _, update, _ = trained(6, average=EMA(), lookahead=Lookahead())
    update.forget_averages()
    assert update.average.made == 0
    assert update.state_dict()["lookahead"] == {"tensors": []}
