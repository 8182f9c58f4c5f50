"""Annotated pictures as a network sees them: as the one preprocessing makes them, with all that is known in its pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError
from lamina.data import Preprocess
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.augment import sample
from lamina.data.prepared import Prepared, fitted
from lamina.structures.annotation import IGNORED, Annotation


def picture(height=30, width=60, channels=3):
    return torch.randint(
        0, 256, (channels, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def boxes(annotation):
    return annotation.boxes_xyxy


@pytest.mark.parametrize("resize", ["pad", "stretch"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("size", [(40, 40), (17, 90), (30, 60)])
def test_a_picture_is_to_the_bit_what_the_preprocessing_makes_of_it(resize, interpolation, size):
    preprocess = Preprocess(size=size, resize=resize, interpolation=interpolation)
    made, _ = fitted(picture(), Annotation(), preprocess)
    assert torch.equal(made, preprocess.host(picture()))


def test_colours_and_grey_become_what_the_network_takes():
    grey, _ = fitted(picture(channels=1), Annotation(), Preprocess(size=(20, 20), resize="pad"))
    assert torch.equal(grey[0], grey[2])
    colour = Preprocess(channels=1, size=(20, 20), resize="stretch")
    assert torch.equal(fitted(picture(), Annotation(), colour)[0], colour.host(picture()))


def test_boxes_and_maps_lie_where_the_picture_shows_them():
    known = Annotation(
        boxes_xyxy=torch.tensor([[0.0, 0, 60, 30], [30, 15, 60, 30]]),
        labels=torch.tensor([0, 1]),
        class_map=torch.full((30, 60), 3, dtype=torch.uint8),
    )
    _, made = fitted(picture(), known, Preprocess(size=(40, 40), resize="pad"))
    assert made.boxes_xyxy.tolist() == [[0, 10, 40, 30], [20, 20, 40, 30]]
    assert made.class_map[10:30].unique().tolist() == [3]
    assert made.class_map[:10].unique().tolist() == made.class_map[30:].unique().tolist() == [IGNORED]


def test_parts_of_pictures_are_not_cut_away():
    with pytest.raises(DataError, match='"pad" or "stretch"'):
        Prepared(AnnotatedArrays([picture()], [Annotation()], ["a"], task="detection"), Preprocess(), boxes)


def test_training_sees_the_picture_changed_before_it_is_given_its_size():
    known = Annotation(boxes_xyxy=torch.tensor([[0.0, 0, 10, 10]]), labels=torch.tensor([0]))
    dataset = AnnotatedArrays([picture()], [known], ["a"], task="detection")
    plain = Prepared(dataset, Preprocess(size=(30, 60), resize="pad"), boxes)
    mirrored = plain.augmented(sample.SampleTransforms([sample.RandomFlip(1.0)]))
    assert torch.equal(mirrored[0][0], plain[0][0].flip(2))
    assert mirrored[0][1].tolist() == [[50, 0, 60, 10]]
    assert mirrored.classes == ("a",)
    assert len(mirrored) == 1


def test_arrays_paths_and_pillow_pictures_are_samples_and_can_be_cut(tmp_path):
    array = np.zeros((8, 9, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    given = [array, tmp_path / "a.png", Image.fromarray(array + 1), torch.zeros(3, 8, 9, dtype=torch.uint8) + 2]
    dataset = AnnotatedArrays(given, [Annotation()] * 4, ["a"], task="detection")
    assert {tuple(dataset[index][0].shape) for index in range(4)} == {(3, 8, 9)}
    assert len(dataset.subset([3, 0])) == 2
    assert int(dataset.subset([3, 0])[0][0].max()) == 2
    rest, held = dataset.split(0.25)
    assert len(rest) + len(held) == 4
    zeros = {index for index in range(4) if int(dataset[index][0].max()) == 0}
    for part in (rest, held):  # equal pictures are on one side
        assert sum(int(part[index][0].max()) == 0 for index in range(len(part))) in (0, len(zeros))


def test_pictures_without_their_annotation_are_refused():
    with pytest.raises(DataError, match="2 pictures and y has 1"):
        AnnotatedArrays([picture()] * 2, [Annotation()], ["a"], task="detection")
