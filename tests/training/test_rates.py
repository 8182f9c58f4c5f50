"""Learning rates over time, by progress and by epoch, and the momentum that moves with them."""

import copy

import pytest
import torch
from torch import nn

from lamina import losses, optimizers
from lamina.data.loader import ArrayBatches
from lamina.optimizers import Group, schedules
from lamina.training import Callback, Loop, Runtime, SupervisedStep, Target, Update

FLOAT32 = Runtime("cpu", precision="float32")


def run(update, net, updates):
    seen = []
    for _ in range(updates):
        update(net(torch.ones(1, 2)).sum())
        seen.append([group["lr"] for group in update.optimizer.param_groups])
    return seen


class Epochs:
    """1 in the first epoch, 0.1 in the second, and so on; notes what it is asked with."""

    unit = "epochs"

    def __init__(self):
        self.asked = []

    def __call__(self, epoch):
        self.asked.append(epoch)
        return 10.0 ** -int(epoch)


def test_a_schedule_by_epochs_is_asked_with_the_epoch_which_is_whole_at_its_first_update():
    net, schedule = nn.Linear(2, 1), Epochs()
    update = Update(net, optimizers.SGD(0.1), runtime=FLOAT32, schedule=schedule)
    update.plan(3 * 7, epochs=3)
    rates = [rate for (rate,) in run(update, net, 23)]
    assert schedule.asked[::7] == [0.0, 1.0, 2.0, 3.0]
    assert schedule.asked[-1] == 3.0  # beyond the plan it stays
    assert rates[:21] == pytest.approx([0.1] * 7 + [0.01] * 7 + [0.001] * 7)


def test_a_schedule_by_epochs_needs_their_number():
    update = Update(nn.Linear(2, 1), "sgd", runtime=FLOAT32, schedule=Epochs())
    with pytest.raises(ValueError, match="epochs="):
        update.plan(10)


def test_a_schedule_advances_by_updates_and_not_by_micro_batches():
    net = nn.Linear(2, 1)
    update = Update(net, optimizers.SGD(1.0), runtime=FLOAT32, schedule=lambda q: 1 - q, accumulate=2)
    update.plan(4)
    assert [rate for (rate,) in run(update, net, 8)][1::2] == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("optimizer", "read"),
    [
        (optimizers.SGD(0.1, momentum=0.5), lambda group: group["momentum"]),
        (optimizers.Adam(0.1), lambda group: group["betas"][0]),
        (optimizers.Muon(0.1), lambda group: group["momentum"] if group["use_muon"] else group["betas"][0]),
    ],
)
def test_momentum_moves_against_the_rate(optimizer, read):
    net = nn.Linear(2, 1)
    update = Update(net, optimizer, runtime=FLOAT32, schedule=schedules.OneCycleMomentum(warmup=0.5))
    update.plan(4)
    seen = []
    for _ in range(5):
        run(update, net, 1)
        seen.append({read(group) for group in update.optimizer.param_groups})
    assert [momentum for (momentum,) in seen] == pytest.approx([0.95, 0.9, 0.85, 0.9, 0.95])


def test_momentum_moved_in_an_optimizer_without_is_refused():
    with pytest.raises(ValueError, match="momentum"):
        Update(nn.Linear(2, 1), "adagrad", runtime=FLOAT32, schedule=schedules.OneCycleMomentum())


def test_a_schedule_with_its_own_base_rate_overrules_the_optimizer():
    class Own:
        base_rate = 0.5

        def __call__(self, progress):
            return 1 - progress

    net = nn.Linear(2, 1)
    update = Update(net, optimizers.SGD(9.0), runtime=FLOAT32, schedule=Own())
    update.plan(2)
    assert run(update, net, 2) == [[0.5], [0.25]]


def test_groups_learn_at_their_share_of_base_rate_and_schedule():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    update = Update(net, optimizers.SGD(1.0), runtime=FLOAT32, groups=Group("0", rate=0.1), schedule=lambda q: 1 - q)
    update.plan(2)
    assert update.learning_rate == 1.0
    assert run(update, net, 2) == [pytest.approx([0.1, 1.0]), pytest.approx([0.05, 0.5])]
    update.schedule = None
    update.learning_rate = 0.01
    assert run(update, net, 1) == [pytest.approx([0.001, 0.01])]


def test_rates_plan_and_momentum_go_round_with_the_state():
    def make():
        torch.manual_seed(0)
        net = nn.Linear(2, 1)
        update = Update(net, "adam", runtime=FLOAT32, schedule=schedules.OneCycleMomentum(), groups=optimizers.NO_DECAY)
        update.plan(10)
        return net, update

    (net, update), (other, resumed) = make(), make()
    run(update, net, 4)
    update.learning_rate = 0.5
    resumed.load_state_dict(copy.deepcopy(update.state_dict()))  # torch's optimizers would share their tensors
    other.load_state_dict(net.state_dict())
    assert resumed.learning_rate == 0.5
    assert run(update, net, 4) == run(resumed, other, 4)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


BATCHES = ArrayBatches(torch.zeros(16, 2), torch.zeros(16, dtype=torch.int64), batch_size=4)


def scheduled(seen, epochs=(), accumulate=1):
    """A loop whose schedule notes what it is asked with, after trainings of so many epochs."""
    net, target = nn.Linear(2, 3), Target(losses.get("sparse_categorical_crossentropy"))
    schedule = lambda q: seen.append(q) or 1 - q  # noqa: E731
    update = Update(net, "sgd", runtime=FLOAT32, schedule=schedule, accumulate=accumulate)
    loop = Loop(SupervisedStep(net, update, targets=[target], runtime=FLOAT32))
    for each in epochs:
        loop.fit(BATCHES, epochs=each)
    return loop


def test_fit_lays_a_schedule_that_nobody_has_laid():
    seen = []
    scheduled(seen, [2], accumulate=3)
    assert seen == [index / 4 for index in range(4)]  # 4 batches an epoch are 2 updates


def test_each_fit_lays_the_schedule_anew_and_somebody_s_own_plan_stays():
    seen = []
    loop = scheduled(seen, [2, 1])
    assert seen == [index / 8 for index in range(8)] + [0.0, 0.25, 0.5, 0.75]
    loop.step.updates["net"].plan(16)
    del seen[:]
    for _ in range(2):
        loop.fit(BATCHES)
    assert seen == [index / 16 for index in range(8)]


@pytest.mark.parametrize("steps", [2, 4, 6], ids=["in the first epoch", "after it", "in the second"])
def test_a_schedule_goes_on_where_it_stood_and_to_the_end_that_is_asked_for(steps):
    class Keep(Callback):
        def on_train_batch_end(self, batch, logs):
            if self.loop.steps_done == steps + 4 and batch != 3:
                states.append(self.loop.state_dict())

        def on_epoch_end(self, epoch, logs):
            if self.loop.steps_done == steps + 4:
                states.append(self.loop.state_dict())

    states, seen = [], []
    loop = scheduled([], [1])  # so that the plan begins at the fourth update
    loop.callbacks = [Keep()]
    loop.fit(BATCHES, epochs=2)
    other = scheduled(seen)
    other.load_state_dict(states[0])
    other.fit(BATCHES, epochs=3, initial_epoch=other.epoch + (steps == 4))
    assert seen == [index / 12 for index in range(steps, 12)]
    del seen[:]
    other.fit(BATCHES)
    assert seen == [0.0, 0.25, 0.5, 0.75]
