"""`lamina train --pretrained` and what `lamina predict` takes beside a plain classifier, as a person types them."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import lamina
from lamina import networks
from lamina.models import fine_tuning
from lamina.models.answering import Engines
from lamina.training import RunFolder

GREY = lamina.Preprocess(channels=1, size=(28, 28), mean=(0.4,), std=(0.3,))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pictures of two classes, the weights of a network for five others, and models of several kinds."""
    folder, rng = tmp_path_factory.mktemp("pretrained"), np.random.default_rng(0)
    for index, name in enumerate(("dark", "light")):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(15):
            pixels = (rng.random((28, 28)) * 100 + index * 120).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    torch.manual_seed(0)
    net = networks.create("fastconvnet", num_classes=5, in_channels=1)
    np.savez(folder / "five.npz", **{name: value.numpy() for name, value in net.state_dict().items()})
    x = rng.integers(0, 255, (12, 28, 28), dtype=np.uint8)
    told = {"epochs": 0, "verbose": 0, "validation_split": 0.0}
    for number in (0, 1):
        classifier = lamina.Classifier("fastconvnet", preprocess=GREY)
        classifier.fit(folder / "photos", **told)
        classifier.save(folder / f"{number}.safetensors")
    lamina.Ensemble([folder / "0.safetensors", folder / "1.safetensors"]).save(folder / "both.safetensors")
    several = lamina.Classifier("fastconvnet", multi_label=True, preprocess=GREY, classes=["round", "red", "ripe"])
    several.fit(x, np.arange(36).reshape(12, 3) % 2, run=folder / "several", **{**told, "epochs": 1})
    numbers = lamina.Regressor("fastconvnet", names=["height"], preprocess=GREY)
    numbers.fit(x, np.arange(12.0), **told)
    numbers.save(folder / "height.safetensors")
    return folder


@pytest.fixture
def typed(made, typed_in):
    return typed_in(made)


TRAIN = ("train", "photos", "--model", "fastconvnet", "--batch-size", "8", "--device", "cpu", "--precision", "float32")


def test_weights_are_fine_tuned_and_the_run_goes_on_with_the_options_it_began_with(typed, made, tmp_path):
    run = tmp_path / "run"
    code, out, err = typed(
        *TRAIN, "--weights", "five.npz", "--size", "28", "--freeze-epochs", 2, "--epochs", 1, "-o", run
    )
    assert code == 0, err
    assert "gives way to one with fresh values, for 2: dark, light" in out
    assert len((run / "results.csv").read_text().splitlines()) == 1 + 2 + 1
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["asked"]["weights"] == str(made / "five.npz")
    assert config["asked"]["freeze_epochs"] == 2
    code, out, err = typed("train", "--resume", "--output", run, "--epochs", 2)
    assert code == 0, err
    assert len((run / "results.csv").read_text().splitlines()) == 1 + 2 + 2
    assert typed("predict", run, "photos/dark/0.png")[0] == 0


def test_a_first_phase_with_a_run_of_its_own_goes_on_in_the_run_s_folder(typed, tmp_path, monkeypatch):
    def stopped(self, epoch, logs):
        saved(self, epoch, logs)
        if self.folder.name == "head" and epoch == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(fine_tuning, "_features", lambda *_: None)  # as of pictures that are read while it trains
    told = (*TRAIN, "--weights", "five.npz", "--size", "28", "--freeze-epochs", 2, "--epochs", 1)
    code, _, err = typed(*told, "-o", tmp_path / "whole")
    assert code == 0, err
    saved = RunFolder.on_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_epoch_end", stopped)
        assert typed(*told, "-o", tmp_path / "run")[0] == 130
    assert not (tmp_path / "run" / "last.ckpt").exists()
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "run")
        code, _, err = typed("train", "--resume")
    assert code == 0, err
    whole = yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text())
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == whole
    assert (tmp_path / "run" / "results.csv").read_text() == (tmp_path / "whole" / "results.csv").read_text()
    code, _, err = typed(*told, "-o", tmp_path / "run")
    assert code == 1
    assert "already holds a run" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--freeze-epochs", "1"), "--freeze-epochs 1 came without --pretrained"),
        (("--pretrained",), "No published weights are known for 'fastconvnet'"),
        (("--weights", "fvie.npz"), "--weights fvie.npz: there is no such file"),
        (("--model", "resnet18", "--weights", "imagenet1k_v9"), "'imagenet1k_v1'"),
        (("--model", "mine.py:net", "--pretrained"), "mine.py"),
    ],
)
def test_weights_that_cannot_be_are_told_before_the_pictures_are_read(typed, tmp_path, words, says):
    code, out, err = typed(*TRAIN, *words, "-o", tmp_path / "run")
    assert code in (1, 2)
    assert says in err
    assert "Data:" not in out


def test_a_recipe_has_no_other_weights(typed, tmp_path):
    code, _, err = typed("train", "--recipe", "mnist_fast", "--pretrained", "-o", tmp_path / "run")
    assert code == 2
    assert "--recipe came beside --pretrained" in err


def test_below_the_threshold_the_answer_is_none_of_these(typed):
    assert "none of these (nearest:" in typed("predict", "0.safetensors", "photos/dark/0.png", "--threshold", 1)[1]
    assert "none of these" not in typed("predict", "0.safetensors", "photos/dark/0.png", "--threshold", 0)[1]
    code, _, err = typed("predict", "0.safetensors", "photos/dark/0.png", "--threshold", 60)
    assert code == 1
    assert "A probability from 0 to 1" in err


def test_an_ensemble_a_multi_label_model_and_a_regressor_answer_too(typed, made):
    code, out, err = typed("predict", "both.safetensors", "photos/dark", "--json", "--threshold", "0.1")
    assert code == 0, err
    probs = lamina.load(made / "both.safetensors").predict_probs(made / "photos" / "dark")
    told = [answer["probability"] for answer in json.loads(out)]
    assert told == pytest.approx(probs.max(1).tolist(), abs=1e-5)
    code, out, err = typed("predict", "several", "photos/dark/0.png", "--threshold", 0)
    assert code == 0, err
    assert all(name in out for name in ("round", "red", "ripe"))
    code, out, err = typed("predict", "height.safetensors", "photos/dark/0.png")
    assert code == 0, err
    assert "height" in out
    assert "Numbers have no probability" in typed("predict", "height.safetensors", "photos", "--threshold", "0.5")[2]


def test_the_engine_and_the_precision_that_are_named_answer(typed, monkeypatch):
    asked = []
    answer = Engines.answer

    def noted(self, *args, engine, precision, **more):
        asked.append((engine, precision))
        return answer(self, *args, engine=engine, precision="float32", **more)

    monkeypatch.setattr(Engines, "answer", noted)
    plain = json.loads(typed("predict", "0.safetensors", "photos/dark", "--json", "--engine", "torch")[1])
    code, out, err = typed("predict", "0.safetensors", "photos/dark", "--json", "--engine", "onnxruntime")
    assert code == 0, err
    for mine, theirs in zip(json.loads(out), plain, strict=True):
        assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-5)
    assert typed("predict", "height.safetensors", "photos/dark", "--precision", "bfloat16")[0] == 0
    assert asked == [("torch", "float32"), ("onnxruntime", "float32"), ("auto", "bfloat16")]
    code, _, err = typed("predict", "both.safetensors", "photos/dark", "--engine", "onnxruntime")
    assert (code, "--engine onnxruntime came, and both.safetensors holds a Ensemble" in err) == (2, True)


def test_unreadable_pictures_are_named_in_their_places(typed, tmp_path):
    names = []
    for number in range(7):
        names.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((28, 28), 30 * number, np.uint8)).save(names[-1])
    for number in (2, 3, 6):
        names[number].write_bytes(b"no picture")
    code, out, err = typed("predict", "both.safetensors", tmp_path, "--json")
    assert code == 1, err
    answers = json.loads(out)
    assert [("error" in answer) for answer in answers] == [number in (2, 3, 6) for number in range(7)]
    assert [answer["path"] for answer in answers] == list(map(str, names))


def test_a_report_of_several_labels_says_what_to_do(typed):
    code, _, err = typed("report", "several", "photos")
    assert code == 1
    assert "several labels" in err
