"""`predict(engine=...)`: what answers, when another engine than torch pays, and that it is dropped when weights change."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess, Regressor
from lamina.core.errors import LaminaError, MissingExtraError, UnknownNameError
from lamina.export.engines import TorchEngine
from lamina.export.made_engines import Maker
from lamina.models import answering

SIZE = (8, 8)


def net(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)
    )


def classifier(**told):
    return Classifier(net(), classes=list("abc"), preprocess=Preprocess(size=SIZE), **told)


def pictures(count):
    return torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def built(monkeypatch, tmp_path):
    """The names of the engines that were built, each of them torch in disguise; any work at all is worth it."""
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    monkeypatch.setattr(answering.fastest, "BUILD_S", 0.0)
    monkeypatch.setattr(answering.fastest, "_LAYER_S", 0.0)
    monkeypatch.setattr(answering, "_usual", lambda: ("torch",))
    names = []

    def make(self, name, precision="float32"):
        names.append(name if precision == "float32" else f"{name} {precision}")
        engine = TorchEngine(self.deployable)
        engine.name, engine.precision = name, precision
        return engine

    monkeypatch.setattr(Maker, "make", make)
    return names


def test_one_picture_is_answered_by_torch_at_once(built):
    for images in (pictures(1), pictures(32), pictures(1)[0].numpy()):
        classifier().predict(images)
    assert built == []


def test_many_pictures_are_answered_by_the_fastest_engine_and_that_is_said_once(built, capsys):
    model, images = classifier(), pictures(200)
    wanted = model.predict_probs(images, engine="torch")
    assert built == []
    np.testing.assert_allclose(model.predict_probs(images), wanted, atol=1e-6)
    assert built == ["torch"]
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "torch answers: " in told.err
    results = model.predict(images)
    assert [result.label for result in results] == ["abc"[at] for at in wanted.argmax(1)]
    model.predict(images[:1])
    assert built == ["torch"]
    assert capsys.readouterr().err == ""


def test_no_pictures_and_no_batches_are_told_by_every_engine(built):
    for engine in ("auto", "torch", "onnxruntime"):
        with pytest.raises(LaminaError, match="is empty"):
            classifier().predict(pictures(0), engine=engine)
        with pytest.raises(LaminaError, match="batch_size"):
            classifier().predict(pictures(4), batch_size=0, engine=engine)
    assert built == []


def test_little_work_builds_nothing(built, monkeypatch):
    monkeypatch.setattr(answering.fastest, "BUILD_S", 1e6)
    classifier().predict(pictures(200))
    assert built == []


def test_a_slow_first_batch_does_not_deceive(built, monkeypatch):
    """What a process does once (kernels, memory) is not what the other pictures will take."""
    monkeypatch.setattr(answering.fastest, "BUILD_S", 10.0)
    ticks = iter([0.0, 100.0, 100.0, 100.001])
    monkeypatch.setattr(answering.time, "perf_counter", lambda: next(ticks))
    classifier().predict(pictures(200))
    assert built == []


def test_work_that_is_long_enough_builds(built, monkeypatch):
    monkeypatch.setattr(answering.fastest, "BUILD_S", 10.0)
    monkeypatch.setattr(answering, "_build", lambda *told: built.append("built"))
    ticks = iter([0.0, 10.0, 10.0, 20.0])
    monkeypatch.setattr(answering.time, "perf_counter", lambda: next(ticks))
    assert len(classifier().predict(pictures(200))) == 200
    assert built == ["built"]


def test_who_asked_often_is_given_an_engine(built, monkeypatch, capsys):
    """Single pictures in a loop are never worth an engine by themselves; all that were answered before are."""
    monkeypatch.setattr(answering, "_is_worth_it", lambda model, left_s, precision: left_s > 50)
    monkeypatch.setattr(answering.time, "perf_counter", iter(range(0, 100_000, 10)).__next__)
    model, images = classifier(), pictures(20)
    wanted = model.predict_probs(images, engine="torch")
    for at in range(20):
        assert built == ([] if at < 8 else ["torch"])  # the first is slow, and six more take over 50 s
        np.testing.assert_allclose(model.predict_probs(images[at : at + 1]), wanted[at : at + 1], atol=1e-6)
        if at == 3:
            model.net[0].weight.data.mul_(1)
    assert capsys.readouterr().err.count("answers") == 1
    with torch.no_grad():
        model.net[-1].bias.add_(1.0)
    built.clear()
    for at in range(5):  # the account begins anew
        model.predict(images[at : at + 1])
    assert built == []


@pytest.mark.parametrize("at_once", [16, 96])
def test_pictures_that_come_some_at_a_time_are_judged_together(built, monkeypatch, at_once):
    """As `lamina predict FOLDER` asks: a call alone would never be worth an engine."""
    monkeypatch.setattr(answering, "_is_worth_it", lambda model, left_s, precision: left_s > 500)
    monkeypatch.setattr(answering.time, "perf_counter", iter(range(0, 100_000, 10 * at_once)).__next__)
    model, images, answers = classifier(), pictures(960), []
    monkeypatch.setattr(answering, "_build", lambda *told: built.append("built"))
    with model.engines.expecting(len(images)):
        for start in range(0, len(images), at_once):
            answers.append(model.predict_probs(images[start : start + at_once]))
    assert built == ["built"]
    np.testing.assert_allclose(np.concatenate(answers), model.predict_probs(images, engine="torch"), atol=1e-6)
    other = classifier()
    for start in range(0, 32, 16):
        other.predict_probs(images[start : start + 16])
    assert built == ["built"]


def change_in_place(model):
    with torch.no_grad():
        model.net[0].weight.add_(0.1)


def load_others(model):
    model.net.load_state_dict({name: value + 1 for name, value in model.net.state_dict().items()})


def change_behind_data(model):
    model.net[-1].bias.data.add_(1.0)


def change_statistics(model):
    model.net.train()(torch.rand(4, 3, *SIZE))
    model.net.eval()


def train(model):
    model.fit(pictures(12), torch.arange(12) % 3, verbose=0, validation_split=0.0)


def put_another(model):
    model._net = net()


def change_one_filter_behind_data(model):
    model.net[0].weight.data[1] = 2.0


def change_an_array_that_shares_memory(model):
    model.net[0].weight.detach().numpy()[:, 1] += 1.0


def put_another_layer(model):
    model.net[2] = nn.AdaptiveMaxPool2d(1)


def change_a_setting(model):
    model.net[1].eps = 5.0


def hook_into(model):
    model.net[0].register_forward_hook(lambda module, inputs, output: output * 3)


def warm(model):
    model.temperature = 3.0


@pytest.mark.parametrize(
    "change",
    [
        change_in_place,
        load_others,
        change_behind_data,
        change_one_filter_behind_data,
        change_an_array_that_shares_memory,
        change_statistics,
        change_a_setting,
        hook_into,
        put_another_layer,
        put_another,
        train,
        warm,
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_engines_are_dropped_when_the_weights_change(built, change, shared):
    model, images = classifier(), pictures(4)
    model._is_shared = shared  # with a network by name it is nobody's until somebody asks for it
    model.predict_probs(images, engine="onnxruntime")
    model.predict_probs(images, engine="onnxruntime")
    model.evaluate(images, torch.zeros(4, dtype=torch.int64))
    model.predict_probs(images, engine="onnxruntime")
    assert built == ["onnxruntime"]
    change(model)
    probs = model.predict_probs(images, engine="onnxruntime")
    assert built == ["onnxruntime"] * 2
    np.testing.assert_allclose(probs, model.predict_probs(images, engine="torch"), atol=1e-6)


def test_an_engine_that_answers_otherwise_is_refused(built, monkeypatch):
    class Liar(TorchEngine):
        def __call__(self, *inputs):
            return tuple(value[:, ::-1] for value in super().__call__(*inputs))

    monkeypatch.setattr(Maker, "make", lambda self, name, precision="float32": Liar(self.deployable))
    model = classifier()
    with pytest.raises(LaminaError, match="answers otherwise"):
        model.predict(pictures(40), engine="openvino")
    np.testing.assert_array_equal(  # and by itself nothing takes it
        model.predict_probs(pictures(100)).argmax(1), model.predict_probs(pictures(100), engine="torch").argmax(1)
    )


def test_torch_goes_on_where_no_engine_can_be_made(built, monkeypatch, capsys):
    def fail(self, name, precision="float32"):
        raise RuntimeError("no room")

    monkeypatch.setattr(Maker, "make", fail)
    model = classifier()
    for _ in range(2):
        assert len(model.predict(pictures(100))) == 100
    assert capsys.readouterr().err.count("torch goes on alone") == 1


def test_a_lower_precision_says_how_far_it_agrees(built, capsys):
    model, images = classifier(), pictures(40)
    np.testing.assert_allclose(
        model.predict_probs(images, engine="openvino", precision="bfloat16"), model.predict_probs(images), atol=0.02
    )
    assert built[0] == "openvino bfloat16"
    assert "100 % of the classes as torch's" in capsys.readouterr().err


def test_where_a_lower_precision_does_not_pay_the_fastest_in_float32_answers(built, monkeypatch):
    """Building it takes a calibration of minutes; the engine in float32 is there, or is made, all the same."""
    monkeypatch.setattr(answering, "_is_worth_it", lambda model, left_s, precision: precision == "float32")
    model = classifier()
    expected = model.predict_probs(pictures(96), engine="torch")
    np.testing.assert_allclose(model.predict_probs(pictures(96), precision="int8"), expected, atol=1e-6)
    assert built
    assert all("int8" not in name for name in built)
    assert list(model.engines._built) == [("auto", "float32")]


@pytest.mark.parametrize("first", ["float32", "bfloat16"])
def test_where_a_race_for_less_precision_is_won_in_float32_one_engine_answers_for_both(built, monkeypatch, first):
    made = []

    def build(model, images, engine, precision):
        made.append(TorchEngine(model.deployable()))
        return made[-1]

    monkeypatch.setattr(answering, "_build", build)
    model = classifier()
    for precision in sorted(["float32", "bfloat16"], key=lambda each: each != first):
        model.predict_probs(pictures(96), precision=precision)
    assert set(model.engines._built.values()) == {made[0]}


def test_a_copy_of_a_model_begins_without_engines(built):
    model = classifier()
    model.predict(pictures(2), engine="onnxruntime")
    copied = copy.deepcopy(model)
    copied.predict(pictures(2), engine="onnxruntime")
    assert built == ["onnxruntime"] * 2


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_real_engines_answer_as_torch_does(name):
    images = pictures(40)
    model = classifier()
    np.testing.assert_allclose(
        model.predict_probs(images, engine=name), model.predict_probs(images, engine="torch"), atol=1e-5
    )
    regressor = Regressor(net(1), preprocess=Preprocess(size=SIZE))
    regressor.fit(images, torch.linspace(1000, 2000, 40)[:, None], verbose=0, validation_split=0.0)
    wanted = regressor.predict_values(images, engine="torch")
    np.testing.assert_allclose(regressor.predict_values(images, engine=name), wanted, rtol=1e-5)
    assert len(regressor.predict(images, engine=name)) == 40


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lamina\[openvino\]"'):
        classifier().predict(pictures(1), engine="openvino")


def test_unknown_names_and_pairs_are_refused():
    model = classifier()
    with pytest.raises(UnknownNameError, match="tensorrt"):
        model.predict(pictures(1), engine="tensorrt")
    with pytest.raises(UnknownNameError, match="float8"):
        model.predict(pictures(1), precision="float8")
    with pytest.raises(UnknownNameError, match=r"torch.*int8"):
        model.predict(pictures(1), engine="torch", precision="int8")
    with pytest.raises(LaminaError, match="tta"):
        model.predict(pictures(1), tta="flip", engine="onnxruntime")
    with pytest.raises(LaminaError, match="no weights yet"):
        Regressor("fastconvnet", preprocess=Preprocess(size=SIZE)).predict(pictures(1), engine="onnxruntime")
