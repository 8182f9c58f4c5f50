"""The statistics of a detector's backbone: who keeps them, who lets them go, and what a file tells of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lamina


def modes(detector: lamina.Detector) -> set[bool]:
    trunk = detector.net.get_submodule("trunk")
    return {module.training for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)}


def test_statistics_of_the_backbone_can_be_kept_also_through_a_file(small: Any, tmp_path: Path) -> None:
    detector, images, told = small.trained(epochs=1)
    assert modes(detector) == {True}
    detector.freeze_statistics()
    before = {name: value.clone() for name, value in detector.net.state_dict().items() if "running_mean" in name}
    detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    assert modes(detector) == {False}
    assert all(torch.equal(before[name], detector.net.state_dict()[name]) for name in before)
    assert modes(lamina.load(detector.save(tmp_path / "a.safetensors"))) == {False}
    detector.unfreeze()
    assert modes(detector) == {True}


def test_freezing_leaves_what_stands_on_the_backbone_to_learn(small: Any) -> None:
    detector, images, told = small.trained(epochs=1)
    detector.freeze()
    trained_now = {name.split(".")[0] for name, value in detector.net.named_parameters() if value.requires_grad}
    assert trained_now == {"pyramid", "classes", "boxes"}
    before = detector.net.get_submodule("trunk.net.conv1").weight.clone()
    detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    assert torch.equal(before, detector.net.get_submodule("trunk.net.conv1").weight)


USES: dict[str, Callable[[lamina.Detector, Any, Any], object]] = {
    "predict": lambda detector, images, _: detector.predict(images),
    "deployable": lambda detector, *_: detector.deployable(),
    "evaluate": lambda detector, images, told: detector.evaluate(images, told),
    "export": lambda detector, *_: detector.export("a.onnx", engines=["onnxruntime"]),
}


@pytest.mark.parametrize("use", USES.values(), ids=list(USES))
def test_using_a_detector_lets_no_frozen_statistics_go(
    small: Any, use: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    detector, images, told = small.trained(epochs=1)
    detector.freeze_statistics()
    before = [module.training for module in detector.net.modules()]
    use(detector, images, told)
    assert [module.training for module in detector.net.modules()] == before
    assert modes(detector) == {False}


def test_a_file_tells_what_was_asked_for_and_not_the_mode_of_the_moment(small: Any, tmp_path: Path) -> None:
    detector, _, _ = small.trained(epochs=1)
    detector.freeze_statistics()
    detector.net.eval()
    assert modes(lamina.load(detector.save(tmp_path / "kept.safetensors"))) == {False}
    other, _, _ = small.trained(epochs=1)
    other.freeze()  # which a file does not keep: neither weights nor statistics are frozen in what comes of it
    loaded = lamina.load(other.save(tmp_path / "frozen.safetensors"))
    assert modes(loaded) == {True}
    assert all(value.requires_grad for value in loaded.net.parameters())
    again = lamina.load(lamina.load(tmp_path / "kept.safetensors").save(tmp_path / "again.safetensors"))
    assert modes(again) == {False}


def test_statistics_kept_before_there_is_a_network_can_be_let_go_before_there_is_one(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    detector.freeze_statistics()
    detector.unfreeze()
    detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    assert modes(detector) == {True}


def test_freezing_weights_lets_no_kept_statistics_go(small: Any) -> None:
    detector, _, _ = small.trained(epochs=1)
    detector.freeze_statistics()
    detector.freeze("trunk.net.conv1", statistics=False)
    assert modes(detector) == {False}
