"""`lamina ensemble` and `lamina evaluate --tta`, as a person types them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.callbacks import Snapshots


def draw(folder, rng, *, size):
    """Pictures that are brighter in the upper or the lower half, among noise."""
    for name, bright in (("lower", slice(size // 2, None)), ("upper", slice(0, size // 2))):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 150, (size, size))
            pixels[bright] += 40
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with train/, val/ and test/, a run, and two snapshots of it."""
    folder, rng = tmp_path_factory.mktemp("ensemble"), np.random.default_rng(0)
    for part in ("train", "val", "test"):
        draw(folder / "photos" / part, rng, size=40)
    torch.manual_seed(0)
    classifier = lamina.Classifier("fastconvnet", preprocess=lamina.Preprocess(channels=1, size=(28, 28), crop=0.875))
    kept = Snapshots(folder / "snapshots", every=2)
    classifier.fit(folder / "photos", epochs=4, batch_size=8, callbacks=[kept], verbose=0)
    classifier.save(folder / "last.safetensors")
    return folder


@pytest.fixture
def typed(work, typed_in):
    return typed_in(work)


def test_prints_each_member_the_ensemble_and_the_gain(typed):
    code, out, err = typed("ensemble", "snapshots", "--data", "photos")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "photos, test: 24 pictures"
    assert lines[1].split() == ["weight", "loss", "(less", "is", "better)", "accuracy"]
    assert lines[2].startswith("snapshots/epoch_002.safetensors")
    assert lines[2].split()[1] == "0.500"
    assert lines[4].startswith("ensemble, mean of probabilities")
    assert lines[5].startswith("gain over the best of them")


def test_members_may_be_named_and_weights_learned_on_validation(typed, work):
    words = ["ensemble", "snapshots/epoch_002.safetensors", "last.safetensors", "--data", "photos", "--json"]
    code, out, err = typed(*words, "--weights", "learned", "--average", "logits", "--save", "both.safetensors")
    assert code == 0, err
    told = json.loads(out)
    assert (told["split"], told["pictures"]) == ("test", 24)
    weights = [float(row["weight"]) for row in told["rows"][:2]]
    assert sum(weights) == pytest.approx(1, abs=0.002)
    reference = lamina.Ensemble([work / name for name in words[1:3]], average="logits")
    reference.learn_weights(work / "photos" / "val")
    assert weights == pytest.approx(reference.weights, abs=0.001)
    assert lamina.load(work / "both.safetensors").weights == pytest.approx(reference.weights)
    by_hand = json.loads(typed(*words, "--weights", "3,1")[1])
    assert [row.get("weight") for row in by_hand["rows"]] == ["0.750", "0.250", None]


def test_evaluate_prints_the_figures_of_one_view_of_several_and_the_gain(typed, work):
    code, out, err = typed("evaluate", "last.safetensors", "photos", "--tta", "ten-crop")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[1].split() == ["loss", "(less", "is", "better)", "accuracy"]
    assert [line.split("  ")[0] for line in lines[2:]] == ["one view", "ten-crop", "gain"]
    told = json.loads(typed("evaluate", "last.safetensors", "photos", "--tta", "flip", "--json")[1])
    flipped = lamina.load(work / "last.safetensors").evaluate(work / "photos", tta="flip")
    assert told["tta"] == {"name": "flip", **{name: pytest.approx(value) for name, value in flipped.items()}}
    assert told["gain"]["accuracy"] == pytest.approx(told["tta"]["accuracy"] - told["accuracy"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["ensemble", "last.safetensors", "--data", "photos"], 1, "lamina evaluate last.safetensors DATA"),
        (["ensemble", "nowhere", "--data", "photos"], 1, "no file or folder nowhere"),
        (["ensemble", "snapshots", "--data", "photos", "--weights", "best"], 2, "equal, learned"),
        (["ensemble", "snapshots", "--data", "photos", "--weights", "1,2,3"], 1, "each of the 2 members"),
        (["ensemble", "snapshots", "--data", "photos", "--average", "votes"], 2, "probs or logits"),
        (["ensemble", "snapshots", "--data", "photos", "--validation", "photos/val"], 2, "Add --weights learned"),
        (
            ["ensemble", "snapshots", "--data", "photos/test", "--weights", "learned", "--validation", "photos/test"],
            1,
            "",
        ),
        (["ensemble", "snapshots"], 2, "--data"),
        (["evaluate", "last.safetensors", "photos", "--tta", "ten-corp"], 2, "'ten-crop'"),
    ],
)
def test_bad_input_is_named(typed, words, code, says):
    came, _, err = typed(*words)
    assert came == code
    assert says in err
