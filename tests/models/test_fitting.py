"""What `fit` takes beyond data and epochs: tricks of the update, averages that stay, resizing, memory that is at its end."""

import copy

import pytest
import torch
from torch import nn

import lamina
from lamina import callbacks, optimizers
from lamina.core.errors import LaminaError
from lamina.data.augment import ProgressiveResize
from lamina.models import Model, file
from lamina.optimizers import schedules
from lamina.training import Runtime, SupervisedStep, Update
from lamina.training.averaging import EMA, SWA

FLOAT32 = Runtime("cpu", precision="float32")
LOSS = "sparse_categorical_crossentropy"
X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def compiled(net=None, *, optimizer=None, **settings):
    torch.manual_seed(0)
    model = Model(net or nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)))
    model.compile(optimizer or optimizers.SGD(learning_rate=0.1), LOSS, ["accuracy"], runtime=FLOAT32, **settings)
    return model


def weights(model):
    return {name: value.clone() for name, value in model.net.state_dict().items()}


def loaded(path, model):
    return lamina.load(path, modules={"torch.nn.modules.container.Sequential": copy.deepcopy(model.net)})


def test_accumulated_batches_train_like_one_big_batch():
    net = [nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2)]
    net[1].load_state_dict(net[0].state_dict())
    big, small = compiled(net[0]), compiled(net[1], update={"accumulate": 4})
    big.fit(X[:60], Y[:60], batch_size=32, epochs=2, shuffle=False, verbose=0)
    small.fit(X[:60], Y[:60], batch_size=8, epochs=2, shuffle=False, verbose=0)  # 28 = 3 x 8 + 4: a shorter last window
    for name, value in weights(big).items():
        torch.testing.assert_close(weights(small)[name], value, msg=name)


def test_an_unknown_trick_and_average_list_the_known():
    with pytest.raises(LaminaError, match="clip_norm"):
        compiled(update={"clipnorm": 1.0})
    with pytest.raises(LaminaError, match="ema"):
        compiled(update={"average": "emma"})


def test_validation_saved_models_and_the_end_have_the_averaged_weights(tmp_path):
    model = compiled(update={"average": EMA(0.9)})
    seen = []

    def look(epoch, logs):
        raw = weights(model)
        model.save(tmp_path / "now.safetensors")
        saved = loaded(tmp_path / "now.safetensors", model)
        update = model._loop.step.updates["net"]
        with update.averaged():
            averaged = weights(model)
        assert all(torch.equal(raw[name], value) for name, value in weights(model).items())
        assert all(torch.equal(averaged[name], value) for name, value in weights(saved).items())
        assert not torch.equal(raw["0.weight"], averaged["0.weight"])
        saved.compile("sgd", LOSS, ["accuracy"], runtime=FLOAT32)
        seen.append((saved.evaluate(X, Y)["loss"], logs["val_loss"], averaged))

    watch = callbacks.LambdaCallback(on_epoch_end=look)
    model.fit(X, Y, batch_size=16, epochs=3, validation_data=(X, Y), callbacks=[watch], verbose=0)
    for saved_loss, validated, _ in seen:
        assert saved_loss == pytest.approx(validated, rel=1e-6)
    assert all(torch.equal(seen[-1][2][name], value) for name, value in weights(model).items())


def test_evaluating_within_training_sees_what_validation_sees():
    model = compiled(update={"average": EMA(0.9)})
    seen = []
    look = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((model.evaluate(X, Y)["loss"], logs["val_loss"]))
    )
    model.fit(X, Y, batch_size=16, epochs=2, validation_data=(X, Y), callbacks=[look], verbose=0)
    assert all(own == pytest.approx(validated, rel=1e-6) for own, validated in seen)


def test_the_best_weights_put_back_are_averaged_ones_too():
    model = compiled(update={"average": "ema"})
    stopping = callbacks.EarlyStopping(monitor="val_loss", patience=9, restore_best_weights=True)
    history = model.fit(X, Y, batch_size=16, epochs=4, validation_data=(X, Y), callbacks=[stopping], verbose=0)
    assert model.evaluate(X, Y)["loss"] == pytest.approx(min(history.history["val_loss"]), rel=1e-6)


def test_what_is_saved_after_training_is_what_the_network_holds_then(tmp_path):
    model = compiled(update={"average": "ema"})
    model.fit(X, Y, verbose=0)
    with torch.no_grad():
        model.net[0].weight.zero_()
    model.save(tmp_path / "zero.safetensors")
    assert not loaded(tmp_path / "zero.safetensors", model).net[0].weight.any()


def test_equal_averages_are_evaluated_with_statistics_of_their_own():
    model = compiled(update={"average": SWA(start=0.5)})
    history = model.fit(X, Y, batch_size=16, epochs=4, validation_data=(X, Y), verbose=0)
    assert model.evaluate(X, Y)["loss"] == pytest.approx(history.history["val_loss"][-1], rel=1e-3)
    hidden = model.net[0](X)
    torch.testing.assert_close(model.net[1].running_mean, hidden.mean(0), atol=1e-4, rtol=1e-4)


def test_the_schedule_plateau_lowers_the_rate_when_nothing_becomes_better():
    model = compiled(schedule=schedules.Plateau(monitor="loss", patience=1, min_delta=100.0, factor=0.5))
    model.fit(X, Y, epochs=3, verbose=0)
    assert model._loop.step.updates["net"].learning_rate == pytest.approx(0.1 * 0.5**2)


def test_a_plateau_behind_a_warm_up_lowers_the_rate_too():
    plateau = schedules.Plateau(monitor="loss", patience=1, min_delta=100.0, factor=0.5)
    model = compiled(schedule=schedules.Warmup(plateau, share=0.1))
    model.fit(X, Y, epochs=3, verbose=0)
    assert model._loop.step.updates["net"].learning_rate == pytest.approx(0.1 * 0.5**2)


def test_a_run_goes_on_in_the_order_it_began_with_and_says_where_it_stands(tmp_path, capsys):
    run = tmp_path / "run"
    compiled().fit(X, Y, epochs=2, run=run, verbose=0)
    with pytest.raises(LaminaError, match="shuffle was True, and False came"):
        compiled().fit(X, Y, epochs=3, run=run, resume=True, shuffle=False, verbose=0)
    compiled().fit(X, Y, epochs=1, run=run, resume=True, verbose=0)
    assert "(2 epochs)" in capsys.readouterr().out


def test_a_schedule_in_epochs_steps_at_its_epochs():
    model = compiled(schedule=schedules.PiecewiseConstant(rates=(0.1, 0.01), epochs=(2,)))
    rates = []
    note = callbacks.LambdaCallback(
        on_train_batch_end=lambda b, logs: rates.append(model._loop.step.updates["net"].optimizer.param_groups[0]["lr"])
    )
    model.fit(X, Y, batch_size=16, epochs=3, callbacks=[note], verbose=0)
    assert rates == pytest.approx([0.1] * 8 + [0.01] * 4)


def test_figures_of_steps_are_written_into_the_run(tmp_path):
    compiled().fit(X, Y, batch_size=16, epochs=2, run=tmp_path / "run", log_every=2, verbose=0)
    assert len((tmp_path / "run" / "steps.csv").read_text().splitlines()) == 1 + 4
    with pytest.raises(LaminaError, match="without a run"):
        compiled().fit(X, Y, log_every=2, verbose=0)


def pictures(*tail):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *tail)


def test_images_grow_over_the_epochs():
    sizes = []
    net = pictures(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net[0].register_forward_hook(lambda m, args, out: sizes.append(args[0].shape[-1]) if m.training else None)
    model = compiled(net)
    x = torch.rand(16, 3, 16, 16)
    model.fit(x, Y[:16], batch_size=16, epochs=4, resize=ProgressiveResize(start=0.5, until=0.5), verbose=0)
    assert sizes == [8, 12, 16, 16]


def test_equal_averages_of_growing_images_have_the_statistics_of_whole_ones():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = compiled(net, update={"average": SWA(start=0.0)})
    x = torch.rand(32, 3, 16, 16)
    model.fit(x, Y[:32], batch_size=32, epochs=2, resize=ProgressiveResize(start=0.5, until=1.0), verbose=0)
    torch.testing.assert_close(net[1].running_var, net[0](x).var((0, 2, 3)), rtol=1e-3, atol=1e-5)


def test_a_network_of_one_size_refuses_to_be_resized_before_training():
    model = compiled(pictures(nn.Flatten(), nn.Linear(4 * 16 * 16, 2)))
    with pytest.raises(LaminaError, match="global pooling"):
        model.fit(torch.rand(16, 3, 16, 16), Y[:16], resize=ProgressiveResize(), verbose=0)


def test_memory_that_is_at_its_end_tells_the_batch_that_fits(monkeypatch):
    train = SupervisedStep.train

    def limited(self, batch):
        if batch.size > 20:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 9 GiB")
        return train(self, batch)

    monkeypatch.setattr(SupervisedStep, "train", limited)
    model = compiled()
    before = weights(model)
    with pytest.raises(LaminaError, match=r"batch_size=20, with update=\{'accumulate': 4\}"):
        model.fit(X, Y, batch_size=64, verbose=0)
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())
    model.fit(X, Y, batch_size=20, verbose=0)


def test_a_loss_that_becomes_nan_is_named_by_layer_samples_and_rate(capsys):
    class Root(nn.Module):
        def forward(self, x):
            return x.clamp(max=3.0).sqrt() if x.min() < -100 else x

    model = compiled(nn.Sequential(nn.Linear(6, 4), Root(), nn.Linear(4, 2)))
    x = X.clone()
    x[21] = 1e4
    before = weights(model)
    model.fit(x, Y, batch_size=16, shuffle=False, callbacks=[callbacks.TerminateOnNaN(every=1)], verbose=0)
    told = capsys.readouterr().out
    assert "net.1" in told or "1 (Root)" in told, told
    assert "5" in told  # the sample's place in its batch
    assert "0.1" in told  # the learning rate
    assert all(bool(value.isfinite().all()) for value in weights(model).values())
    assert not torch.equal(before["0.weight"], weights(model)["0.weight"])  # the batch before was trained on


def test_update_takes_groups_and_clipping_through_compile():
    model = compiled(update={"groups": optimizers.NO_DECAY, "clip_norm": 0.5})
    model.fit(X, Y, verbose=0)
    update = model._loop.step.updates["net"]
    assert isinstance(update, Update)
    assert len(update.optimizer.param_groups) == 2


def test_a_finished_run_keeps_the_figures_in_its_model_and_anybody_may_read_it(tmp_path):
    run = tmp_path / "run"
    classes = torch.arange(2).repeat(20)
    x = (classes * 150)[:, None, None, None].expand(-1, 1, 28, 28).to(torch.uint8) + torch.arange(40)[
        :, None, None, None
    ].to(torch.uint8)
    for _ in range(2):
        lamina.Classifier("fastconvnet").fit(x, classes, epochs=1, run=run, resume=True, verbose=0)
        assert "val_loss" in file.read(run / "last.safetensors").description["metrics"]
    assert (run / "last.safetensors").stat().st_mode == (run / "config.yaml").stat().st_mode
