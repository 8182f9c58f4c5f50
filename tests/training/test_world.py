"""Several gloo processes on one machine: what they average, agree on and learn is what one process would."""

import os
import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import losses, metrics
from lamina.data.loader import ArrayBatches
from lamina.nn import synchronise
from lamina.training import Callback, Interrupted, Loop, RunFolder, Runtime, SupervisedStep, Target, Update
from lamina.training import world as worlds
from lamina.training.world import Agreement, World


def float32() -> Runtime:
    """Made where it is used: it takes the world as it finds it."""
    return Runtime("cpu", precision="float32")


def digits(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 1, 8, 8, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def small_net(*, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * 36, 3)
    )


def loop_of(net: nn.Module, optimizer="adam", *, seed=5, callbacks=(), **options) -> Loop:
    loss = losses.get("sparse_categorical_crossentropy")
    runtime = float32()
    runtime.place(synchronise(net))
    update = Update(net, optimizer, runtime=runtime, **options)
    target = Target(loss, metrics=[metrics.get("accuracy", loss)])
    return Loop(SupervisedStep(net, update, targets=[target], runtime=runtime), seed=seed, callbacks=callbacks)


def batches_of(world: World, count=103, batch_size=16, **options) -> ArrayBatches:
    return ArrayBatches(*digits(count), batch_size=batch_size, shard=world.shard, **options)


def are_equal(world: World, *networks: nn.Module) -> bool:
    states = world.gather([tensor for net in networks for tensor in net.state_dict().values()])
    return all(torch.equal(a, b) for other in states[1:] for a, b in zip(states[0], other, strict=True))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# What is averaged -------------------------------------------------------------------------------------------------


def averaged(world):
    """Gradients of every kind of layout and presence, and two counts; in buckets so small that there are several."""
    worlds._BUCKET = 4000
    told = []
    for kind in ("number", "tensor", "nothing here"):
        generator = torch.Generator().manual_seed(world.rank)
        parameters = [
            nn.Parameter(torch.zeros(8, 4, 3, 3).to(memory_format=torch.channels_last)),
            nn.Parameter(torch.zeros(5, dtype=torch.bfloat16)),
            nn.Parameter(torch.zeros(())),  # used by process 0 alone
            nn.Parameter(torch.zeros(2000)),
            nn.Parameter(torch.zeros(7)),  # used by nobody
            nn.Parameter(torch.zeros(6, 3).t()),
        ]
        count = 3.0 if world.rank == 0 else 5.0 if kind != "nothing here" else 0.0
        own = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype) for p in parameters]
        for index, (p, gradient) in enumerate(zip(parameters, own, strict=True)):
            if index != 4 and (index != 2 or world.rank == 0):
                p.grad = torch.empty_like(p).copy_(gradient) * count
                if count == 0.0:
                    p.grad.fill_(torch.nan)  # the mean of no labels
        world.average(parameters, torch.tensor(count) if kind != "number" else count)
        told.append((count, own, [p.grad for p in parameters], [p.stride() for p in parameters]))
    return told


def test_gradients_are_weighed_by_counts_and_missing_ones_are_zeros(together):
    for (count0, own0, got0, strides), (count1, own1, got1, _) in zip(*together(averaged), strict=True):
        assert got0[4] is got1[4] is None
        for index, (a, b) in enumerate(zip(own0, own1, strict=True)):
            if index == 4:
                continue
            b = torch.zeros_like(b) if index == 2 else b
            expected = (a.double() * count0 + b.double() * count1) / (count0 + count1)
            assert torch.equal(got0[index], got1[index])
            assert got0[index].dtype == own0[index].dtype
            assert index == 5 or got0[index].stride() == strides[index]
            tolerance = 2e-2 if index == 1 else 1e-6
            torch.testing.assert_close(got0[index].double(), expected, rtol=tolerance, atol=tolerance)


def words(world):
    net = nn.Sequential(nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last), nn.BatchNorm2d(2))
    net[1].num_batches_tracked.fill_(world.rank + 3)
    world.broadcast(net)
    assert are_equal(world, net)
    assert net[1].num_batches_tracked == 3
    net[0].bias.data.fill_(world.rank)
    net[1].running_mean.fill_(world.rank + 1)
    world.broadcast([net], buffers_only=True)
    assert net[0].bias.data[0] == world.rank
    assert net[1].running_mean[0] == 1
    assert world.most(world.rank, -world.rank) == [world.size - 1, 0]
    assert float(world.sum(world.rank + 1)) == 3
    assert float(world.mean(torch.tensor(float(world.rank)), 1 + 2 * world.rank)) == 0.75
    assert world.gather("ab"[world.rank]) == ["a", "b"]
    assert World.current() == World(world.rank, 2, world.rank)
    assert World.join() == World.current()  # a second time changes nothing
    agreement, asked = Agreement(world, a_second=1.0), []
    for step in range(2000):
        if (answer := agreement(int(world.rank == 1 and step >= 700))) is not None:
            asked.append((step, answer))
            if answer[0]:
                break
    world.leave()
    assert World.current() == World()
    return asked


def test_processes_tell_one_another_and_agree_without_asking_at_each_step(together):
    first, second = together(words)
    assert first == second
    assert first[-1][0] >= 700
    assert first[-1][1] == [1]
    assert len(first) < 50


def test_one_process_is_a_world_of_its_own():
    world, p = World.current(), nn.Parameter(torch.zeros(3))
    p.grad = torch.full((3,), 6.0)
    world.average([p, nn.Parameter(torch.zeros(2))], 3)
    assert p.grad.tolist() == [2.0] * 3
    assert world == World.join() == World()
    assert world.is_main
    assert world.gather(1) == [1]


# What is learned --------------------------------------------------------------------------------------------------


def gradient(world):
    x, y = digits(128)
    net = synchronise(small_net())
    rows = slice(world.rank * 128 // world.size, (world.rank + 1) * 128 // world.size)
    update = Update(net, "sgd", runtime=float32())
    update(F.cross_entropy(net(x[rows]), y[rows]), count=rows.stop - rows.start)
    return [p.grad for p in net.parameters()]


def test_the_gradient_of_two_times_64_is_that_of_128(together):
    whole = gradient(World())
    for part in together(gradient):
        for a, b in zip(part, whole, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def fitted(world, options):
    net = small_net()
    if world.rank:
        net[5].bias.data.add_(1.0)  # other initial weights: those of process 0 count
    loop = loop_of(net, **options)
    loop.fit(batches_of(world, shuffle=True, seed=5), epochs=2, validation=batches_of(world, batch_size=20))
    return net.state_dict(), loop.history.history, are_equal(world, net)


@pytest.mark.parametrize("size", [2, 3])
def test_a_whole_fit_in_several_processes_is_that_of_one(together, size):
    """103 samples in batches of 16: the last has 7, so the parts of it differ in size."""
    options = {"optimizer": "sgd", "accumulate": 2, "clip_norm": 0.5} if size == 3 else {"optimizer": "sgd"}
    state, history, _ = fitted(World(), options)
    for other_state, other_history, equal in together(fitted, options, size=size):
        assert equal
        assert other_history.keys() == history.keys()
        for name, values in history.items():
            assert other_history[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name
        for name, value in state.items():
            close(other_state[name], value)


def evaluated(world, count):
    return loop_of(small_net()).evaluate(batches_of(world, count, batch_size=20))


@pytest.mark.parametrize(("count", "size"), [(103, 2), (103, 3), (2, 3)])
def test_evaluation_is_exact_also_where_the_set_does_not_divide(together, count, size):
    whole = evaluated(World(), count)
    told = together(evaluated, count, size=size)
    assert all(part == told[0] for part in told)
    assert told[0]["accuracy"] == whole["accuracy"]
    assert told[0]["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def dropout_masks(world):
    masks = []

    class Keep(nn.Module):
        def forward(self, x):
            masks.append(F.dropout(torch.ones(20)))
            return x

    loop_of(nn.Sequential(Keep(), nn.Flatten(), nn.Linear(64, 3))).fit(batches_of(world, 40, batch_size=20))
    return masks


def test_each_process_draws_a_dropout_of_its_own_and_the_same_at_each_run(together):
    first, second = together(dropout_masks)
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], first[1])


# Stopping, going on, failing ---------------------------------------------------------------------------------------


class At(Callback):
    """Does something on one process after one of its steps."""

    def __init__(self, rank, step, act):
        self.rank, self.step_number, self.act = rank, step, act

    def on_train_batch_end(self, batch, logs):
        if World.current().rank == self.rank and self.loop.steps_done == self.step_number:
            self.act(self.loop)


def stopped(world, how):
    def act(loop):
        if how == "stop":
            loop.stop = True
        else:
            os.kill(os.getpid(), getattr(signal, how))

    loop = loop_of(small_net(), callbacks=[At(1, 9, act)])
    how_it_ended = "by itself"
    try:
        loop.fit(batches_of(world), epochs=300)
    except (Interrupted, SystemExit) as ended:
        how_it_ended = str(ended).splitlines()[0]
    return how_it_ended, loop.steps_done, loop.step.updates["net"].count, are_equal(world, loop.step.net)


@pytest.mark.parametrize("how", ["stop", "SIGINT", "SIGTERM"])
def test_what_one_process_is_told_stops_all_between_the_same_two_updates(together, how):
    first, second = together(stopped, how)
    assert first == second
    words, steps, updates, equal = first
    told = {"stop": "by itself", "SIGINT": "Stopped by Ctrl-C ", "SIGTERM": "Stopped by SIGTERM "}[how]
    assert words.startswith(told)
    assert 9 <= steps < 900
    assert updates == steps
    assert equal


def saved(world, path):
    """A state in the middle of the second epoch, and what came of going on."""

    class Keep(Callback):
        def on_train_batch_end(self, batch, logs):
            if self.loop.steps_done == 9:
                state = self.loop.state_dict()
                if world.is_main:
                    torch.save(state, path)

    loop = loop_of(small_net(dropout=0.5), callbacks=[Keep()])
    loop.fit(batches_of(world, shuffle=True, seed=5), epochs=3)
    return loop.step.net.state_dict(), loop.history.history


def resumed(world, path):
    loop = loop_of(small_net(dropout=0.5))
    loop.load_state_dict(torch.load(path, weights_only=True))
    loop.fit(batches_of(world, shuffle=True, seed=5), epochs=3, initial_epoch=loop.epoch)
    return loop.step.net.state_dict(), loop.history.history


def test_a_run_goes_on_from_a_checkpoint_of_two_processes_on_two_and_on_one(together, tmp_path):
    path = str(tmp_path / "state.pt")
    whole, again = together(saved, path)[0], together(resumed, path)[0]
    assert all(torch.equal(a, b) for a, b in zip(whole[0].values(), again[0].values(), strict=True))
    for name, values in whole[1].items():
        assert again[1][name] == pytest.approx(values, rel=1e-12)
    _, alone = resumed(World(), path)  # draws other dropout: the rank is part of its key
    assert alone["loss"][0] == whole[1]["loss"][0]
    assert alone["loss"][1] == pytest.approx(whole[1]["loss"][1], rel=0.2)


def window(world, path, at, goes_on):
    """The weights and figures of a run with accumulation, its state taken at a step; or of what goes on from that."""

    class Keep(Callback):
        def on_train_batch_end(self, batch, logs):
            if self.loop.steps_done == at:
                assert self.loop.step.updates["net"].is_open
                state = self.loop.state_dict()
                if world.is_main:
                    torch.save(state, path)

    loop = loop_of(small_net(), "sgd", accumulate=4, callbacks=[] if goes_on else [Keep()])
    if goes_on:
        loop.load_state_dict(torch.load(path, weights_only=True))
    loop.fit(batches_of(world, shuffle=True, seed=5), epochs=3, initial_epoch=loop.epoch)
    return loop.step.net.state_dict(), loop.history.history


@pytest.mark.parametrize("at", [9, 14], ids=["in an epoch", "at its last step"])
def test_a_checkpoint_in_an_open_window_holds_what_all_processes_have_gathered(together, tmp_path, at):
    of_two, of_one = str(tmp_path / "two.pt"), str(tmp_path / "one.pt")
    whole = together(window, of_two, at, False)[0]
    window(World(), of_one, at, False)
    runs = [*together(window, of_two, at, True), *together(window, of_one, at, True), window(World(), of_two, at, True)]
    for state, history in runs:
        for name, value in whole[0].items():
            close(state[name], value)
        for name, values in whole[1].items():
            assert history[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name


def saves(world, folder):
    """Where a run that saves as often as it can does so."""
    places = []

    class Noted(RunFolder):
        def _save(self, models=()):
            places.append((self.loop.batch, self.loop.step.updates["net"].is_open))
            super()._save(models)

    run = Noted(folder, config={}, take_model=lambda: lambda path: None, every_steps=1, writes=world.is_main)
    loop_of(small_net(), "sgd", accumulate=4, callbacks=[run]).fit(batches_of(world), epochs=2)
    return places


def test_a_checkpoint_of_several_processes_waits_for_the_update(together, tmp_path):
    first, second = together(saves, str(tmp_path / "run"))
    assert first == second
    assert set(first) <= {(0, False), (4, False)}  # 7 batches an epoch, in windows of 4 and 3
    assert first[0] == (4, False)


def failing(world):
    class Fails(nn.Linear):
        def forward(self, x):
            if len(seen) == 3 and World.current().rank == 1:
                raise RuntimeError("The last straw.")
            seen.append(1)
            return super().forward(x)

    seen = []
    loop = loop_of(nn.Sequential(nn.Flatten(), Fails(64, 3)))
    with pytest.raises(Exception) as failure:
        loop.fit(batches_of(world, shuffle=True, seed=5), epochs=2)
    if world.rank == 1:
        worlds._leave()  # as its process would at its end
    return str(failure.value), getattr(failure.value, "__notes__", [])


def test_a_failure_names_step_process_and_samples_and_ends_the_others(together):
    (other, _), (text, notes) = together(failing)
    assert text == "The last straw."
    rows = ArrayBatches(*digits(103), batch_size=16, shuffle=True, seed=5, shard=(1, 2)).rows(0, 3)
    assert notes == [
        "This came in batch 4 of epoch 1 (step 4 of the run), process 1 of 2, "
        f"samples {', '.join(map(str, rows))} of the data."
    ]
    assert other != text  # it noticed that nobody answers


def at_two_places(world):
    loop = loop_of(small_net())
    loop.steps_done = 4 * world.rank
    with pytest.raises(ValueError, match=r"different places.*1: epoch 0, batch 0") as failure:
        loop.fit(batches_of(world))
    return str(failure.value)


def test_processes_that_do_not_stand_at_one_place_are_refused(together):
    assert together(at_two_places)[0].startswith("The processes stand at different places")
