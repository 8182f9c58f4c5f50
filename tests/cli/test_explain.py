"""`lamina explain` and `lamina profile`, as a person types them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import Classifier, Preprocess


@pytest.fixture
def typed(tmp_path, typed_in):
    torch.manual_seed(0)
    net = lamina.networks.create("lenet5", num_classes=2)
    model = Classifier(net, classes=["cat", "dog"], preprocess=Preprocess(channels=1, size=(32, 32)))
    model.save(tmp_path / "pets.safetensors")
    for index in range(8):
        folder = tmp_path / f"pets/{('cat', 'dog')[index % 2]}"
        folder.mkdir(parents=True, exist_ok=True)
        rough = np.random.default_rng(index).integers(0, 256, (32, 40), dtype=np.uint8)
        Image.fromarray(rough).save(folder / f"{index}.png")
    return typed_in(tmp_path)


def test_grad_cam_writes_a_picture_for_each_and_says_where(typed, tmp_path):
    code, out, err = typed("explain", "pets.safetensors", "pets/cat/0.png", "pets/dog")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [f"{n}-grad-cam.png" for n in (0, 1, 3, 5, 7)]
    assert all(line.split()[1] in ("cat", "dog") for line in lines)
    with Image.open(tmp_path / "0-grad-cam.png") as seen:
        assert seen.size[0] > 300


def test_pictures_of_one_name_do_not_overwrite_each_other(typed, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/0.png").write_bytes((tmp_path / "pets/cat/0.png").read_bytes())
    _, out, _ = typed("explain", "pets.safetensors", "pets/cat/0.png", "more/0.png")
    assert [line.split()[0] for line in out.splitlines()] == ["0-grad-cam.png", "0-2-grad-cam.png"]


@pytest.mark.parametrize(
    "words",
    [
        ("pets/cat/0.png", "--what", "occlusion", "--label", "dog"),
        ("pets/cat/0.png", "pets/dog/1.png"),
        ("pets/cat/0.png", "--what", "features"),
        ("pets/cat/0.png", "--what", "features", "--layer", "2"),
        ("--what", "filters"),
        ("--what", "exciting", "--layer", "c1", "--channel", "2", "--data", "pets"),
        ("--what", "embeddings", "--data", "pets"),
    ],
)
def test_every_way_writes_the_file_that_is_asked_for(typed, tmp_path, words):
    code, out, err = typed("explain", "pets.safetensors", *words, "-o", "seen.png")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].split()[0] == "seen.png"
    with Image.open(tmp_path / "seen.png") as seen:
        assert min(seen.size) > 100


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("pets/cat/0.png", "--layer", "conv99"), 2, "All: "),
        (("pets/cat/0.png", "--what", "gradcam"), 2, "'grad-cam'"),
        (("pets/cat/0.png", "--label", "bird"), 2, "'bird'"),
        (("pets/cat/0.png", "-o", "seen.txt"), 2, "seen.png"),
        ((), 2, "Name some"),
        (("pets/cat/0.png", "--what", "filters"), 2, "Leave the pictures out"),
        (("--what", "exciting"), 1, "--data photos/"),
        (("--what", "embeddings"), 1, "--data photos/"),
        (("nowhere.png",), 1, "nowhere.png"),
    ],
)
def test_a_slip_is_told_without_a_trace(typed, words, code, told):
    ended, out, err = typed("explain", "pets.safetensors", *words)
    assert ended == code
    assert told in err
    assert "Traceback" not in err + out


def test_without_a_layer_the_last_with_maps_is_taken_and_named(typed, tmp_path):
    code, out, err = typed("explain", "pets.safetensors", "--what", "exciting", "--data", "pets")
    assert (code, out.strip()) == (0, "pets-exciting.png")
    assert "The layer is s4, the last with maps" in err


def test_a_broken_picture_among_several_is_named_and_the_others_are_explained(typed, tmp_path):
    (tmp_path / "pets/cat/broken.png").write_bytes(b"no picture")
    code, out, err = typed("explain", "pets.safetensors", "pets/cat")
    assert code == 1
    assert "broken.png" in err
    assert len(out.splitlines()) == 4


def test_a_run_s_first_filters_are_made_again_from_its_seed(typed, tmp_path):
    words = ("--model", "lenet5", "--epochs", "1", "--lr", "1e-12", "--seed", "5", "-o", "run", "--optimizer", "sgd")
    code, _, err = typed("train", "pets", *words)
    assert code == 0, err
    found = lamina.explain.filters(lamina.load(tmp_path / "run/last.safetensors"), before=5)
    assert found.change.max() < 1e-6, "the rate was nought, so these are the values that the run began with"
    assert found.before.std() > 0
    code, out, _ = typed("explain", "run", "--what", "filters")
    assert (code, out.strip()) == (0, "run-filters.png")


def test_profile_prints_json_and_draws(typed, tmp_path, monkeypatch):
    monkeypatch.setattr("lamina.explain.layer_profile._SHORTEST_S", 0.0)
    code, out, err = typed(
        "profile", "pets.safetensors", "--batch", "2", "--repeats", "1", "--train", "--json", "-o", "bars.png"
    )
    assert (code, err.strip()) == (0, "bars.png")
    told = json.loads(out)
    assert told["shape"] == [2, 1, 32, 32]
    assert told["backward_s"] > 0
    with Image.open(tmp_path / "bars.png") as bars:
        assert bars.size[0] > 500
    code, out, _ = typed("profile", "lenet5", "--batch", "1", "--repeats", "1")
    assert code == 0
    assert "literature, AlexNet: 95 % on a GPU, 89 % on a CPU" in out


def test_a_model_file_has_a_report_on_the_data_that_is_named(typed, tmp_path):
    code, out, err = typed("report", "pets.safetensors", "pets")
    assert (code, out.strip()) == (0, "pets-report.html"), err
    page = (tmp_path / "pets-report.html").read_text(encoding="utf-8")
    assert "in 8 samples" in page
    assert "<h2>Confusion matrix</h2>" in page
    assert "<h2>Learning curves</h2>" not in page
    code, out, err = typed("report", "pets.safetensors")
    assert (code, out) == (2, "")
    assert "lamina report pets.safetensors DATA" in err
    assert typed("report", "none.safetensors", "pets")[0] == 1


@pytest.mark.parametrize("name", ["unet", "retinanet", "faster_rcnn"])
def test_profile_takes_the_networks_of_other_tasks_that_summary_takes(typed, monkeypatch, name):
    monkeypatch.setattr("lamina.explain.layer_profile._SHORTEST_S", 0.0)
    code, out, err = typed("profile", name, "--batch", "1", "--repeats", "1", "--size", "64", "--train", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["network"], told["shape"]) == (name, [1, 3, 64, 64])
    code, out, err = typed("summary", name, "--input-shape", "3,64,64", "--json")
    assert code == 0, err
    assert 0 < sum(row["parameters"] for row in told["rows"]) <= json.loads(out)["parameters"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [(("lenet6",), 2, "'lenet5'"), (("lenet5", "-o", "bars"), 2, "bars.png"), (("lenet5", "--batch", "0"), 2, "")],
)
def test_a_slip_in_profile_is_told_without_a_trace(typed, words, code, told):
    ended, out, err = typed("profile", *words)
    assert ended == code
    assert told in err
    assert "Traceback" not in err + out


def test_a_network_without_convolutions_is_sent_to_occlusion(typed, tmp_path):
    inputs = lamina.layers.Input(shape=(1, 32, 32))
    net = lamina.models.Model(inputs, lamina.layers.Dense(2)(lamina.layers.Flatten()(inputs)))
    Classifier(net, classes=["cat", "dog"], preprocess=Preprocess(channels=1, size=(32, 32))).save(
        tmp_path / "flat.safetensors"
    )
    code, _, err = typed("explain", "flat.safetensors", "pets/cat/0.png")
    assert code == 1
    assert "occlusion" in err
    assert isinstance(net.net, nn.Module)
    assert typed("explain", "flat.safetensors", "pets/cat/0.png", "--what", "occlusion")[0] == 0
