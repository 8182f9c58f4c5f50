"""One loop for every kind of step; examples/ holds a GAN and an L-BFGS step of their own."""

import copy
import os
import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import losses, metrics
from lamina.core import random
from lamina.data.loader import ArrayBatches
from lamina.structures.batch import Logs
from lamina.training import Callback, Interrupted, Loop, Runtime, SupervisedStep, Target, Update

FLOAT32 = Runtime("cpu", precision="float32")


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 36, 3)
    )


def digits(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 1, 8, 8, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def supervised(net: nn.Module, optimizer="adam", metric_names=()) -> SupervisedStep:
    loss = losses.get("sparse_categorical_crossentropy")
    target = Target(loss, metrics=[metrics.get(name, loss) for name in metric_names])
    return SupervisedStep(net, Update(net, optimizer, runtime=FLOAT32), targets=[target], runtime=FLOAT32)


def test_fit_is_the_plain_loop_bit_for_bit():
    x, y = digits()
    ours = FLOAT32.place(small_net())
    step = supervised(ours, lambda p: torch.optim.Adam(p, lr=0.01, fused=True), ["accuracy"])
    Loop(step, seed=3).fit(
        ArrayBatches(x, y, batch_size=16, shuffle=True, seed=3), epochs=3, validation=ArrayBatches(x, y)
    )

    plain = small_net().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01, fused=True)
    steps = 0
    for epoch in range(3):
        plain.train()
        order = random.order(random.key(3, epoch), 50)
        for first in range(0, 50, 16):
            random.reseed(random.key(3, steps))
            index = order[first : first + 16]
            optimizer.zero_grad()
            F.cross_entropy(plain(x[index].contiguous(memory_format=torch.channels_last)), y[index]).backward()
            optimizer.step()
            steps += 1
    for (name, ours_value), plain_value in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours_value, plain_value), name


def test_means_weigh_a_ragged_last_batch_by_its_count():
    class Count:
        networks, updates, metrics = {}, {}, {}

        def train(self, batch):
            return Logs(len(batch), size=torch.tensor(float(len(batch))))

        evaluate = train

    history = Loop(Count()).fit([torch.zeros(4), torch.zeros(4), torch.zeros(1)], epochs=1)
    assert history.history["size"] == [pytest.approx((4 * 4 + 4 * 4 + 1) / 9)]


def test_a_run_taken_up_in_the_middle_of_an_epoch_ends_bit_equal():
    x, y = digits()

    def loop_of(callbacks=()):
        net = small_net()
        return net, Loop(supervised(net, "adam", ["accuracy"]), seed=5, callbacks=callbacks)

    batches = ArrayBatches(x, y, batch_size=8, shuffle=True, seed=5)
    whole_net, whole = loop_of()
    whole.fit(batches, epochs=2)

    class Keep(Callback):
        state = None

        def on_train_batch_end(self, batch, logs):
            if self.loop.steps_done == 10:
                self.state = {k: v.copy() if isinstance(v, dict) else v for k, v in self.loop.state_dict().items()}
                import copy

                self.state = copy.deepcopy(self.state)

    keep = Keep()
    _, first = loop_of([keep])
    first.fit(batches, epochs=2)
    resumed_net, resumed = loop_of()
    resumed.load_state_dict(keep.state)
    resumed.fit(batches, epochs=2, initial_epoch=resumed.epoch)
    for a, b in zip(whole_net.state_dict().values(), resumed_net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert resumed.history.history == whole.history.history


def test_validation_leaves_training_figures_and_modes_alone():
    x, y = digits()
    net = small_net()
    net[1].eval()  # a frozen BatchNorm stays frozen through evaluate
    loop = Loop(supervised(net, "adam", ["accuracy"]))
    net.train()
    net[1].eval()
    figures = loop.evaluate(ArrayBatches(x, y, batch_size=7))
    assert set(figures) == {"loss", "accuracy"}
    assert net.training
    assert not net[1].training


def test_evaluation_does_not_depend_on_the_batch_size():
    x, y = digits()
    loop = Loop(supervised(small_net(), "adam", ["accuracy"]))
    one, other = (loop.evaluate(ArrayBatches(x, y, batch_size=size)) for size in (1, 50))
    assert one == pytest.approx(other, abs=1e-5)


def test_two_networks_of_a_step_do_not_leak_gradients_into_each_other():
    generator, discriminator = nn.Linear(2, 2), nn.Linear(2, 1)

    class Gan:
        networks = {"generator": generator, "discriminator": discriminator}  # noqa: RUF012
        updates = {name: Update(net, "sgd", runtime=FLOAT32) for name, net in networks.items()}  # noqa: RUF012
        metrics = {}  # noqa: RUF012

        def train(self, real):
            self.updates["discriminator"](discriminator(real).mean() - discriminator(generator(real).detach()).mean())
            before = [p.grad.clone() for p in discriminator.parameters()]
            loss = self.updates["generator"](discriminator(generator(real)).mean())
            assert all(torch.equal(p.grad, b) for p, b in zip(discriminator.parameters(), before, strict=True))
            return Logs(len(real), loss=loss)

    history = Loop(Gan()).fit([torch.randn(8, 2) for _ in range(4)], epochs=2)
    assert len(history.history["loss"]) == 2


def test_a_supervised_step_hands_lbfgs_its_closure():
    x, y = digits(30)
    step = supervised(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "lbfgs")
    history = Loop(step).fit(ArrayBatches(x, y, batch_size=30), epochs=5)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


def test_callbacks_are_called_in_order_and_may_stop_training():
    x, y = digits(16)
    seen = []

    class Note(Callback):
        def on_train_begin(self, logs):
            seen.append("begin")

        def on_epoch_begin(self, epoch, logs):
            seen.append(f"epoch {epoch}")

        def on_train_batch_end(self, batch, logs):
            seen.append(f"batch {batch} {sorted(logs)}")

        def on_epoch_end(self, epoch, logs):
            seen.append(f"end {epoch} {sorted(logs)}")
            self.loop.stop = True

        def on_train_end(self, logs):
            seen.append("done")

    Loop(supervised(small_net()), callbacks=[Note()]).fit(
        ArrayBatches(x, y, batch_size=8), epochs=5, validation=ArrayBatches(x, y)
    )
    assert seen == [
        "begin",
        "epoch 0",
        "batch 0 ['loss']",
        "batch 1 ['loss']",
        "end 0 ['loss', 'val_loss']",
        "done",
    ]


def test_ctrl_c_ends_between_two_updates_and_says_how_to_go_on():
    x, y = digits(64)

    class Press(Callback):
        def on_train_batch_end(self, batch, logs):
            if batch == 2:
                os.kill(os.getpid(), signal.SIGINT)

        def on_interrupt(self):
            return "Saved."

    before = signal.getsignal(signal.SIGINT)
    loop = Loop(supervised(small_net()), callbacks=[Press()])
    with pytest.raises(Interrupted, match=r"Stopped by Ctrl-C in epoch 1 of 2, after step 3 of 8\.\nSaved\."):
        loop.fit(ArrayBatches(x, y, batch_size=8), epochs=2)
    assert loop.batch == 3
    assert loop.step.updates["net"].count == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_an_empty_epoch_is_an_error():
    with pytest.raises(ValueError, match="no batch"):
        Loop(supervised(small_net())).fit([], epochs=1)


def test_looking_at_the_figures_or_saving_changes_not_a_bit_of_them():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 1, 8, 8, generator=generator), torch.randn(300, 3, generator=generator)

    class Look(Callback):
        def on_train_batch_end(self, batch, logs):
            if batch % 3 == 0:
                dict(logs)
            if batch % 7 == 0:
                self.loop.load_state_dict(self.loop.state_dict())

    def figures(*callbacks):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        loss = losses.get("mse")
        target = Target(loss, metrics=[metrics.get("mae", loss)])
        step = SupervisedStep(net, Update(net, "sgd", runtime=FLOAT32), targets=[target], runtime=FLOAT32)
        loop = Loop(step, callbacks=callbacks)
        loop.fit(ArrayBatches(x, y, batch_size=3), epochs=2)  # 100 steps: more than wait for one sum
        return {name: [value.hex() for value in values] for name, values in loop.history.history.items()}

    assert figures(Look()) == figures()


class Noisy:
    """A step whose figures are random."""

    networks, updates, metrics = {}, {}, {}

    def train(self, batch):
        return Logs(1, noise=torch.rand(()))

    evaluate = train


def test_an_evaluation_draws_the_same_each_time_and_leaves_the_draws_of_others_alone():
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    for batches in ([0, 1], ArrayBatches(torch.zeros(4, 1), batch_size=2)):
        first, again = (Loop(Noisy(), seed=1).evaluate(batches) for _ in range(2))
        assert first == again
        assert Loop(Noisy(), seed=2).evaluate(batches) != first
    assert torch.equal(torch.rand(2), wanted)


def test_what_callbacks_draw_at_both_ends_of_an_epoch_depends_on_the_epoch_alone():
    class Draw(Callback):
        def __init__(self):
            self.drawn = {}

        def on_epoch_begin(self, epoch, logs):
            self.drawn["begin", epoch] = float(torch.rand(()))

        def on_epoch_end(self, epoch, logs):
            self.drawn["end", epoch] = float(torch.rand(()))

    whole, part = Draw(), Draw()
    Loop(Noisy(), callbacks=[whole]).fit([0, 1], epochs=2, validation=[0])
    loop = Loop(Noisy(), callbacks=[part])
    loop.epochs_done, loop.steps_done, loop.batch = 1, 4, 2  # goes on where only the end of the second epoch is left
    loop.fit([0, 1], epochs=2, initial_epoch=1, validation=[0, 0])
    assert part.drawn == {moment: value for moment, value in whole.drawn.items() if moment[1] == 1}
    assert len(set(whole.drawn.values())) == 4


def test_sums_that_are_taken_back_go_to_where_the_networks_are():
    class Elsewhere(Noisy):
        networks, updates = {"net": nn.Linear(2, 2, device="meta")}, {}
        metrics = {"accuracy": metrics.get("sparse_categorical_accuracy")}  # noqa: RUF012

    loop = Loop(Elsewhere())
    state = loop.state_dict()
    state["metrics"]["accuracy"] = {"sums": (torch.tensor(3.0), 4), "waiting": [[torch.zeros(2, 2), torch.zeros(2)]]}
    loop.load_state_dict(state)
    assert loop.step.metrics["accuracy"].sums[0].device.type == "meta"
    assert loop.step.metrics["accuracy"].sums[1] == 4


def test_what_training_that_broke_off_has_gathered_is_in_no_later_update():
    x, y = digits(64)

    class Break(Callback):
        def on_train_batch_end(self, batch, logs):
            if batch == 1:
                raise RuntimeError("boom")

    def update_of(net):
        return Update(net, "sgd", runtime=FLOAT32, accumulate=4)

    net, other = small_net(), small_net()
    target = Target(losses.get("sparse_categorical_crossentropy"))
    step, plain = (SupervisedStep(n, update_of(n), targets=[target], runtime=FLOAT32) for n in (net, other))
    with pytest.raises(RuntimeError, match="boom"):
        Loop(step, callbacks=[Break()]).fit(ArrayBatches(x, y, batch_size=8))
    net.load_state_dict(other.state_dict())
    for each in (step, plain):
        Loop(each).fit(ArrayBatches(x, y, batch_size=8))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("numbers", [[signal.SIGTERM] * 3, [signal.SIGINT, signal.SIGTERM]], ids=str)
def test_a_second_sigterm_does_not_disturb_the_saving(numbers):
    class Press(Callback):
        saved = False

        def on_train_batch_end(self, batch, logs):
            os.kill(os.getpid(), numbers[0])

        def on_interrupt(self):
            for number in numbers[1:]:
                os.kill(os.getpid(), number)
            self.saved = True

    press = Press()
    with pytest.raises((SystemExit, Interrupted), match="Stopped by"):
        Loop(supervised(small_net()), callbacks=[press]).fit(ArrayBatches(*digits(), batch_size=8))
    assert press.saved


def test_a_second_ctrl_c_stops_at_once():
    class Press(Callback):
        def on_train_batch_end(self, batch, logs):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        Loop(supervised(small_net()), callbacks=[Press()]).fit(ArrayBatches(*digits(), batch_size=8))
    assert not isinstance(stopped.value, Interrupted)


@pytest.mark.parametrize("where", ["last step", "validation"])
def test_a_signal_in_or_before_a_validation_waits_for_no_end_of_it_and_nothing_is_lost(where):
    seen, states = [], []

    class Slow(ArrayBatches):
        press = where == "validation"

        def __iter__(self):
            for batch in super().__iter__():
                seen.append(1)
                if self.press:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    class Save(Callback):
        def on_train_batch_end(self, batch, logs):
            if where == "last step" and batch == 6 and not states:
                os.kill(os.getpid(), signal.SIGTERM)

        def on_interrupt(self):
            states.append(copy.deepcopy(self.loop.state_dict()))

    def loop_of(*callbacks):
        return Loop(supervised(small_net(), metric_names=["accuracy"]), seed=3, callbacks=callbacks)

    x, y = digits()
    loop, held = loop_of(Save()), Slow(x, y, batch_size=8)
    with pytest.raises(SystemExit):
        loop.fit(ArrayBatches(x, y, batch_size=8), epochs=2, validation=held)
    assert len(seen) == (1 if where == "validation" else 0)
    again, whole = loop_of(), loop_of()
    again.load_state_dict(states[0])
    held.press = False
    again.fit(ArrayBatches(x, y, batch_size=8), epochs=2, initial_epoch=again.epoch, validation=held)
    whole.fit(ArrayBatches(x, y, batch_size=8), epochs=2, validation=held)
    assert again.history.history == whole.history.history
    assert all(torch.equal(a, b) for a, b in zip(again.step.net.parameters(), whole.step.net.parameters(), strict=True))
