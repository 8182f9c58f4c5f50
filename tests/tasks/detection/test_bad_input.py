"""Every way in which pictures and boxes can be wrong, and what a Detector is told wrongly."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina import networks
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Ragged
from lamina.data.video import Film
from lamina.structures.annotation import Annotation
from lamina.tasks.detection import Suppression

SIDE = 64  # px of the small detectors' pictures
NOTHING = Annotation(boxes_xyxy=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))


def boxed(*boxes: list[float], labels: list[int] | None = None) -> Annotation:
    return Annotation(boxes_xyxy=torch.tensor(boxes), labels=torch.tensor(labels or [0] * len(boxes)))


NETWORKS = ("retinanet", "fcos", "ssdlite", "faster_rcnn")
BAD = {
    "no size": [10.0, 10, 10, 30],
    "swapped": [40.0, 40, 20, 20],
    "not a number": [float("nan"), 1, 20, 20],
    "infinite": [1.0, 1, float("inf"), 20],
    "outside": [70.0, 70, 90, 90],
    "left of it": [-30.0, 5, -2, 20],
}


@pytest.mark.parametrize("box", BAD.values(), ids=list(BAD))
def test_boxes_that_cover_nothing_are_named_and_left_out(small: Any, box: list[float]) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    told[3] = boxed([5.0, 5, 30, 30], box)
    with pytest.warns(
        UserWarning, match=r"1 box covers nothing of its picture .* in 1 picture: picture 3. It is left out"
    ):
        history = detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    assert np.isfinite(history.history["loss"]).all()
    clean = [*told[:3], boxed([5.0, 5, 30, 30]), *told[4:]]
    other = small.narrow()
    assert other.fit(images, clean, epochs=1, verbose=0, validation_split=0.0).history == history.history
    with pytest.warns(UserWarning, match="1 box covers nothing of its picture"):
        figures = detector.evaluate(images, told)
    assert figures == pytest.approx(detector.evaluate(images, clean), nan_ok=True)


@pytest.mark.parametrize("network", ["retinanet", "fcos", "ssdlite"])
def test_batches_without_any_box_do_no_harm(small: Any, network: str) -> None:
    detector, (images, told) = small.narrow(network, classes=["square", "disc"]), small.shapes()
    told = [told[0], *[NOTHING] * 7]
    history = detector.fit(images, told, epochs=2, batch_size=2, verbose=0, validation_data=(images[1:3], told[1:3]))
    assert all(np.isfinite(history.history[name]).all() for name in ("loss", "val_loss"))
    assert all(torch.isfinite(value).all() for value in detector.net.state_dict().values())
    assert np.isnan(detector.evaluate(images[1:], told[1:])["AP"])  # nothing to find: no number


def test_pictures_of_which_none_has_a_box_cannot_be_learnt(small: Any) -> None:
    detector, (images, _) = small.narrow(), small.shapes()
    with pytest.raises(DataError, match="None of the 8 pictures has a box"):
        detector.fit(images, [NOTHING] * 8, epochs=1, verbose=0, validation_split=0.0)


def test_labels_must_be_classes(small: Any) -> None:
    detector, (images, told) = small.narrow(classes=["square"]), small.shapes()
    with pytest.raises(DataError, match="y holds the label 1"):
        detector.fit(images, told, epochs=1, verbose=0)


def test_classes_of_validation_must_be_those_of_training(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    told[0] = boxed([5.0, 5, 30, 30], labels=[2])
    with pytest.raises(LaminaError, match=r"y holds the label 2\. Labels are 0 to 1: the classes are 0, 1"):
        detector.fit(images[1:], told[1:], epochs=1, verbose=0, validation_data=(images, told))


def stored(folder: Path, images: torch.Tensor, told: list[Annotation]) -> AnnotatedDataset:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    columns: dict[str, Any] = {
        name: Ragged(
            torch.cat([getattr(each, name) for each in told]).numpy(),
            np.cumsum([0, *(len(each.labels if each.labels is not None else ()) for each in told)]),
        )
        for name in ("labels", "boxes_xyxy")
    }
    paths = [folder / f"{number}.png" for number in range(len(told))]
    return AnnotatedDataset(paths, columns, ("square", "disc"), task="detection", root=folder)


@pytest.mark.parametrize("box", BAD.values(), ids=list(BAD))
def test_boxes_of_files_that_cover_nothing_change_nothing(small: Any, tmp_path: Path, box: list[float]) -> None:
    images, told = small.shapes()
    clean = stored(tmp_path / "clean", images, [*told[:3], boxed([5.0, 5, 30, 30]), *told[4:]])
    wrong = stored(tmp_path / "wrong", images, [*told[:3], boxed([5.0, 5, 30, 30], box), *told[4:]])
    asked: dict[str, Any] = {"epochs": 1, "verbose": 0, "validation_split": 0.0}
    expected = small.narrow().fit(clean, **asked).history
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert small.narrow().fit(wrong, **asked).history == expected
    named = any("1 box covers nothing of its picture" in str(each.message) for each in heard)
    assert named == (box != BAD["outside"])  # beyond the right edge of pictures whose size is in their files


def test_classes_that_validation_alone_shows_are_told(small: Any, tmp_path: Path) -> None:
    images, told = small.shapes()
    told[0], told[1] = boxed([5.0, 5, 30, 30], [1.0, 2, 9, 9], labels=[1, 1]), boxed([5.0, 5, 30, 30])
    squares = [Annotation(boxes_xyxy=each.boxes_xyxy, labels=torch.zeros_like(each.labels)) for each in told[1:]]
    train, held = stored(tmp_path / "train", images[1:], squares), stored(tmp_path / "held", images[:2], told[:2])
    with pytest.warns(
        UserWarning, match=r"No training picture shows disc \(2\), and validation pictures do. It cannot be"
    ):
        small.narrow().fit(train, validation_data=held, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match=r"No training picture shows 1 \(2\)"):
        small.narrow(classes=["0", "1"]).fit(
            images[1:], squares, validation_data=(images[:2], told[:2]), epochs=1, verbose=0
        )


def test_other_classes_in_validation_are_refused(small: Any, tmp_path: Path) -> None:
    images, told = small.shapes()
    train, held = stored(tmp_path / "train", images, told), stored(tmp_path / "held", images, told)
    held.classes = ("square", "disc", "star")
    with pytest.raises(LaminaError, match="The data has the classes square, disc, star"):
        small.narrow().fit(train, validation_data=held, epochs=1, verbose=0)


def test_as_many_annotations_as_pictures_are_asked_for(small: Any) -> None:
    images, told = small.shapes()
    with pytest.raises(DataError, match="x has 8 pictures and y has 7 annotations"):
        small.narrow().fit(images, told[:7], epochs=1, verbose=0)


def test_boxes_are_four_numbers(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    told[2] = Annotation(boxes_xyxy=torch.zeros(1, 5), labels=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(DataError, match=r"The boxes of picture 2 have shape \(1, 5\)"):
        detector.fit(images, told, epochs=1, verbose=0)


def test_what_is_no_annotation_is_refused(small: Any) -> None:
    detector, (images, _) = small.narrow(), small.shapes()
    with pytest.raises(DataError, match="y holds a int"):
        detector.fit(images, [1] * 8, epochs=1, verbose=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_thousands_of_boxes_fit(small: Any, network: str) -> None:
    detector, (images, told) = small.narrow(network), small.shapes(2)
    corners = torch.rand(3000, 2) * 50
    told[0] = Annotation(
        boxes_xyxy=torch.cat([corners, corners + 1 + torch.rand(3000, 2) * 10], 1), labels=torch.randint(0, 2, (3000,))
    )
    history = detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
    assert np.isfinite(history.history["loss"]).all()
    assert len(detector.predict(images[0], threshold=0.0)) <= 100


def test_a_picture_of_one_by_5000_pixels_is_no_trouble(learnt: Any) -> None:
    detector, _, _ = learnt
    for shape in ((3, 1, 5000), (3, 5000, 1)):
        found = detector.predict(torch.zeros(shape, dtype=torch.uint8), threshold=0.0)
        assert np.isfinite(found.boxes_xyxy).all()
        assert (found.boxes_xyxy >= 0).all()
        assert found.boxes_xyxy[:, 0::2].max(initial=0) <= shape[2]
        assert found.boxes_xyxy[:, 1::2].max(initial=0) <= shape[1]


@pytest.mark.parametrize("network", NETWORKS)
def test_it_learns_from_a_picture_of_one_by_5000_pixels(small: Any, network: str) -> None:
    detector, (images, told) = small.narrow(network), small.shapes(3)
    pictures: list[Any] = [*images, torch.zeros(3, 1, 5000, dtype=torch.uint8)]
    history = detector.fit(pictures, [*told, boxed([10.0, 0, 900, 1])], epochs=1, verbose=0, validation_split=0.0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(detector.predict(pictures[-1], threshold=0.0, engine="torch").boxes_xyxy).all()


def test_of_a_video_that_breaks_in_the_middle_what_can_be_read_is_answered(learnt: Any, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    detector, images, _ = learnt
    with Film(tmp_path / "whole.avi", rate=10) as film:
        for number in range(40):
            film.add(images[number % 8].numpy())
    content = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "broken.avi").write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="is damaged"):
        found = list(detector.predict(tmp_path / "broken.avi", threshold=0.1, engine="torch"))
    assert 5 < len(found) < 35
    assert sum(map(len, found)) > 0


def test_a_loss_by_name_is_refused(small: Any) -> None:
    with pytest.raises(LaminaError, match="trained by the losses of its paper"):
        small.narrow().compile(loss="mse")  # type: ignore[arg-type]


def test_numbers_have_the_names_of_cocos(small: Any) -> None:
    with pytest.raises(UnknownNameError, match="AP5"):
        small.narrow().compile(metrics=["AP5"])


def test_weights_of_classes_and_of_pictures_are_refused(small: Any) -> None:
    detector, (images, told) = small.narrow(), small.shapes()
    for given in ({"class_weight": {0: 2.0}}, {"balance": "weights"}):
        with pytest.raises(LaminaError, match=r"came. A picture with annotations may show several classes.*sample_by"):
            detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0, **given)
        with pytest.raises(LaminaError, match="A picture with annotations may show several classes"):
            detector.find_lr(images, told, **given)
    with pytest.raises(LaminaError, match=r"sample_weight came.*pictures have no weights"):
        detector.fit(images, told, epochs=1, verbose=0, sample_weight=[1.0] * 8)


def test_without_weights_it_answers_nothing() -> None:
    with pytest.raises(LaminaError, match="This detector has no weights yet"):
        lamina.Detector().predict(torch.zeros(3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("classes", [1, 3])
def test_a_network_for_another_number_of_classes_is_refused(small: Any, classes: int) -> None:
    images, told = small.shapes()
    trunk = networks.create("cifar_resnet20")
    for network in ("ssdlite", "retinanet"):
        net = networks.create_on(network, trunk, arguments={"num_classes": classes})
        detector = lamina.Detector(net, preprocess=lamina.Preprocess(size=SIDE, resize="pad"))
        with pytest.raises(LaminaError, match=f"tells {classes} classes apart, and there are 2: 0, 1"):
            detector.fit(images, told, epochs=1, verbose=0, validation_split=0.0)
        assert detector.classes is None  # as it was


@pytest.mark.parametrize(("name", "value"), [("overlap", 1.5), ("least_score", -0.1), ("most", 0), ("candidates", 0)])
def test_a_suppression_of_impossible_numbers_is_refused(name: str, value: float) -> None:
    with pytest.raises(LaminaError, match=f"Suppression has {name}={value}"):
        Suppression(**{name: value})  # type: ignore[arg-type]
