"""Data sets of annotated pictures: samples, cuts, where they were read, what does not fit together."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.data import AnnotatedDataset, Splits
from lamina.data.columns import Beside, Fixed, Ragged, Texts
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.structures import Annotation


def broken(path, size):
    raise DataError("The mask is broken.", "A whole one was expected.", "Fetch it again.")


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8 + number, 6), (number, 0, 0)).save(paths[-1])
    return paths


def boxes_of(pictures, **told):
    columns = {
        "boxes_xyxy": Ragged(
            np.array([[0, 0, 4, 4], [1, 1, 2, 2], [2, 2, 5, 5]], np.float32), np.array([0, 1, 3, 3, 3])
        ),
        "labels": Ragged(np.array([1, 0, 1]), np.array([0, 1, 3, 3, 3])),
        "captions": Texts([["one"], ["two", "zwei"], [], ["four"]]),
        "image_id": Fixed(np.array([10, 11, 12, 13])),
        "pose": Ragged(np.array([7, 8, 9]), np.array([0, 1, 3, 3, 3]), of_objects=True),
    }
    return AnnotatedDataset(
        pictures, columns, ("cell", "dot"), **{"task": "detection", "root": pictures[0].parent, **told}
    )


def test_a_sample_is_a_picture_and_what_is_known_of_it(pictures):
    picture, annotation = boxes_of(pictures)[1]
    assert picture.dtype == torch.uint8
    assert picture.shape == (3, 6, 9)
    assert annotation.boxes_xyxy.tolist() == [[1, 1, 2, 2], [2, 2, 5, 5]]
    assert annotation.labels.tolist() == [0, 1]
    assert annotation.captions == ("two", "zwei")
    assert annotation.extras["image_id"].item() == 11
    assert annotation.attributes["pose"].tolist() == [8, 9]
    assert annotation.masks is None
    assert len(annotation) == 2
    assert len(boxes_of(pictures)[2][1]) == 0


def test_a_cut_keeps_what_belongs_together(pictures):
    dataset = boxes_of(pictures, origins=Origins(["a.json"], np.arange(4) * 7, word="image"))
    some = dataset.subset([3, 1])
    assert [each.name for each in some.paths] == ["3.png", "1.png"]
    assert some.annotation(1).labels.tolist() == [0, 1]
    assert some.annotation(1).attributes["pose"].tolist() == [8, 9]
    assert some.origin(1) == "a.json, image 7"
    assert some.subset(torch.tensor([False, True])).origin(0) == "a.json, image 7"
    assert boxes_of(pictures).subset([2]).origin(0) == str(pictures[2])
    rest, held = dataset.split(0.25)
    assert len(rest) + len(held) == 4
    assert {*map(str, rest.paths), *map(str, held.paths)} == set(map(str, pictures))
    assert [each.name for each in dataset.limit(2).paths] == ["0.png", "2.png"]
    assert dataset.counts().tolist() == [1, 2]


def test_a_change_is_made_when_a_sample_is_read(pictures):
    def halved(picture, annotation):
        return picture[:, :, ::2], annotation.objects(torch.tensor([0]))

    picture, annotation = boxes_of(pictures).changed(halved).subset([1])[0]
    assert picture.shape == (3, 6, 5)
    assert annotation.labels.tolist() == [0]


def test_what_cannot_be_read_names_the_picture_and_the_entry(pictures):
    columns = {"class_map": Beside(Paths([f"/m/{number}" for number in range(4)]), broken)}
    origins = Origins(["list.txt"], np.arange(1, 5))
    dataset = AnnotatedDataset(pictures, columns, ("a",), task="segmentation", root="/m", origins=origins)
    with pytest.raises(DataError, match="mask is broken") as caught:
        dataset[2]
    assert caught.value.__notes__ == [f"It belongs to {pictures[2]} (list.txt, line 3)."]


def test_columns_of_another_length_and_unknown_tasks_are_refused(pictures):
    with pytest.raises(DataError, match="4 pictures and 3 labels"):
        AnnotatedDataset(pictures, {"labels": Fixed(np.zeros(3))}, ("a",), task="detection", root="/m")
    with pytest.raises(DataError, match="0 pictures and no annotations"):
        AnnotatedDataset([], {}, ("a",), task="detection", root="/m")
    with pytest.raises(UnknownNameError, match="'detection'"):
        boxes_of(pictures, task="detect")


def test_an_annotation_has_one_of_each_for_each_object():
    with pytest.raises(ShapeError, match="2 labels, 1 boxes_xyxy"):
        Annotation(labels=torch.zeros(2), boxes_xyxy=torch.zeros(1, 4))
    with pytest.raises(ShapeError, match="2 labels, 3 pose"):
        Annotation(labels=torch.zeros(2), attributes={"pose": torch.zeros(3)})
    masks, pose = torch.ones(3, 2, 2, dtype=torch.bool), torch.tensor([5, 6, 7])
    cut = Annotation(labels=torch.arange(3), masks=masks, attributes={"pose": pose}, extras={"id": 5})
    assert cut.objects(torch.tensor([True, False, True])).labels.tolist() == [0, 2]
    assert cut.objects(torch.tensor([2])).masks.shape == (1, 2, 2)
    assert cut.objects(torch.tensor([2])).attributes["pose"].tolist() == [7]
    assert repr(cut) == "Annotation(labels=int64 3, masks=bool 3x2x2, attributes=['pose'], extras=['id'])"


def test_splits_tell_their_parts(pictures):
    dataset = boxes_of(pictures)
    splits = Splits(dataset, None, others={"trainval": dataset}, name="cells")
    assert list(splits.parts()) == ["train", "trainval"]
    assert splits["trainval"] is dataset
    assert (splits.task, splits.classes) == ("detection", ("cell", "dot"))
    assert repr(splits) == "<Splits cells: 4 train, 4 trainval; for detection, 2 classes>"
    with pytest.raises(UnknownNameError, match="'train', 'trainval'"):
        splits["test"]
    with pytest.raises(LaminaError, match="has no part"):
        Splits(None, None)


def test_few_shot_takes_pictures_that_hold_each_class(pictures):
    paths = [*pictures] * 10
    ends = np.arange(0, 2 * len(paths) + 1, 2)
    labels = np.stack([np.arange(len(paths)) % 3, np.zeros(len(paths), np.int64)], axis=1).ravel()
    made = AnnotatedDataset(paths, {"labels": Ragged(labels, ends)}, "abc", task="detection", root=".")
    rows = Ragged(np.arange(len(paths)), np.arange(len(paths) + 1))
    made.columns["row"] = rows
    few, more = (made.few_shot(k, seed=1) for k in (2, 4))

    def holding(part):
        return [
            sum(kind in part.columns["labels"].at(row, (1, 1)).tolist() for row in range(len(part)))
            for kind in range(3)
        ]

    assert min(holding(few)) == 2
    assert holding(few)[0] == len(few) <= 6, "a is in every picture"
    assert set(few.columns["row"].values) < set(more.columns["row"].values)
    assert set(made.few_shot(2, seed=2).columns["row"].values) != set(few.columns["row"].values)
    with pytest.raises(DataError, match="these classes have fewer samples: 'b'"):
        made.few_shot(len(paths))
    bare = AnnotatedDataset(paths, {"rows": rows}, (), task="captioning", root=".")
    with pytest.raises(DataError, match="no labels of objects"):
        bare.few_shot(1)
