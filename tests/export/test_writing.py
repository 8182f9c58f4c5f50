"""Writing: each format runs without the model, says what it is, and never gets its name with other answers."""

from __future__ import annotations

import importlib.util
import json
import re

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

import lamina
from lamina import Classifier, Preprocess, Regressor, layers, models, networks
from lamina.core.errors import DataError, FileFormatError, LaminaError, MissingExtraError, ShapeError, UnknownNameError
from lamina.export import writing
from lamina.export.engines import OnnxEngine
from lamina.models import exporting

pytestmark = pytest.mark.usefixtures("untimed")


def texts_of(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


# Formats --------------------------------------------------------------------------------------------------------------


def test_an_onnx_file_takes_uint8_pictures_of_any_number_and_size_and_answers_as_predict_does(
    classifier, photos, tmp_path
):
    made = classifier.export(tmp_path / "pets.onnx", data=photos(20))
    engine = OnnxEngine((tmp_path / "pets.onnx").read_bytes())
    for images in (photos(1), photos(5)):
        np.testing.assert_allclose(engine(images.numpy())[0], classifier.predict_probs(images), atol=1e-5)
    assert engine(photos(2, (80, 48)).numpy())[0].shape == (2, 4)
    wanted = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    assert [check.engine for check in made.checks] == wanted
    assert (made.format, made.sizes, made.agreement, made.tolerance) == ("ONNX", "any size", 1.0, 1e-3)
    assert made.tried_on == "20 pictures of the data"
    assert made.largest_difference < 1e-5


@pytest.mark.usefixtures("without_openvino")
def test_an_onnx_file_tells_what_it_is_in_its_metadata(classifier, tmp_path):
    classifier.began_with = {"licence": "BSD 3-clause"}
    classifier.export(tmp_path / "pets.onnx")
    told = texts_of(tmp_path / "pets.onnx")
    assert (told["format"], told["version"], told["kind"]) == ("lamina export", "1", "classifier")
    assert (json.loads(told["classes"]), told["licence"], told["precision"]) == (
        list("abcd"),
        "BSD 3-clause",
        "float32",
    )
    assert json.loads(told["versions"])["lamina"] == lamina.__version__
    assert Preprocess.from_onnx(tmp_path / "pets.onnx") == classifier.preprocess


def test_a_torch_program_runs_from_its_file_with_its_texts_beside_it(classifier, photos, tmp_path):
    made = classifier.export(tmp_path / "pets.pt2")
    extra = {"lamina.json": ""}
    loaded = torch.export.load(tmp_path / "pets.pt2", extra_files=extra)
    images = photos(3, (48, 40))
    wanted = classifier.deployable().module()(images)
    torch.testing.assert_close(loaded.module()(images), wanted, rtol=1e-4, atol=1e-5)
    assert json.loads(json.loads(extra["lamina.json"])["preprocess"]) == classifier.preprocess.to_dict()
    assert made.sizes == "any size"
    names = [str(node.target) for node in loaded.graph.nodes]
    assert any("conv2d" in name for name in names)
    assert not any("batch_norm" in name for name in names)


def test_weights_for_plain_torch_have_the_networks_own_keys(classifier, small_net, tmp_path):
    made = classifier.export(tmp_path / "pets.safetensors")
    net = small_net(seed=5)
    net.load_state_dict(safetensors.torch.load_file(tmp_path / "pets.safetensors"))
    images = torch.rand(2, 3, 32, 32)
    # Not bit for bit: memory of safetensors lies otherwise, and convolutions go by that.
    torch.testing.assert_close(net.eval()(images), classifier.net.eval()(images), rtol=0, atol=1e-5)
    with safe_open(tmp_path / "pets.safetensors", "pt") as opened:
        told = opened.metadata()
    assert (told["format"], told["lamina export"], json.loads(told["classes"])) == ("pt", "1", list("abcd"))
    assert made.largest_difference < 1e-6


@pytest.mark.parametrize("suffix", [".safetensors", ".pt2"])
def test_an_exported_file_is_not_taken_for_a_model_file(classifier, tmp_path, suffix):
    classifier.export(tmp_path / f"pets{suffix}")
    with pytest.raises(FileFormatError, match=r"is an exported file: .* what model.save wrote"):
        lamina.load(tmp_path / f"pets{suffix}")


def test_weights_of_a_network_by_name_are_a_beginning_for_another_model(tmp_path):
    net = networks.create("fastconvnet", num_classes=10)
    digits = [str(digit) for digit in range(10)]
    first = Classifier(net, classes=digits, preprocess=Preprocess(channels=1, size=(28, 28)))
    first.export(tmp_path / "digits.safetensors")
    second = Classifier(
        "fastconvnet", pretrained=tmp_path / "digits.safetensors", classes=digits, preprocess=first.preprocess
    )
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    np.testing.assert_allclose(first.predict_probs(images), second.predict_probs(images), atol=1e-6)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("suffix", [".pt2", ".safetensors"])
def test_16_bits_are_16_bits(classifier, photos, tmp_path, precision, suffix):
    made = classifier.export(tmp_path / f"pets{suffix}", precision=precision, data=photos(16))
    dtype = getattr(torch, precision)
    state = torch.export.load(made.path).state_dict if suffix == ".pt2" else safetensors.torch.load_file(made.path)
    weights = [value for value in state.values() if value.dim() == 4]
    assert [value.dtype for value in weights] == [dtype]
    assert 0 < made.largest_difference < made.tolerance
    assert made.agreement == 1


@pytest.mark.usefixtures("without_openvino")
def test_bfloat16_in_onnx_is_half_the_weights_with_arithmetic_in_float32(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 32), nn.ReLU(), nn.Linear(32, 4))
    model = Classifier(net, classes=list("abcd"), preprocess=Preprocess(size=(32, 32)))
    large = model.export(tmp_path / "large.onnx")
    small = model.export(tmp_path / "small.onnx", precision="bfloat16")
    assert small.bytes < 0.55 * large.bytes
    kinds = {tensor.data_type for tensor in onnx.load(small.path).graph.initializer if len(tensor.dims) == 2}
    assert kinds == {onnx.TensorProto.BFLOAT16}
    assert large.sizes == "32 x 32 px"


@pytest.mark.usefixtures("without_openvino")
def test_a_mean_over_places_that_is_a_sum_stays_a_sum(photos, tmp_path):
    """torch's exporter forgets `divisor_override`."""

    class Sums(nn.Module):
        def forward(self, images):
            return nn.functional.avg_pool2d(images, (4, 2), padding=(1, 0), divisor_override=2).flatten(1)[:, :4]

    model = Classifier(Sums(), classes=list("abcd"), preprocess=Preprocess(size=(32, 32)))
    assert model.export(tmp_path / "sums.onnx", data=photos()).largest_difference < 1e-5


@pytest.mark.usefixtures("without_openvino")
def test_a_clamp_in_place_is_seen_by_who_sees_its_input(photos, tmp_path):
    class Twice(nn.Module):
        def forward(self, images):
            first, second = images.flatten(1)[:, :4] * 9, images.flatten(1)[:, 4:8] * 9
            nn.functional.hardtanh_(first, 0.0, 2.0)
            return first + nn.functional.hardtanh_(second, 1.0, 3.0)

    model = Classifier(Twice(), classes=list("abcd"), preprocess=Preprocess(size=(32, 32)))
    assert model.export(tmp_path / "twice.onnx", data=photos()).largest_difference < 1e-5


# Every task -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_openvino")
def test_labels_that_exclude_nothing_agree_label_by_label(small_net, photos, tmp_path):
    several = {"classes": list("abcd"), "preprocess": Preprocess(size=(32, 32)), "multi_label": True}
    model = Classifier(small_net(), **several)
    made = model.export(tmp_path / "tags.onnx", data=photos())
    assert made.agreement == 1
    assert texts_of(made.path)["multi_label"] == "true"


@pytest.mark.usefixtures("without_openvino")
def test_a_regressor_answers_in_its_unit_and_its_difference_is_a_share(small_net, photos, tmp_path):
    model = Regressor(small_net(1), preprocess=Preprocess(size=(32, 32)), names=["age"])
    model.fit(photos(8), torch.linspace(1000, 2000, 8)[:, None], verbose=0, validation_split=0.0)
    made = model.export(tmp_path / "age.onnx", data=photos(8))
    (values,) = OnnxEngine(made.path.read_bytes())(photos(8).numpy())
    np.testing.assert_allclose(values, model.predict_values(photos(8)), rtol=1e-4)
    assert made.agreement is None
    assert made.largest_difference < 1e-5
    assert json.loads(texts_of(made.path)["names"]) == ["age"]


@pytest.mark.usefixtures("without_openvino")
def test_a_model_of_layers_with_two_inputs_and_two_outputs(tmp_path):
    first, second = layers.Input(shape=(6,), name="first"), layers.Input(shape=(4,), name="second")
    joined = layers.Concatenate()([first, second])
    model = models.Model([first, second], [layers.Dense(2, name="left")(joined), layers.Dense(3, name="right")(joined)])
    x = [np.random.default_rng(0).normal(size=(9, width)).astype(np.float32) for width in (6, 4)]
    made = model.export(tmp_path / "two.onnx", data=x)
    assert made.tried_on == "9 samples of the data"
    assert made.sizes == ""
    graph = onnx.load(made.path).graph
    assert [value.name for value in graph.input] == ["first", "second"]
    assert [value.name for value in graph.output] == ["left", "right"]
    for came, wanted in zip(OnnxEngine(made.path.read_bytes())(*x), model.predict(x), strict=True):
        np.testing.assert_allclose(came, wanted, atol=1e-5)
    assert "drawn at random" in str(model.export(tmp_path / "two.pt2"))
    for wrong in (x[:1], [x[0], x[1][:, :3]], [x[0], x[1][:4]], [x[0][:0], x[1][:0]]):
        with pytest.raises(LaminaError, match="data"):
            model.export(tmp_path / "other.pt2", data=wrong)


def test_a_torch_module_is_exported_by_an_example(small_net, tmp_path):
    made = models.Model(small_net()).export(tmp_path / "net.pt2", example=torch.rand(2, 3, 32, 32))
    assert made.sizes == "any size"


# What goes wrong ------------------------------------------------------------------------------------------------------


def spoilt(monkeypatch, by):
    """Files whose weights are not the network's."""
    real = writing._weights

    def write(deployable, precision, texts):
        state = deployable.net.state_dict()
        before = {name: value.clone() for name, value in state.items()}
        for value in state.values():
            if value.dim() == 2:
                value.mul_(by)
        content = real(deployable, precision, texts)
        deployable.net.load_state_dict(before)
        return content

    monkeypatch.setattr(writing, "_weights", write)


def test_other_answers_are_an_error_with_the_figures_and_no_file_is_left(classifier, photos, tmp_path, monkeypatch):
    spoilt(monkeypatch, 1.5)
    with pytest.raises(LaminaError, match=r"largest difference 0\.\d+, classes agree .* at most 0.001, and 99 %"):
        classifier.export(tmp_path / "new.safetensors", data=photos())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old.safetensors").write_bytes(b"old")
    with pytest.raises(LaminaError, match="answers otherwise"):
        classifier.export(tmp_path / "old.safetensors", data=photos())
    assert (tmp_path / "old.safetensors").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    allowed = classifier.export(tmp_path / "old.safetensors", data=photos(), tolerance=1.0)
    assert allowed.largest_difference > 1e-3


def test_answers_that_are_no_numbers_are_an_error(classifier, photos, tmp_path, monkeypatch):
    spoilt(monkeypatch, float("nan"))
    with pytest.raises(LaminaError, match="largest difference inf"):
        classifier.export(tmp_path / "new.safetensors", data=photos(), tolerance=1.0)


@pytest.mark.usefixtures("without_openvino")
@pytest.mark.parametrize(
    ("name", "precision"), [("half.safetensors", "float16"), ("full.pt2", "float32"), ("pets.onnx", "int8")]
)
def test_too_few_classes_that_agree_are_an_error_whatever_the_tolerance(
    classifier, photos, tmp_path, monkeypatch, name, precision
):
    monkeypatch.setattr(writing.Reference, "agreement", lambda self, came: 0.98)
    with pytest.raises(LaminaError, match="99 % of the classes") as caught:
        classifier.export(tmp_path / name, precision=precision, data=photos(), tolerance=1.0)
    assert "tolerance=" not in caught.value.remedy, "that is not what was exceeded"
    agreement = re.search(r"agreement=([\d.]+)", caught.value.remedy)
    classifier.export(tmp_path / name, precision=precision, data=photos(), agreement=float(agreement[1]))
    spoilt(monkeypatch, 1.5)
    with pytest.raises(LaminaError, match=r"at most 0\.001"):
        classifier.export(tmp_path / "other.safetensors", data=photos(), agreement=0.0)


@pytest.mark.parametrize(("value", "wanted"), [(0.47, 0.5), (0.013, 0.02), (0.96, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_the_tolerance_that_an_error_names_is_enough(value, wanted):
    assert writing._rounded_up(value) == pytest.approx(wanted)
    assert float(f"{writing._rounded_up(value):g}") >= value


@pytest.mark.parametrize(
    ("name", "told", "error", "match"),
    [
        ("pets.h5", {}, LaminaError, r"'\.h5'.*\.onnx .*\.pt2 .*\.safetensors"),
        ("pets", {}, LaminaError, "nothing"),
        ("pets.pt2", {"precision": "int4"}, UnknownNameError, "int8"),
        ("pets.pt2", {"precision": "int8"}, LaminaError, r"ends in \.onnx"),
        ("pets.onnx", {"precision": "int8"}, DataError, "int8 came without data"),
        ("pets.pt2", {"tolerance": -1.0}, LaminaError, "tolerance is -1"),
        ("pets.pt2", {"tolerance": float("nan")}, LaminaError, "tolerance is nan"),
        ("pets.pt2", {"agreement": 1.5}, LaminaError, "agreement is 1.5"),
        ("pets.onnx", {"engines": ["onnxruntme"]}, UnknownNameError, "onnxruntime"),
        ("pets.onnx", {"engines": []}, LaminaError, "at least one"),
        ("pets.pt2", {"engines": ["onnxruntime"]}, LaminaError, "run by torch"),
        ("pets.pt2", {"data": "no/such/folder"}, LaminaError, "no/such/folder"),
        ("pets.pt2", {"data": "mnits"}, LaminaError, "mnist"),
        ("pets.pt2", {"data": "https://example.org/x.jpg"}, DataError, "is an address"),
        ("pets.pt2", {"data": np.zeros((3, 3, 32, 32), np.float32)}, DataError, "float32"),
        ("pets.pt2", {"data": np.zeros((3, 5, 32, 32), np.uint8)}, ShapeError, "3, 5, 32, 32"),
        ("pets.pt2", {"data": []}, DataError, "empty|no pictures"),
    ],
)
def test_bad_input_is_told(classifier, tmp_path, name, told, error, match):
    with pytest.raises(error, match=match):
        classifier.export(tmp_path / name, **told)
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_size_and_colour_are_made_to_fit(classifier, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (4, 50, 70), dtype=np.uint8)
    assert classifier.export(tmp_path / "pets.safetensors", data=grey).tried_on == "4 pictures of the data"


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(classifier, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder.pt2").mkdir()
    monkeypatch.setattr(writing, "Reference", None)  # any work would fail otherwise
    with pytest.raises(LaminaError, match="could not be written"):
        classifier.export(tmp_path / "file" / "pets.pt2")
    with pytest.raises(LaminaError, match="is a folder"):
        classifier.export(tmp_path / "folder.pt2")


def test_missing_folders_are_made(classifier, tmp_path):
    assert classifier.export(tmp_path / "new" / "folder" / "pets.safetensors").path.is_file()


def test_a_model_without_weights_cannot_be_exported(tmp_path):
    with pytest.raises(LaminaError, match="no weights yet"):
        Classifier("resnet18").export(tmp_path / "pets.onnx")


@pytest.mark.parametrize("module", ["onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(classifier, tmp_path, monkeypatch, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "lamina\[export\]"'):
        classifier.export(tmp_path / "pets.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_way_that_depends_on_the_data_is_told_and_leaves_nothing(tmp_path):
    class Moody(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :4] * (2 if images.sum() > 0 else 3)

    model = Classifier(Moody(), classes=list("abcd"), preprocess=Preprocess(size=(8, 8)))
    with pytest.raises(LaminaError, match="cannot be exported"):
        model.export(tmp_path / "moody.pt2")
    assert list(tmp_path.iterdir()) == []


def test_an_example_that_does_not_fit_is_told(small_net, tmp_path):
    with pytest.raises(LaminaError, match="does not take its example"):
        models.Model(small_net()).export(tmp_path / "net.pt2", example=torch.rand(2, 5, 8, 8))


@pytest.mark.usefixtures("without_openvino")
def test_a_size_that_the_converter_froze_is_not_called_open(classifier, tmp_path, monkeypatch):
    asked = []
    real = writing.onnx_file.to_onnx

    def to_onnx(deployable, *, any_size, precision):
        asked.append(any_size)
        return real(deployable, any_size=any_size, precision=precision)

    monkeypatch.setattr(writing.onnx_file, "to_onnx", to_onnx)
    monkeypatch.setattr(writing.Reference, "takes_other_sizes", lambda self, engine, precision: False)
    made = classifier.export(tmp_path / "pets.onnx")
    assert (asked, made.sizes) == ([True, False], "32 x 32 px")


@pytest.mark.usefixtures("without_openvino")
def test_a_pooling_to_a_grid_is_open_only_if_it_answers_at_other_sizes(photos, tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 4))
    model = Classifier(net, classes=list("abcd"), preprocess=Preprocess(size=(32, 32)))
    made = model.export(tmp_path / "grid.onnx", data=photos())
    sides = [length.dim_param for length in onnx.load(made.path).graph.input[0].type.tensor_type.shape.dim[2:]]
    assert all(sides) == (made.sizes == "any size")
    if made.sizes == "any size":
        images = photos(2, (64, 96))
        came = OnnxEngine(made.path.read_bytes())(images.numpy())[0]
        np.testing.assert_allclose(came, model.deployable().module()(images).numpy(), atol=1e-5)


# The result -----------------------------------------------------------------------------------------------------------


def test_the_result_prints_itself_and_becomes_json(classifier, tmp_path):
    made = classifier.export(tmp_path / "pets.pt2")
    lines = str(made).splitlines()
    assert lines[0].endswith("pets.pt2: torch program in float32, 0.0 MB, pictures of any size")
    assert lines[1] == "compared on 16 pictures made of gradients and noise"
    assert lines[2].startswith("  torch.export: largest difference ")
    assert lines[2].endswith(" x torch)")
    told = json.loads(json.dumps(made.to_dict()))
    assert (told["agreement"], told["checks"][0]["engine"]) == (1.0, "torch.export")


def test_pictures_are_taken_from_all_over_the_data(photos):
    images = photos(100)
    few = exporting.some(images, Preprocess(size=(32, 32)), 5)
    assert torch.equal(few, images[[0, 25, 50, 74, 99]])
    digits = exporting.some("mnist", Preprocess(channels=1, size=(28, 28)), 7)
    assert digits.shape == (7, 1, 28, 28)
