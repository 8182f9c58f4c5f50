"""The first tensor that is not finite, found."""

import warnings

import pytest
import torch
from torch import nn

from lamina import losses, metrics
from lamina.core import random
from lamina.core.errors import LaminaError
from lamina.data.loader import ArrayBatches
from lamina.structures.batch import Batch, Logs
from lamina.training import Callback, Loop, RunFolder, Runtime, SupervisedStep, Target, Update
from lamina.training import state as state_file
from lamina.training.finite import FailOnNaN, first_nonfinite, rows_in_hand

FLOAT32, FLOAT16 = Runtime("cpu", precision="float32"), Runtime("cpu", precision="float16")


class Root(nn.Module):
    """NaN below 0, and an infinite slope at 0."""

    def forward(self, x):
        return x.sqrt()


def step_of(net, runtime=FLOAT32, **settings):
    loss = losses.get("mse")
    update = Update(net, lambda p: torch.optim.SGD(p, lr=0.25), runtime=runtime, **settings)
    return SupervisedStep(net, update, targets=[Target(loss, metrics=[metrics.get("mae", loss)])], runtime=runtime)


def batch(size=4):
    return Batch(torch.rand(size, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(size, 2))


def net(*middle):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False), *middle)


def test_nothing_is_found_where_all_is_well_and_nothing_is_changed():
    step = step_of(net(nn.Dropout(0.5)))
    step.train(batch())
    before = {name: value.clone() for name, value in step.net.state_dict().items()}
    drawn, metric, count = torch.get_rng_state(), step.metrics["mae"].state_dict(), step.updates["net"].count
    assert first_nonfinite(step, batch()) is None
    assert all(torch.equal(value, before[name]) for name, value in step.net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert step.updates["net"].count == count
    assert str(step.metrics["mae"].state_dict()) == str(metric)
    assert not any(module._forward_hooks for module in step.net.modules())


def test_an_input_is_named_by_its_sample():
    bad = batch(20)
    bad.inputs[[2, 7], 1] = torch.nan
    bad.inputs[7, 0] = torch.inf
    text = first_nonfinite(step_of(net()), bad)
    assert "NaN and infinity in its inputs" in text
    assert "samples at 2, 7 of the batch's 20" in text
    assert "learning rate is 0.25" in text


def test_an_input_is_named_by_its_sample_in_the_data_where_that_is_known():
    bad = batch(20)
    bad.inputs[[2, 7], 1] = torch.nan
    rows = list(range(500, 520))
    assert "samples 502, 507 of the data" in first_nonfinite(step_of(net()), bad, rows=rows)
    assert "samples at 2, 7 of the batch's 20" in first_nonfinite(step_of(net()), bad, rows=rows[1:])


def batches(count=400):
    generator = torch.Generator().manual_seed(0)
    return ArrayBatches(torch.rand(count, 3, generator=generator), torch.zeros(count, 2), batch_size=4, shuffle=True)


@pytest.mark.parametrize("place", [3, 70, 99])
def test_training_on_a_sample_that_is_nan_fails_and_names_it(place):
    data = batches()
    sample = data.rows(1, place)[2]
    loop = Loop(step_of(net()), callbacks=[FailOnNaN()])
    loop.fit(data)
    assert rows_in_hand(loop) == data.rows(0, 99)
    data.inputs[sample] = torch.nan
    with pytest.raises(LaminaError) as failure:
        loop.fit(data, epochs=2)
    assert f"in epoch 1, first in its batch {place + 1}." in str(failure.value)
    assert f"NaN in its inputs, in the samples {sample} of the data" in str(failure.value)
    assert "learning rate is 0.25" in str(failure.value)


def nan_in_one(world):
    data = ArrayBatches(torch.rand(40, 3), torch.zeros(40, 2), batch_size=8, shuffle=True, shard=world.shard)
    sample = world.gather(data.rows(0, 2)[1])[1]  # of the second process
    data.inputs[sample] = torch.nan
    with pytest.raises(LaminaError) as failure:
        Loop(step_of(nn.Linear(3, 2), Runtime("cpu", precision="float32")), callbacks=[FailOnNaN()]).fit(data)
    return sample, str(failure.value)


def test_a_sample_of_another_process_is_named_by_all(together):
    for sample, text in together(nan_in_one):
        assert f"in the samples {sample} of the data" in text


def test_training_that_diverges_fails_and_names_a_layer():
    step = step_of(nn.Linear(3, 2))
    step.updates["net"].learning_rate = 1e9
    with pytest.raises(LaminaError, match=r"first in its batch \d+\. The parameter net\.weight holds .*rate is 1e\+09"):
        Loop(step, callbacks=[FailOnNaN()]).fit(batches())


def test_a_loss_that_float16_left_out_is_a_warning_once(recwarn):
    data, step = batches(), step_of(net(), FLOAT16)
    data.inputs[5] = torch.nan
    loop = Loop(step, callbacks=[FailOnNaN()])
    warnings.simplefilter("always")
    loop.fit(data, epochs=2)
    (text,) = [str(one.message) for one in recwarn if "weights are finite" in str(one.message)]
    assert "in the samples 5 of the data" in text
    assert step.updates["net"].skipped >= 2


def test_many_samples_are_counted():
    bad = batch(30)
    bad.inputs[:12] = torch.nan
    assert "5, 6, 7 and 4 more" in first_nonfinite(step_of(net()), bad)


def test_the_layer_whose_output_is_the_first_is_named():
    class Shift(nn.Module):
        def forward(self, x):
            return x - torch.tensor([[0.0], [0.0], [9.0], [0.0]]) + 5

    step = step_of(net(Shift(), Root(), nn.Identity()))
    text = first_nonfinite(step, batch())
    assert "output of net.3 (Root) holds NaN, in the samples at 2 of" in text
    assert "what goes in is finite" in text


def test_a_fault_between_layers_is_told_from_one_within():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.b(self.a(x) / 0.0)

    assert "What goes into net.b (Linear)" in first_nonfinite(step_of(Broken()), batch())


def test_an_infinite_slope_is_named_where_every_output_is_finite():
    class Zero(nn.Module):
        def forward(self, x):
            return x * 0.0

    text = first_nonfinite(step_of(net(Zero(), Root())), Batch(torch.rand(4, 3), torch.ones(4, 2)))
    assert "gradient with respect to the output of net.2 holds" in text
    assert "every output" in text


def test_a_loss_that_is_not_finite_on_finite_outputs_is_named():
    model = nn.Linear(2, 1)

    class Own:
        networks, metrics = {"net": model}, {}
        updates = {"net": Update(model, "sgd", runtime=FLOAT32)}  # noqa: RUF012

        def train(self, x):
            return Logs(len(x), loss=self.updates["net"](model(x).abs().neg().log().mean()))

    assert "loss nan" in first_nonfinite(Own(), torch.rand(3, 2))


def test_lost_parameters_are_named_and_how_to_catch_the_batch_itself():
    step = step_of(net())
    with torch.no_grad():
        step.net[0].weight[0, 0] = torch.nan
    text = first_nonfinite(step, batch())
    assert "parameter net.0.weight holds NaN" in text
    assert "update.guard()" in text


def test_after_a_guarded_update_the_layer_is_found():
    step = step_of(net(Root()))
    step.updates["net"].guard()
    step.train(batch())
    assert step.updates["net"].skipped == 1
    assert "net.2 (Root)" in first_nonfinite(step, batch())
    assert step.updates["net"].skipped == 1


def test_an_overflow_in_float16_is_found_after_the_update_was_skipped():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.fill_(300.0)
        model[1].weight.fill_(300.0)
    step = step_of(model, FLOAT16)
    with pytest.warns(UserWarning, match="skipped"):
        step.train(batch())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = first_nonfinite(step, batch())
    assert "output of net.1 (Linear) holds infinity" in text
    assert "bfloat16" in text


def test_the_rerun_draws_as_the_step_did():
    class Chance(nn.Module):
        def forward(self, x):
            return x / (torch.rand(()) > 0.5).float()

    step = step_of(net(Chance()))
    found = []
    for draws in range(6):
        random.reseed(draws)
        bad = not bool(torch.rand(()) > 0.5)
        found.append((first_nonfinite(step, batch(), draws=draws) is not None) == bad)
    assert all(found)


# A run on disk --------------------------------------------------------------------------------------------------------


class Burst(Callback):
    """Loses a weight after a step, as an update with an infinite gradient does. What was taken before is written by then."""

    def __init__(self, run, step):
        self.run, self.step = run, step

    def on_train_batch_end(self, batch, logs):
        self.run._writer.wait()
        if self.loop.steps_done == self.step:
            with torch.no_grad():
                next(self.loop.step.networks["net"].parameters())[0, 0] = torch.inf


def run_of(path, world=None, *, resume=False, burst=None, epochs=2, every_steps=3):
    """A loop of 10 batches an epoch in a run's folder, of which a checkpoint is taken every few steps."""
    step = step_of(nn.Linear(3, 2))
    shard = (0, 1) if world is None else world.shard
    data = ArrayBatches(
        torch.rand(40, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(40, 2), batch_size=4, shard=shard
    )
    writes = world is None or world.is_main
    take = lambda: lambda place: torch.save(step.net.state_dict(), place)  # noqa: E731
    run = RunFolder(
        path, config={}, take_model=take, resume=resume, every_steps=every_steps, every_minutes=None, writes=writes
    )
    loop = Loop(step, callbacks=[Burst(run, burst), FailOnNaN(), run])
    begin = run.restore(loop) if resume else 0
    assert all(bool(p.isfinite().all()) for p in step.net.parameters())
    loop.fit(data, epochs=epochs, initial_epoch=begin)
    return loop


def finite_at(path):
    """After which step a checkpoint was taken; fails where its weights are lost."""
    state = state_file.read(path)["loop"]
    assert all(bool(value.isfinite().all()) for value in state["networks"]["net"].values())
    return state["position"]["steps_done"]


@pytest.mark.parametrize(("burst", "kept"), [(8, (6, 3)), (14, (13, 10)), (10, (9, 6))])
def test_no_checkpoint_is_taken_of_lost_weights_and_the_run_goes_on_from_the_one_before(tmp_path, burst, kept):
    run = tmp_path / "run"
    with pytest.raises(LaminaError, match=r"parameter net\.weight holds (NaN|infinity)") as failure:
        run_of(run, burst=burst)
    assert f"in epoch {1 if burst <= 10 else 2}" in str(failure.value)
    assert f"{run / 'last.ckpt'} is kept as it was" in str(failure.value)
    assert (finite_at(run / "last.ckpt"), finite_at(run / "previous.ckpt")) == kept
    assert run_of(run, resume=True).steps_done == 20


def test_where_weights_are_lost_before_the_first_checkpoint_the_error_says_so(tmp_path):
    with pytest.raises(LaminaError, match=r"in epoch 1, first in its batch 3.*no checkpoint was taken before"):
        run_of(tmp_path / "run", burst=2)
    assert not (tmp_path / "run" / "last.ckpt").exists()


def burst_in_one(world, path):
    with pytest.raises(LaminaError) as failure:
        run_of(path, world, burst=10 if world.rank == 1 else None, every_steps=None)
    return str(failure.value)


def test_all_processes_end_where_one_has_lost_its_weights(together, tmp_path):
    for text in together(burst_in_one, str(tmp_path / "run")):
        assert "parameter net.weight holds" in text
    assert not (tmp_path / "run" / "last.ckpt").exists()
