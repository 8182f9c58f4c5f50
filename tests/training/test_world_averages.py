"""Averages, evaluations and endings in several processes: all see and keep the same, and nobody waits for ever."""

import atexit
import copy
import io
import os
import signal
import warnings
from contextlib import redirect_stdout

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lamina import losses, metrics
from lamina.data.loader import ArrayBatches
from lamina.nn import synchronise
from lamina.training import (
    EMA,
    SWA,
    Callback,
    EarlyStopping,
    Lookahead,
    Loop,
    Runtime,
    SupervisedStep,
    Target,
    TerminateOnNaN,
    Update,
)
from lamina.training.batches import batches_of as batches_of_epoch
from lamina.training.batches import warn_shared
from lamina.training.callbacks import AveragesStay
from lamina.training.find_lr import find_lr
from lamina.training.world import World, shard, whole


def digits(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 4, 4, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def batches_of(world, count, batch_size=16, **options):
    return ArrayBatches(*digits(count), batch_size=batch_size, shard=world.shard, **options)


def loop_of(world, *callbacks, synchronised=False, sharded=False, norm=True, optimizer="adam", **options):
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(8) if norm else nn.Tanh()
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), middle, nn.Linear(8, 3))
    if synchronised:
        synchronise(net)
    if sharded:
        shard(net, world)
    runtime, loss = Runtime("cpu", precision="float32"), losses.get("sparse_categorical_crossentropy")
    target = Target(loss, metrics=[metrics.get("accuracy", loss)])
    update = Update(net, optimizer, runtime=runtime, **options)
    return Loop(SupervisedStep(net, update, targets=[target], runtime=runtime), seed=5, callbacks=callbacks)


def are_equal(world, net):
    states = world.gather(list(net.state_dict().values()))
    return all(torch.equal(a, b) for other in states[1:] for a, b in zip(states[0], other, strict=True))


class At(Callback):
    """Does something on one process after one of its steps."""

    def __init__(self, rank, step, act):
        self.rank, self.at, self.act = rank, step, act

    def on_train_batch_end(self, batch, logs):
        if World.current().rank == self.rank and self.loop.steps_done == self.at:
            self.act()


# One group of processes for all that needs no answer of its own: starting one takes longer than what it does.


def averages_agree(world):
    """97 samples: the part of process 1 has a batch more than that of process 0."""
    told = {}
    for name, average, synchronised in (("ema", EMA(0.9), False), ("swa", SWA(0.2), False), ("sync", SWA(0.2), True)):
        seen = []

        class Look(Callback):
            def on_epoch_end(self, epoch, logs, seen=seen):
                seen.append(dict(logs))

        loop = loop_of(world, AveragesStay(), Look(), synchronised=synchronised, average=average)
        loop.fit(batches_of(world, 97, shuffle=True), epochs=2, validation=batches_of(world, 33, 8))
        net = loop.step.net
        after = loop.evaluate(batches_of(world, 33, 8))["loss"]
        told[name] = are_equal(world, net) and abs(after - seen[-1]["val_loss"]) < 1e-4 * after + 1e-5
        told[name] = told[name] and loop.step.updates["net"].average.made == 0
    return told


def one_sees_nan(world, bad, synchronised, every):
    """In its part of the batches alone."""
    x, y = digits(64)
    if world.rank == 1:
        x[40:] = bad
    out = io.StringIO()
    with redirect_stdout(out):
        loop = loop_of(world, TerminateOnNaN(every), synchronised=synchronised)
        loop.fit(ArrayBatches(x, y, batch_size=32, shard=world.shard), epochs=50)
    return out.getvalue()


def shuffled_by_all(world):
    data = TensorDataset(torch.arange(12.0))
    told = []
    for sampler in (None, DistributedSampler(data)):
        loader = DataLoader(data, batch_size=3, shuffle=sampler is None, sampler=sampler)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_shared(loader, world)
        orders = [[int(v) for (batch,) in batches_of_epoch(loader, epoch, seed=1) for v in batch] for epoch in (0, 1)]
        told.append((len(caught), orders))
    return told


def rates(world):
    """The loss of one process alone has no end of growing: all end at one step."""
    x, y = digits(64)
    x = x * (1 + 1e4 * world.rank)
    found = find_lr(loop_of(world, optimizer="sgd", norm=False).step, ArrayBatches(x, y, batch_size=16), steps=30)
    return found.losses, found.diverged


def terminated_in_validation(world):
    saved = []

    class Slow(ArrayBatches):
        def __iter__(self):
            for index, batch in enumerate(super().__iter__()):
                if index == 1 and world.rank == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    class Save(Callback):
        def on_interrupt(self):
            saved.append(self.loop.state_dict()["position"])

    loop = loop_of(world, Save(), average=EMA())
    with pytest.raises(SystemExit, match="SIGTERM"):
        loop.fit(batches_of(world, 64), epochs=3, validation=Slow(*digits(97), batch_size=4, shard=world.shard))
    return saved[0]["epoch"], saved[0]["batch"], saved[0]["epochs_done"], len(loop.history.epoch)


def all_of_it(world):
    return {
        "averages": averages_agree(world),
        "nan": [one_sees_nan(world, *case) for case in ((torch.nan, False, 1), (torch.nan, True, 2), (3e38, False, 1))],
        "shuffled": shuffled_by_all(world),
        "rates": rates(world),
        "terminated": terminated_in_validation(world),
    }


@pytest.fixture(scope="module")
def told(together):
    return together(all_of_it)


def test_all_processes_evaluate_and_end_with_one_averaged_network(told):
    for own in told:
        assert own["averages"] == {"ema": True, "swa": True, "sync": True}


def test_nan_that_one_process_sees_ends_all_and_is_told_once(told):
    first, second = (own["nan"] for own in told)
    assert second == ["", "", ""]
    assert all(text.count("training ends") == 1 for text in first)
    assert all("Process 1: The batch holds NaN" in text for text in first[:2])
    assert "Process 1: The output of net.2 (BatchNorm1d) holds" in first[2]  # found by a re-run, in which all take part


def test_a_shuffling_loader_without_a_distributed_sampler_is_warned_of(told):
    for own in told:
        (warned, _), (quiet, orders) = own["shuffled"]
        assert (warned, quiet) == (1, 0)
        assert orders[0] != orders[1]  # the sampler was told the epoch
    parts = [own["shuffled"][1][1][0] for own in told]
    assert sorted(parts[0] + parts[1]) == list(range(12))


def test_a_range_test_ends_at_one_step_in_all_processes(told):
    assert told[0]["rates"] == told[1]["rates"]


def test_a_signal_to_one_process_ends_the_validation_of_all_and_nothing_is_lost(told):
    assert told[0]["terminated"] == told[1]["terminated"] == (0, 4, 0, 0)


def failed(world):
    def fail():
        raise RuntimeError("The last straw.")

    loop = loop_of(world, AveragesStay(), At(1, 9, fail), synchronised=True, average=SWA(0.1))
    with pytest.raises(Exception) as failure:
        loop.fit(batches_of(world, 97), epochs=3)
    if world.rank == 1:
        atexit._run_exitfuncs()  # as at the end of its process, which waits for nobody
        assert torch.distributed.is_initialized()
    return str(failure.value)


def test_a_failure_of_one_process_is_not_followed_by_measuring_that_takes_all(together):
    other, text = together(failed, timeout_s=40.0)
    assert text == "The last straw."
    assert other != text


# Spread over processes --------------------------------------------------------------------------------------------


def spread_fit(world, sharded):
    """One sample to validate with: a process has none, and the other one batch."""
    options = {"average": EMA(0.9), "lookahead": Lookahead(k=3)}
    told = {}
    for count in (1, 33):
        loop = loop_of(world, sharded=sharded, norm=False, optimizer="sgd", **options)
        loop.fit(batches_of(world, 64), epochs=3, validation=batches_of(world, count, 8))
        told[count] = (loop.history.history, whole(loop.step.net.state_dict()))
    kept = {}

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                kept.update(copy.deepcopy(self.loop.state_dict()))

    for resumed in (False, True):
        stopping = EarlyStopping(patience=9, restore_best_weights=True)
        loop = loop_of(world, stopping, Keep(), sharded=sharded, norm=False, optimizer="sgd", **options)
        if resumed:
            loop.load_state_dict(kept)
        loop.fit(batches_of(world, 64), epochs=3, initial_epoch=2 * resumed, validation=batches_of(world, 33, 8))
        told[f"best {resumed}"] = whole(loop.step.net.state_dict())
    assert all(not hasattr(value, "placements") for value in kept["callbacks"][0][1]["best_weights"]["net"].values())
    return told


def test_a_spread_network_with_averages_learns_and_measures_what_a_whole_one_does(together):
    expected = spread_fit(World(), False)
    for own in together(spread_fit, True):
        for count in (1, 33):
            for name, values in expected[count][0].items():
                assert own[count][0][name] == pytest.approx(values, rel=1e-4, abs=1e-5), name
        for key in ("best False", "best True"):
            torch.testing.assert_close(own[key], expected[key], rtol=1e-4, atol=1e-5)


def test_parameters_whose_batches_count_nothing_do_not_become_nan():
    p = nn.Parameter(torch.zeros(3))
    p.grad = torch.zeros(3)
    World()._rescale([p], torch.tensor(0.0))
    assert p.grad.tolist() == [0.0] * 3
