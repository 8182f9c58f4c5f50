"""Several transforms as one, in data sets that workers read."""

import functools

import pytest
import torch
from torchvision.transforms import v2

from lamina.core import random
from lamina.core.errors import DataError, ShapeError, UnknownNameError
from lamina.data import FolderDataset, WorkerBatches
from lamina.data.augment import sample
from lamina.structures.annotation import Annotation


class Flat(torch.utils.data.Dataset):
    """The samples of an annotated data set with their boxes, points and classes as one row of numbers, as a batch needs it."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        picture, annotation = self.dataset[index]
        row = torch.zeros(64)
        told = [
            annotation.boxes_xyxy.flatten(),
            annotation.keypoints.flatten(),
            annotation.class_map.float().mean()[None],
        ]
        told = torch.cat(told)[:64]
        row[: len(told)] = told
        return picture, row


def epoch(dataset, workers, epoch=0):
    batches = WorkerBatches(dataset, 3, shuffle=True, workers=workers, seed=4)
    try:
        read = list(batches.epoch(epoch))
    finally:
        batches.close()
    return torch.cat([batch.inputs for batch in read]), torch.cat([batch.targets for batch in read])


@pytest.mark.parametrize("names", ["crop,flip,affine,color", "trivial,rand,augmix", "mosaic,flip"])
def test_no_and_two_workers_draw_the_same(marked_files, names):
    change = sample.named(names, dataset=marked_files, size=(40, 48))
    change = sample.SampleTransforms([v2.RGB(), change, sample.Letterbox((40, 48))], ("x",))
    dataset = Flat(marked_files.changed(change))
    none, two, later = (epoch(dataset, workers, which) for workers, which in ((0, 0), (2, 0), (0, 1)))
    assert torch.equal(none[0], two[0])
    assert torch.equal(none[1], two[1])
    assert none[0].shape == (8, 3, 40, 48)
    assert not torch.equal(none[0], later[0])


@pytest.mark.parametrize("nested", [False, True])
def test_a_data_sets_own_names_tell_what_a_mirror_exchanges(marked_files, nested):
    change = sample.SampleTransforms([sample.RandomFlip(1.0)])
    change = sample.SampleTransforms([change]) if nested else change
    picture, annotation = marked_files.changed(change)[0]
    x = marked_files[0][1].keypoints[0, 0, 0]
    assert annotation.keypoints[0, 0, 0] == pytest.approx(picture.shape[2] - x)
    assert change.point_names is None  # the caller's stay as they were
    for index in range(8):
        marked_files.changed(sample.augmentation("keypoints", size=48))[index]


@pytest.mark.parametrize(
    "mirror", [sample.RandomFlip(0.5), v2.RandomHorizontalFlip(), v2.Compose([v2.RandomVerticalFlip()])]
)
def test_points_without_names_are_refused_before_any_sample_is_mirrored(marked_files, mirror):
    marked_files.point_names = ()
    with pytest.raises(DataError, match="no names of its points"):
        marked_files.changed(sample.SampleTransforms([mirror]))
    with pytest.raises(DataError, match="no names of its points"):
        marked_files.changed(sample.SampleTransforms([sample.SampleTransforms([mirror])]))
    assert marked_files.changed(sample.SampleTransforms([mirror], ()))[0]
    assert marked_files.changed(sample.SampleTransforms([v2.RGB()]))[0]


def test_the_labels_of_classes_stay_and_a_folder_is_read_changed(marked_files):
    folder = FolderDataset(marked_files.paths, [0, 1] * 4, ["a", "b"], root=marked_files.root)
    usual = sample.augmentation("classification", size=32)
    dataset = sample.changed(folder, usual)
    random.reseed_host(1)
    picture, label = dataset[1]
    assert label == 1
    assert picture.shape == (3, 32, 32)
    assert (len(dataset), dataset.classes, dataset.task) == (8, ("a", "b"), "classification")
    images, labels = epoch(dataset, 2)
    assert sorted(labels.tolist()) == [0] * 4 + [1] * 4
    assert torch.equal(images, epoch(dataset, 0)[0])


@pytest.mark.parametrize("task", sample.PRESETS)
def test_every_preset_gives_one_size_and_prints_what_it_does(marked_files, task):
    usual = sample.augmentation(task, size=(40, 56), point_names=["x"], mosaic_of=marked_files)
    for index, seed in enumerate((0, 1, 2, 3, 4, 5, 6, 7)):
        random.reseed_host(random.key(seed))
        picture, annotation = usual(*marked_files[index])
        assert picture.shape == (3, 40, 56)
        assert annotation.class_map.shape == (40, 56)
    told = str(usual)
    assert told.startswith(f"Augmentation for {task}:\n  1. ")
    assert "mosaic of four pictures" in told
    assert len(told.splitlines()) == len(usual.transforms) + 1


def test_a_compose_is_what_is_in_it():
    inner = v2.Compose([v2.CenterCrop(8), v2.Compose([v2.Pad(2)])])
    assert len(sample.SampleTransforms([inner]).transforms) >= 2


def test_a_function_of_picture_and_annotation_joins_in():
    darker = sample.SampleTransforms([lambda picture, annotation: (picture // 2, annotation), v2.Pad(1)])
    picture, annotation = darker(torch.full((3, 4, 4), 100, dtype=torch.uint8), Annotation(captions=("a",)))
    assert picture[:, 1:-1, 1:-1].unique().tolist() == [50]
    assert annotation.captions == ("a",)


@pytest.mark.parametrize(
    ("made", "error", "text"),
    [
        (lambda: sample.SampleTransforms([v2.RandomHorizontalFlip]), DataError, r"Pass RandomHorizontalFlip\(...\)"),
        (lambda: sample.SampleTransforms(["flip"]), DataError, r"hold 'flip'.*transforms.v2"),
        (lambda: sample.named("flip,rotat"), UnknownNameError, "'rotate'"),
        (lambda: sample.named("mosaic"), DataError, "without a data set"),
        (lambda: sample.augmentation("cooking", size=8), UnknownNameError, "'detection'"),
        (lambda: sample.augmentation("detection", size=0), DataError, "size is 0"),
        (lambda: sample.RandomFlip(p=2), DataError, "p is 2"),
        (lambda: sample.RandomCrop(scale=(0, 2)), DataError, "scale is"),
        (lambda: sample.RandomAffine(shift=1), DataError, "shift is 1"),
        (lambda: sample.RandomAffine(zoom=(2, 1)), DataError, "zoom is"),
        (lambda: sample.RandAugment(magnitude=31), DataError, "magnitude is 31"),
        (lambda: sample.AugMix(severity=0), DataError, "severity is 0"),
    ],
)
def test_what_means_nothing_is_refused(made, error, text):
    with pytest.raises(error, match=text):
        made()


def test_floats_are_refused():
    with pytest.raises(ShapeError, match=r"float32.*uint8, C H W"):
        sample.SampleTransforms([v2.Pad(1)])(torch.zeros(3, 4, 4), Annotation())


def test_a_crop_keeps_an_object_and_the_picture_without_one():
    picture, boxes = torch.zeros(3, 100, 100, dtype=torch.uint8), torch.tensor([[0.0, 0, 10, 10], [90, 90, 99, 99]])
    crop = sample.SampleTransforms([sample.RandomCrop(scale=(0.1, 0.2))])
    sizes = set()
    for seed in range(30):
        random.reseed_host(random.key(seed))
        smaller, annotation = crop(picture, Annotation(boxes_xyxy=boxes))
        assert len(annotation) >= 1
        sizes.add(smaller.shape[1:])
    assert len(sizes) > 3
    empty, _ = crop(picture, Annotation(boxes_xyxy=torch.zeros(0, 4)))
    assert empty.shape[1] * empty.shape[2] < 2500


def test_a_mosaic_holds_the_objects_of_four_pictures_in_their_places(marked_files):
    whole = functools.partial(sample.Mosaic(marked_files, (100, 90)))
    counts = []
    for seed in range(12):
        random.reseed_host(random.key(seed))
        picture, after = whole(*marked_files[seed % 8])
        assert picture.shape == (3, 100, 90)
        assert after.class_map.shape == (100, 90)
        assert after.class_map.max() <= 1  # all four corners are covered
        counts.append(len(after))
        red = (picture[0].int() - picture[1].int()) > 100
        grey = picture.float().std(dim=0) < 1  # the picture that came as grey has no red in it
        for box, mask, points in zip(after.boxes_xyxy, after.masks, after.keypoints, strict=True):
            left, top, right, bottom = box.round().int().tolist()
            assert mask[top:bottom, left:right].float().mean() > 0.6
            assert not mask[:, : max(left - 1, 0)].any()
            assert not mask[: max(top - 1, 0)].any()
            assert (after.class_map[mask] == 1).all()
            x, y, seen = points[0].tolist()
            if seen:
                assert red[int(y), int(x)] or grey[int(y), int(x)]
                assert mask[int(y), int(x)]
    assert max(counts) == 4
    assert after.labels.tolist() == [3] * len(after)
    assert len(after.area_px) == len(after)


def test_a_mosaic_keeps_the_attributes_beside_their_objects(marked_files):
    """Each object carries its own left edge, which tells the objects of the four apart."""

    class Told:
        name = "told"

        def changed(self, change):
            return self

        def __len__(self):
            return 4

        def __getitem__(self, index):
            objects = index + 1
            boxes = torch.tensor([[4.0, 4, 20, 20]]).repeat(objects, 1)
            numbers = torch.arange(objects) + 10 * index
            annotation = Annotation(labels=numbers, boxes_xyxy=boxes, attributes={"number": numbers})
            return torch.zeros(3, 24, 24, dtype=torch.uint8), annotation

    data = Told()
    random.reseed_host(3)
    _, joined = sample.Mosaic(data, 48)(*data[0])
    assert len(joined) > 1
    assert joined.attributes["number"].tolist() == joined.labels.tolist()


def test_what_tells_left_from_right_is_not_mirrored():
    for made in (
        sample.augmentation("classification", size=8, mirrored=False),
        sample.augmentation("captioning", size=8),
    ):
        assert not any(isinstance(each, sample.RandomFlip) for each in made.transforms)
