"""Fine-tuning: the class layer first, on features that are computed once where they can be, then all at lower rates."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import networks
from lamina.core.errors import LaminaError
from lamina.models import file as contents
from lamina.models import fine_tuning
from lamina.training import Callback, Interrupted

GREY = lamina.Preprocess(channels=1, size=(28, 28), mean=(0.2,), std=(0.3,))


def digits(count, start=0):
    train = lamina.data.load("mnist").train.subset(range(start, start + count))
    return lamina.data.ImageDataset(train.images, train.labels % 3, ("zero", "one", "two"), name="thirds")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    net = networks.create("fastconvnet", num_classes=5, in_channels=1)
    path = tmp_path_factory.mktemp("weights") / "five.npz"
    np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    return path


def made(file):
    torch.manual_seed(0)
    return lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)


class Watch(Callback):
    """Which parameters an epoch changes, and the rates of the optimizer's groups."""

    def __init__(self, stop_after=None):
        self.changed, self.rates, self.stop_after = [], [], stop_after

    def on_epoch_begin(self, epoch, logs):
        self.before = copy.deepcopy(self.loop.step.networks["net"].state_dict())

    def on_epoch_end(self, epoch, logs):
        after = self.loop.step.networks["net"].state_dict()
        self.changed.append({name for name in after if not torch.equal(after[name], self.before[name])})
        self.rates.append({group["lr"] for group in self.loop.step.updates["net"].optimizer.param_groups})
        if self.stop_after is not None and epoch + 1 >= self.stop_after:
            raise Interrupted


class Convolutional(nn.Module):
    """A network whose class layer is a convolution, so that its first phase is an ordinary fit of a frozen network."""

    class_layers = ("last",)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.MaxPool2d(4))
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.last(self.body(x)).mean(dim=(2, 3))


class StopAt(Callback):
    """Ctrl-C at a step, counted over both phases."""

    def __init__(self, steps):
        self.left = steps

    def on_train_batch_end(self, batch, logs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_the_class_layer_is_trained_first_on_features_computed_once(file, monkeypatch):
    classifier, data = made(file), digits(60)
    calls = []
    forward = fine_tuning._forward
    monkeypatch.setattr(
        fine_tuning, "_forward", lambda model, images: calls.append(len(images)) or forward(model, images)
    )
    watch = Watch()
    before = copy.deepcopy(classifier.net.state_dict())
    history = classifier.fine_tune(data, epochs=1, freeze_epochs=20, callbacks=[watch], verbose=0, batch_size=16)
    assert sum(calls) <= 60 + 2  # every picture once for 20 epochs, and two to see how the network ends
    assert history.epoch == list(range(21))
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 21 and np.isfinite(values).all() for values in history.history.values())
    assert history.history["loss"][19] < history.history["loss"][0]
    assert len(watch.changed) == 1
    assert {"conv1.0.weight", "head.weight"} < watch.changed[0]
    assert "conv1.2.running_mean" in watch.changed[0]
    assert not torch.equal(before["conv1.0.weight"], classifier.net.state_dict()["conv1.0.weight"])
    assert classifier.split["of"] == 60


def told_by(run):
    return contents.read(run / "last.safetensors").description["split"]


def test_the_files_of_a_run_tell_what_was_held_out(file, tmp_path):
    data = digits(60)
    splits = lamina.data.Splits(data, None, name="all")
    linear = made(file)
    linear.fine_tune(data, epochs=1, verbose=0, run=tmp_path / "run")
    name, held = lamina.load(tmp_path / "run" / "last.safetensors").measured(splits)
    assert (name, len(held)) == ("validation", 6)
    assert told_by(tmp_path / "run") == linear.split
    convolutional = lamina.Classifier(Convolutional())
    convolutional.fine_tune(data, epochs=1, verbose=0, run=tmp_path / "frozen")
    assert told_by(tmp_path / "frozen") == told_by(tmp_path / "frozen" / "head") == convolutional.split == linear.split
    rest, fold = next(data.folds(3))
    made(file).fine_tune(rest, validation_data=fold, epochs=1, verbose=0, run=tmp_path / "fold")
    held = lamina.load(tmp_path / "fold" / "last.safetensors").measured(splits)[1]
    assert torch.equal(held.labels, fold.labels)


def test_features_give_the_figures_that_the_whole_network_gives(file):
    classifier, data = made(file), digits(40)
    history = classifier.fine_tune(data, epochs=0, freeze_epochs=5, verbose=0, validation_data=digits(30, 40))
    figures = classifier.evaluate(digits(30, 40))
    assert figures["loss"] == pytest.approx(history.history["val_loss"][-1], rel=1e-4)
    assert figures["accuracy"] == pytest.approx(history.history["val_accuracy"][-1])


def test_the_first_phase_leaves_everything_else_as_it_was(file):
    classifier = made(file)
    before = copy.deepcopy(classifier.net.state_dict())
    classifier.fine_tune(digits(40), epochs=0, freeze_epochs=3, verbose=0)
    after = classifier.net.state_dict()
    assert {
        name for name in after if not name.startswith("head") and not torch.equal(after[name], before[name])
    } == set()
    assert all(parameter.requires_grad for parameter in classifier.net.parameters())


def test_rates_fall_with_depth_and_what_was_compiled_stays(file):
    classifier, watch = made(file), Watch()
    classifier.compile(lamina.optimizers.SGD(learning_rate=0.1))
    classifier.fine_tune(digits(40), epochs=1, rate=0.2, decay=0.5, callbacks=[watch], verbose=0)
    assert max(watch.rates[0]) == pytest.approx(0.02)
    assert min(watch.rates[0]) < 0.002
    later = Watch()
    classifier.fit(digits(40), epochs=1, callbacks=[later], verbose=0)
    assert later.rates[0] == {0.1}


def test_statistics_stay_where_they_are_asked_to(file):
    classifier, watch = made(file), Watch()
    classifier.fine_tune(digits(40), epochs=2, freeze_statistics=True, callbacks=[watch], verbose=0)
    assert "conv1.0.weight" in watch.changed[0]
    assert not {name for changed in watch.changed for name in changed if "running" in name}


def test_freeze_and_unfreeze_speak_of_the_classifier_s_network(file):
    classifier = made(file)
    classifier.freeze()
    assert {name for name, p in classifier.net.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    classifier.freeze("conv1")
    assert classifier.net.head.weight.requires_grad
    assert not classifier.net.conv1[0].weight.requires_grad
    classifier.unfreeze()
    assert all(p.requires_grad for p in classifier.net.parameters())
    with pytest.raises(LaminaError, match="'conv1'"):
        classifier.freeze("conf1")
    with pytest.raises(LaminaError, match="no weights yet"):
        lamina.Classifier("fastconvnet").freeze()


def test_a_run_that_was_interrupted_goes_on_to_the_same_weights_with_one_history(file, tmp_path):
    data, told = digits(60), {"epochs": 3, "freeze_epochs": 4, "verbose": 0, "seed": 3}
    whole = made(file)
    history = whole.fine_tune(data, run=tmp_path / "whole", **told)
    broken = made(file)
    with pytest.raises(Interrupted):
        broken.fine_tune(data, run=tmp_path / "broken", callbacks=[Watch(stop_after=6)], **told)
    other = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)  # whose class layer begins otherwise
    resumed = other.fine_tune(data, run=tmp_path / "broken", resume=True, **told)
    assert resumed.epoch == history.epoch == list(range(7))
    assert resumed.history == history.history
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, other.net.state_dict()[name]), name
    rows = (tmp_path / "broken" / "results.csv").read_text().splitlines()
    assert len(rows) == 8
    assert rows == (tmp_path / "whole" / "results.csv").read_text().splitlines()
    with pytest.raises(LaminaError, match="already holds a run"):
        made(file).fine_tune(data, run=tmp_path / "whole", **told)


def test_a_network_that_does_not_end_in_a_linear_layer_is_frozen_in_an_ordinary_fit(tmp_path):
    classifier = lamina.Classifier(Convolutional(), preprocess=GREY)
    watch, data = Watch(), digits(40)
    told = {"epochs": 1, "freeze_epochs": 2, "verbose": 0, "run": tmp_path / "run"}
    history = classifier.fine_tune(data, callbacks=[watch], **told)
    assert history.epoch == [0, 1, 2]
    assert watch.changed[0] == watch.changed[1] == {"last.weight", "last.bias"}
    assert {"body.0.weight", "body.1.running_mean"} < watch.changed[2]
    assert (tmp_path / "run" / "head" / "results.csv").exists()
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 4


def test_wrong_data_leaves_the_classifier_as_it_was(file):
    classifier = made(file)
    with pytest.raises(LaminaError, match="no data set called"):
        classifier.fine_tune("mnits")
    assert classifier.classes == ("0", "1", "2", "3", "4")


def test_pictures_that_do_not_fit_into_memory_are_read_as_they_are_trained_on(file, tmp_path, monkeypatch):
    data = digits(24)
    for index, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        folder = tmp_path / data.classes[int(label)]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{index}.png")
    monkeypatch.setattr(lamina.data.FolderDataset, "fits_in_memory", lambda *_: False)
    classifier, watch = made(file), Watch()
    history = classifier.fine_tune(tmp_path, epochs=1, freeze_epochs=1, callbacks=[watch], verbose=0, batch_size=8)
    assert history.epoch == [0, 1]
    assert watch.changed[0] == {"head.weight", "head.bias"}
    assert "conv1.0.weight" in watch.changed[1]


@pytest.mark.parametrize(
    "steps", [1, 4, 9, 13, 17]
)  # in the first phase of 3 epochs of 3 steps, at its end, in the second
def test_a_run_killed_at_any_step_of_either_phase_ends_with_the_same_weights(tmp_path, steps):
    data, told = digits(40), {"epochs": 3, "freeze_epochs": 3, "verbose": 0, "batch_size": 12}

    def begun():
        torch.manual_seed(0)
        return lamina.Classifier(Convolutional(), preprocess=GREY)

    whole, broken = begun(), begun()
    history = whole.fine_tune(data, run=tmp_path / "whole", **told)
    with pytest.raises(KeyboardInterrupt):
        broken.fine_tune(data, run=tmp_path / "broken", callbacks=[StopAt(steps)], **told)
    assert all(parameter.requires_grad for parameter in broken.net.parameters())
    assert all(module.training for module in broken.net.modules())
    other = begun()
    resumed = other.fine_tune(data, run=tmp_path / "broken", resume=True, **told)
    assert resumed.history == history.history
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, other.net.state_dict()[name]), name


@pytest.mark.parametrize(
    "told",
    [
        {"freeze_epochs": -1},
        {"freeze_epochs": 1.5},
        {"epochs": -1},
        {"epochs": True},
        {"rate": 2.0},
        {"decay": 0},
        {"batch_size": 0},
        {"augment": "filp"},
        {"verbose": "loud"},
        {"callbacks": [Watch]},
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained_or_replaced(file, told):
    classifier = made(file)
    net, before = classifier.net, copy.deepcopy(classifier.net.state_dict())
    with pytest.raises(LaminaError, match=next(iter(told))):
        classifier.fine_tune(digits(30), **{"verbose": 0, **told})
    assert classifier.net is net
    assert classifier.classes == ("0", "1", "2", "3", "4")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_arrays_are_not_resized_behind_their_owner_s_back(file):
    data = digits(30)
    for train in (made(file).fit, made(file).fine_tune):
        with pytest.raises(LaminaError, match=r"\(1, 14, 14\)"):
            train(data.images[:, :, ::2, ::2].contiguous(), data.labels, verbose=0)


def test_a_file_keeps_the_weights_and_not_what_was_frozen(file, tmp_path):
    classifier = made(file)
    classifier.freeze()
    classifier.fit(digits(40), epochs=1, verbose=0)
    loaded = lamina.load(classifier.save(tmp_path / "a.safetensors"))
    assert np.array_equal(loaded.predict_probs(digits(5)), classifier.predict_probs(digits(5)))
    assert all(parameter.requires_grad for parameter in loaded.net.parameters())


def brought(classes, first=4):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, first, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(first, classes))


def test_a_module_made_for_other_classes_gets_a_class_layer_before_the_first_phase(capsys):
    module = brought(10)
    classifier = lamina.Classifier(module, preprocess=GREY)
    classifier.fine_tune(digits(40), epochs=1, verbose=0)
    assert "for 10 classes gives way to one with fresh values, for 3: zero, one, two." in capsys.readouterr().out
    assert classifier.predict_probs(digits(4).images).shape == (4, 3)
    assert module[1].out_features == 10  # the one that was brought is as it was
    same = lamina.Classifier(brought(3), preprocess=GREY)
    same.fine_tune(digits(40), epochs=1, verbose=0)
    assert "gives way" not in capsys.readouterr().out


def test_a_module_whose_outputs_come_from_no_class_layer_is_refused_before_the_first_phase():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = brought(10)

        def forward(self, images):
            logits = self.net(images)
            return torch.cat((logits, logits), 1)

    watch = Watch()
    with pytest.raises(LaminaError, match="gives 6 numbers for a picture, and there are 3 classes"):
        lamina.Classifier(Doubled(), preprocess=GREY).fine_tune(digits(40), callbacks=[watch], verbose=0)
    assert watch.changed == []


def test_the_epochs_of_both_phases_are_counted_together(file, capsys):
    made(file).fine_tune(digits(40), freeze_epochs=2, epochs=1, verbose=2)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said if line.startswith("epoch")] == ["1/3", "2/3", "3/3"]
    assert any("for each of 40 pictures was computed in" in line for line in said)


def test_a_network_that_has_learnt_nothing_is_told():
    with pytest.warns(UserWarning, match="fastconvnet has learnt nothing yet"):
        lamina.Classifier("fastconvnet").fine_tune(digits(40), epochs=0, freeze_epochs=0, verbose=0)


def test_folded_batchnorms_are_warned_of_where_training_would_replace_their_statistics(recwarn, tmp_path):
    torch.manual_seed(0)
    net = networks.create("cifar_resnet20", num_classes=2, in_channels=1)
    x, y = np.random.default_rng(0).integers(0, 256, (8, 28, 28), dtype=np.uint8), np.arange(8) % 2

    def trained(method, **how):
        torch.save(net.state_dict(), tmp_path / "w.pth")
        classifier = lamina.Classifier("cifar_resnet20", pretrained=tmp_path / "w.pth", preprocess=GREY)
        getattr(classifier, method)(x, y, epochs=1, verbose=0, validation_split=0.0, **how)
        return classifier.net

    trained("fit")  # a fresh BatchNorm is none that was folded
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, (1 + module.eps) ** 0.5)
    trained("fine_tune", freeze_statistics=True)
    assert not recwarn.list
    for method in ("fit", "fine_tune"):
        with pytest.warns(UserWarning, match=r"were folded .* freeze_statistics=True"):
            trained(method)


@pytest.mark.parametrize("average", ["ema", "wise"])
def test_averages_are_of_the_second_phase_alone(average):
    moved = []
    for told in (None, {"average": average}):
        torch.manual_seed(0)
        classifier = lamina.Classifier(Convolutional(), preprocess=GREY, classes=["zero", "one", "two"])
        classifier.compile("adam", device="cpu", precision="float32", update=told)
        classifier.fine_tune(digits(40), epochs=0, freeze_epochs=2, verbose=0, validation_split=0.0)
        moved.append(classifier.net.last.weight.detach().clone())
    assert torch.equal(*moved)
