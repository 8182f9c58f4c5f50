"""Engines: whatever runs a network gives the answers of torch, for any batch, from any thread."""

from __future__ import annotations

import gc
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess, Regressor, layers, models
from lamina.core.errors import LaminaError, MissingExtraError, UnknownNameError
from lamina.export import engines as module
from lamina.export.engines import CompiledEngine, OnnxEngine, OpenVinoEngine, TorchEngine
from lamina.export.made_engines import Maker
from lamina.export.onnx_file import to_onnx

SMALL = Preprocess(size=(32, 32), mean=(0.5,), std=(0.2,))


def net(outputs=3):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    body[1].running_mean.normal_(0.0, 0.1)
    body[1].running_var.uniform_(0.5, 1.5)
    return nn.Sequential(body, nn.Linear(8, outputs))


def pictures(count=5):
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model():
    return Classifier(net(), classes=list("abc"), preprocess=SMALL)


@pytest.fixture(scope="module")
def made(model):
    maker = Maker(model.deployable())
    return {name: maker.make(name) for name in ("torch", "onnxruntime", "openvino")}


NAMES = ("torch", "onnxruntime", "openvino")


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_model_does_for_batches_of_any_size(model, made, name):
    images = pictures(7)
    wanted = model.predict_probs(images)
    for count in (7, 1, 2, 5):
        (probs,) = made[name](images[:count].numpy())
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs, wanted[:count], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_several_threads_may_ask_one_engine(model, made, name):
    images = pictures(24)
    wanted = model.predict_probs(images)
    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(lambda at: made[name](images[at : at + 1 + at % 3].numpy())[0], range(21)))
    for at, part in enumerate(parts):
        np.testing.assert_allclose(part, wanted[at : at + 1 + at % 3], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_array_of_another_layout_that_may_not_be_written_is_read(model, made, name):
    images = np.ascontiguousarray(pictures(2).permute(0, 2, 3, 1).numpy())
    images.setflags(write=False)
    (probs,) = made[name](images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(probs, model.predict_probs(images), atol=1e-5)


def test_answers_stay_as_they_were_given(made):
    """An engine must not hand out memory that its next answer is written to."""
    first, second = pictures(2).numpy(), 255 - pictures(2).numpy()
    for engine in made.values():
        (probs,) = engine(first)
        kept = probs.copy()
        engine(second)
        assert np.array_equal(probs, kept), engine.name


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_can_be_told(model, name):
    before = torch.get_num_threads()
    engine = Maker(model.deployable(), threads=1).make(name)
    np.testing.assert_allclose(engine(pictures().numpy())[0], model.predict_probs(pictures()), atol=1e-5)
    assert torch.get_num_threads() == before


def test_labels_that_exclude_nothing_and_numbers_in_their_unit(made):
    several = Classifier(net(), classes=list("abc"), preprocess=SMALL, multi_label=True)
    regressor = Regressor(net(1), preprocess=SMALL)
    images = pictures(8)
    regressor.fit(images, torch.linspace(1000, 2000, 8)[:, None], verbose=0, validation_split=0.0)
    for each, wanted in ((several, several.predict_probs(images)), (regressor, regressor.predict_values(images))):
        maker = Maker(each.deployable())
        for name in NAMES:
            np.testing.assert_allclose(maker.make(name)(images.numpy())[0], wanted, rtol=1e-5, atol=1e-5)


def test_two_inputs_and_two_outputs():
    one, other = layers.Input(shape=(6,), name="one"), layers.Input(shape=(4,), name="other")
    hidden = layers.Concatenate()([layers.Dense(5, activation="relu")(one), other])
    model = models.Model([one, other], [layers.Dense(2, name="first")(hidden), layers.Dense(3, name="second")(hidden)])
    x = [torch.randn(7, 6).numpy(), torch.randn(7, 4).numpy()]
    wanted = model.predict(x)
    maker = Maker(model.deployable())
    for name in NAMES:
        for mine, theirs in zip(maker.make(name)(*x), wanted, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bfloat16_is_near(model, name):
    engine = Maker(model.deployable()).make(name, "bfloat16")
    assert engine.precision == "bfloat16"
    (probs,) = engine(pictures().numpy())
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, model.predict_probs(pictures()), atol=0.02)


def test_the_model_is_left_as_it_was(model):
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    TorchEngine(model.deployable(), precision="bfloat16")
    after = model.net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow  # the compiler takes half a minute
def test_compiled_networks_take_any_batch_without_compiling_again(model):
    for batches in ((2,), (1, 32)):
        engine = CompiledEngine(model.deployable(), batches=batches)
        images = pictures(9)
        with torch._dynamo.config.patch(error_on_recompile=True):
            for count in (9, 1, 2, 5):
                np.testing.assert_allclose(
                    engine(images[:count].numpy())[0], model.predict_probs(images[:count]), atol=1e-5
                )


def test_compiling_without_a_compiler_is_refused(model, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(LaminaError, match=r"No C\+\+ compiler"):
        CompiledEngine(model.deployable())


@pytest.mark.parametrize(
    ("name", "hidden", "extra"),
    [
        ("openvino", "openvino", "openvino"),
        ("onnxruntime", "onnxruntime", "export"),
        ("openvino", "onnxscript", "export"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_exported(model, monkeypatch, name, hidden, extra):
    monkeypatch.setitem(sys.modules, hidden, None)
    monkeypatch.setattr("lamina.export.made_engines.to_onnx", lambda *_, **__: pytest.fail("exported"))
    with pytest.raises(MissingExtraError, match=rf'pip install "lamina\[{extra}\]"'):
        Maker(model.deployable()).make(name)


def test_an_engine_alone_names_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"lamina\[openvino\]"):
        OpenVinoEngine(b"")
    with pytest.raises(MissingExtraError, match=r"lamina\[export\]"):
        OnnxEngine(b"")


def test_unknown_names_are_refused(model):
    with pytest.raises(UnknownNameError, match="tensorrt"):
        Maker(model.deployable()).make("tensorrt")
    with pytest.raises(UnknownNameError, match="float8"):
        TorchEngine(model.deployable(), precision="float8")
    with pytest.raises(UnknownNameError, match="int8"):
        Maker(model.deployable()).make("torch", "int8")


def test_int8_without_real_samples_is_refused(model):
    with pytest.raises(LaminaError, match="real pictures"):
        Maker(model.deployable()).make("onnxruntime", "int8")


def test_batch_norm_is_folded_into_its_convolution(model):
    kinds = [node.op_type for node in to_onnx(model.deployable()).graph.node]
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds
    assert not any(isinstance(part, nn.BatchNorm2d) for part in TorchEngine(model.deployable())._module.modules())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_is_heard_after_several_openvino_engines_have_come_and_gone(model):
    heard, content = [], to_onnx(model.deployable()).SerializeToString()
    engines = [OpenVinoEngine(content) for _ in range(3)]
    while engines:
        engines.pop(0)
        gc.collect()
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    try:
        os.kill(os.getpid(), signal.SIGINT)  # which would end this process
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard
