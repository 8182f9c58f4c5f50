"""float16: scaled losses, updates that are left out."""

import warnings

import pytest
import torch
from torch import nn

from lamina.training import Runtime, Update
from lamina.training.averaging import EMA

FLOAT16, FLOAT32 = Runtime("cpu", precision="float16"), Runtime("cpu", precision="float32")
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def net():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def loss_of(model, factor=1.0):
    return (model(X) ** 2).mean() * factor


def test_scaling_and_unscaling_is_the_plain_update():
    scaled, plain = net(), net()
    update, other = (Update(m, sgd, runtime=r) for m, r in ((scaled, FLOAT16), (plain, FLOAT32)))
    for _ in range(5):
        update(loss_of(scaled))
        other(loss_of(plain))
    assert all(
        torch.equal(a, b) for a, b in zip(scaled.parameters(), plain.parameters(), strict=True)
    )  # by powers of 2


def test_a_small_gradient_survives_float16():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    update = Update(model, lambda p: torch.optim.SGD(p, lr=1.0), runtime=FLOAT16)
    with FLOAT16.autocast():
        out = model(torch.full((1, 1), 1e-3))  # its gradient, 1e-5 * 1e-3, is nothing in float16
    update(out.float().sum() * 1e-5)
    assert float(model.weight.grad) == pytest.approx(1e-8, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_a_skipped_update_changes_nothing_but_the_scale_and_says_so_once(optimizer):
    model = net()
    update = Update(model, optimizer, runtime=FLOAT16, schedule=lambda q: 1 - q, average=EMA(), clip_norm=1.0)
    update.plan(10)
    update(loss_of(model))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.warns(UserWarning, match="overflowed"):
        update(loss_of(model, torch.inf))
    for _ in range(2):
        update(loss_of(model, torch.inf))  # a second warning would be an error
    assert (update.count, update.skipped) == (1, 3)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert update.state_dict()["scale"]["scaler"]["scale"] == 2.0**13
    update(loss_of(model))
    assert update.optimizer.param_groups[0]["lr"] == pytest.approx(update.learning_rate * 0.9)


def test_one_bad_micro_batch_costs_its_window_only():
    model = net()
    update = Update(model, sgd, runtime=FLOAT16, accumulate=2)
    update(loss_of(model, torch.inf), count=8)
    with pytest.warns(UserWarning, match="overflowed"):
        update(loss_of(model), count=8)
    assert (update.count, update.is_open) == (0, False)
    update(loss_of(model), count=8)
    update(loss_of(model), count=8)
    assert update.count == 1
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_gradients_are_unscaled_before_they_are_clipped():
    scaled, plain = net(), net()
    update = Update(scaled, sgd, runtime=FLOAT16, clip_norm=0.01, accumulate=2)
    other = Update(plain, sgd, runtime=FLOAT32, clip_norm=0.01)
    for _ in range(2):
        update(loss_of(scaled), count=3)
    other(loss_of(plain))
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(scaled.parameters(), plain.parameters(), strict=True))


def test_a_loss_that_no_scale_saves_ends_in_an_error():
    model = net()
    update = Update(model, sgd, runtime=FLOAT16)
    with pytest.warns(UserWarning, match="overflowed"):
        update(loss_of(model, torch.nan))
    for _ in range(38):
        update(loss_of(model, torch.nan))
    with pytest.raises(ValueError, match="40 updates in a row"):
        update(loss_of(model, torch.nan))


def test_the_scale_goes_round_with_the_state():
    def run(begin, end, state=None):
        model = net()
        update = Update(model, "adam", runtime=FLOAT16)
        if state is not None:
            model.load_state_dict(state[0])
            update.load_state_dict(state[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for index in range(begin, end):
                update(loss_of(model, torch.inf if index in (2, 5) else 1.0))
        return model.state_dict(), update.state_dict()

    (whole, state), (resumed, other) = run(0, 9), run(4, 9, run(0, 4))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert state["scale"] == other["scale"]


def test_a_loss_that_reaches_no_parameter_is_no_update_and_no_crash():
    model = net()
    update = Update(model, sgd, runtime=FLOAT16)
    update(torch.zeros((), requires_grad=True) * 1.0)
    assert update.skipped == 0


def test_lbfgs_in_float16_is_refused():
    with pytest.raises(ValueError, match="float16"):
        Update(net(), "lbfgs", runtime=FLOAT16)


def test_a_guarded_update_leaves_out_what_is_not_finite_in_any_precision():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32)
    update.guard()
    update(loss_of(model, torch.nan))
    assert (update.count, update.skipped) == (0, 1)
    update(loss_of(model))
    assert update.count == 1
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_an_overflow_under_a_guard_is_left_out_once_and_the_next_update_is_made():
    model = net()
    update = Update(model, sgd, runtime=FLOAT16)
    update.guard()
    with pytest.warns(UserWarning, match="overflowed"):
        update(loss_of(model, torch.inf))
    update(loss_of(model))
    assert (update.count, update.skipped) == (1, 1)


def test_a_guard_can_be_taken_off():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32)
    assert update.guard() is False
    assert update.guard(False) is True
    update(loss_of(model, torch.nan))
    assert (update.count, update.skipped) == (1, 0)


@pytest.mark.parametrize("precisions", [(FLOAT16, FLOAT32), (FLOAT32, FLOAT16)], ids=["down", "up"])
def test_a_run_goes_on_in_another_precision_also_in_the_midst_of_a_window(precisions):
    def run(before, after):
        model = net()
        update = Update(model, sgd, runtime=before, accumulate=2)
        for _ in range(3):
            update(loss_of(model))
        other = Update(model, sgd, runtime=after, accumulate=2)
        other.load_state_dict(update.state_dict())
        other(loss_of(model))
        return model.state_dict()

    for name, value in run(*precisions).items():
        torch.testing.assert_close(value, run(FLOAT32, FLOAT32)[name])


def test_a_window_that_was_open_at_the_end_of_an_epoch_can_be_closed_after_resuming():
    def run(resumed):
        model = net()
        update = Update(model, sgd, runtime=FLOAT16, accumulate=2)
        for _ in range(3):
            update(loss_of(model))
        other = Update(model, sgd, runtime=FLOAT16, accumulate=2)
        if resumed:
            other.load_state_dict(update.state_dict())
        (other if resumed else update).flush()
        return model.state_dict()

    assert all(torch.equal(value, run(False)[name]) for name, value in run(True).items())
