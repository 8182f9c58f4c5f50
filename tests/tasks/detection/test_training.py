"""A detector's training: gone on with amid an epoch, in two processes, on mosaics, and on a backbone that has learnt already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import callbacks, optimizers
from lamina.data.annotated import AnnotatedDataset
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.augment.sample import SampleTransforms, augmentation
from lamina.data.augment.sample.mosaic import Mosaic
from lamina.data.columns import Ragged
from lamina.models.annotated import whole
from lamina.structures.annotation import Annotation
from lamina.tasks.detection import targets
from lamina.tasks.detection.targets import Objects


class StoppedError(Exception):
    """What ends a training."""


def interrupt(step: int, seen: dict[str, Any]) -> None:
    """Raises at the first step that many have come before."""
    seen["steps"] = seen.get("steps", 0) + 1
    if seen["steps"] > step:
        raise StoppedError


# Gone on with ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["retinanet", "faster_rcnn"])
def test_a_training_that_ended_amid_an_epoch_goes_on_to_the_same_weights(
    small: Any, tmp_path: Path, network: str
) -> None:
    images, told = small.shapes()
    given: dict[str, Any] = {"epochs": 2, "batch_size": 2, "verbose": 0, "validation_split": 0.0, "augment": "flip"}
    unbroken = small.narrow(network)
    history = unbroken.fit(images, told, run=tmp_path / "whole", checkpoint_every=2, **given).history
    broken, seen = small.narrow(network), {}
    stop = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: interrupt(6, seen))
    with pytest.raises(StoppedError):
        broken.fit(images, told, run=tmp_path / "run", checkpoint_every=2, callbacks=[stop], **given)
    other = small.narrow(network)
    resumed = other.fit(images, told, run=tmp_path / "run", checkpoint_every=2, resume=True, **given).history
    assert seen["steps"] == 7  # of four an epoch: within the second one
    assert resumed["loss"] == history["loss"]
    for name, value in unbroken.net.state_dict().items():
        assert torch.equal(value, other.net.state_dict()[name]), name


# Two processes --------------------------------------------------------------------------------------------------------


def trained_here(world: Any, network: str) -> dict[str, Any]:
    """What one of several processes makes of eight pictures, which they share."""
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import narrow, shapes

    images, told = shapes()
    detector = narrow(network, classes=["0", "1"])
    detector.compile(
        optimizers.SGD(0.01), runtime=lamina.training.Runtime("cpu", precision="float32", synchronise=True)
    )
    given: dict[str, Any] = {"shuffle": False, "verbose": 0, "validation_split": 0.0}
    history = detector.fit(images, told, batch_size=8, epochs=2, **given).history
    return {"weights": detector.net.state_dict(), "loss": history["loss"]}


def measured_here(world: Any, path: str, spread: bool) -> dict[str, float]:
    """What one of several processes measures of seven pictures of several sizes, which they share, as they may the network."""
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import shapes

    images, told = shapes()
    wide = torch.cat([images[0], torch.zeros_like(images[0])], dim=2)
    detector = lamina.load(path)
    detector.compile(runtime=lamina.training.Runtime("cpu", shard=spread))
    return dict(detector.evaluate([wide, *images[1:7]], told[:7], batch_size=2))


@pytest.mark.parametrize("network", ["retinanet", "fcos"])
def test_two_processes_learn_as_one_does(together: Any, network: str) -> None:
    (alone,) = together(trained_here, network, size=1)
    for told in together(trained_here, network):
        assert told["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        for name, value in alone["weights"].items():
            torch.testing.assert_close(told["weights"][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("spread", [False, True])
def test_two_processes_measure_as_one_does(learnt: Any, together: Any, tmp_path: Path, spread: bool) -> None:
    path = str(learnt[0].save(tmp_path / "found.safetensors"))
    (alone,) = together(measured_here, path, False, size=1)
    assert alone["AP50"] > 0.5
    for told in together(measured_here, path, spread):
        assert told == pytest.approx(alone, rel=1e-5, nan_ok=True)


# On other pictures ----------------------------------------------------------------------------------------------------


def test_a_mosaic_has_room_for_the_objects_of_four(small: Any) -> None:
    images, _ = small.shapes()
    full = Annotation(boxes_xyxy=torch.tensor([[2.0, 2, 60, 60]]).repeat(3, 1), labels=torch.tensor([0, 1, 0]))
    data = AnnotatedArrays(list(images), [full] * 8, ("square", "disc"), task="detection")
    framed = targets.Framed(data, whole((64, 64)), Objects(3, 2))
    mosaic = framed.augmented(SampleTransforms([Mosaic(data, (64, 64))]))
    assert len(framed[0][1]) == 1 + 3
    target = mosaic[0][1]
    assert len(target) == 1 + 4 * 3
    assert (target[1:, 4] >= 0).sum() > 3
    assert target[0, 2:4].tolist() == [64, 64]
    usual = augmentation("detection", size=(64, 64), mosaic_of=data)
    for nested in (SampleTransforms([usual]), SampleTransforms([SampleTransforms([usual])])):
        assert len(framed.augmented(nested)[0][1]) == 1 + 4 * 3


def test_a_data_set_that_is_changed_to_mosaics_has_room_for_the_objects_of_four(small: Any, tmp_path: Path) -> None:
    for number, image in enumerate(small.shapes()[0]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    boxes = np.tile(np.array([[2, 2, 60, 60]], np.float32), (24, 1))
    ends = np.arange(0, 25, 3)
    columns = {"labels": Ragged(np.zeros(24, np.int64), ends), "boxes_xyxy": Ragged(boxes, ends)}
    data = AnnotatedDataset(sorted(tmp_path.glob("*.png")), columns, ["0"], task="detection", root=tmp_path)
    detector = small.narrow(classes=["0"])
    detector._meet(data)
    mosaics = data.changed(SampleTransforms([Mosaic(data, (64, 64))]))
    kept = [int((target[1:, 4] >= 0).sum()) for _, target in map(detector._prepare_set(mosaics).__getitem__, range(8))]
    assert max(kept) > 3


def test_pictures_in_memory_are_learnt_in_mosaics(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    history = detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0, augment="mosaic,flip").history
    assert 0 < history["loss"][0] < 100


@pytest.mark.parametrize("network", ["retinanet", "fcos"])
def test_what_is_found_within_a_crowd_is_not_punished(small: Any, network: str) -> None:
    detector, (images, told) = small.narrow(network, classes=["0", "1"]), small.shapes()
    detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    with torch.no_grad():
        detector.net.classes[-1].bias.fill_(0.0)  # everything everywhere, at 0.5
    alone = told[0]
    crowd = torch.tensor([[0.0, 0, 64, 64]])
    beside = Annotation(
        boxes_xyxy=torch.cat([alone.boxes_xyxy, crowd]),
        labels=torch.cat([alone.labels, torch.tensor([0])]),
        crowd=torch.tensor([*[False] * len(alone.labels), True]),
    )
    with_crowd, without = detector.evaluate(images[:1], [beside]), detector.evaluate(images[:1], [alone])
    assert with_crowd["class_loss"] < 0.5 * without["class_loss"]
    assert with_crowd["box_loss"] == pytest.approx(without["box_loss"], rel=1e-5)


# The backbone ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
def test_a_pretrained_backbone_learns_and_keeps_its_statistics_where_asked(
    small: Any, kept: bool, tmp_path: Path
) -> None:
    images, told = small.shapes()
    net = lamina.networks.create("cifar_resnet20", num_classes=2)
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.uniform_(-0.1, 0.1, generator=generator)
    preprocess = lamina.Preprocess(size=64, resize="pad", mean=(0.5,), std=(0.5,))
    weights = lamina.Classifier(net, classes=["a", "b"], preprocess=preprocess).save(tmp_path / "a.safetensors")
    detector = small.narrow(pretrained=weights)
    if kept:
        detector.freeze_statistics()  # before there is a network
    detector.fit(images, told, epochs=1, batch_size=4, verbose=0, validation_split=0.0)
    brought, held = net.state_dict(), detector.net.get_submodule("trunk.net").state_dict()
    means = [name for name in held if "running_" in name]
    assert means
    assert {torch.equal(held[name], brought[name]) for name in means} == {kept}
    assert not torch.equal(held["conv1.weight"], brought["conv1.weight"])
    assert (held["conv1.weight"] - brought["conv1.weight"]).abs().max() < 0.02
