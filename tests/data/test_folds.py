"""Folds, stratified and grouped splits, and a few of each class: what every cut of a data set keeps to."""

import io
import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.core.errors import DataError
from lamina.data import AnnotatedDataset, ImageDataset
from lamina.data.columns import Fixed
from lamina.data.folds import dealt, few_of_each, units

COUNTS = (40, 23, 7, 5)
LABELS = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))


def pictures(labels=LABELS, seed=0):
    images = torch.randint(
        0, 256, (len(labels), 1, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return ImageDataset(images, labels, [f"class {index}" for index in range(4)])


def keys(dataset):
    return {image.numpy().tobytes() for image in dataset.images}


def packed(tmp_path, dataset):
    """The pictures as files in a zip, by the class they are of."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
        for index, (image, label) in enumerate(zip(dataset.images, dataset.labels, strict=True)):
            written = io.BytesIO()
            Image.fromarray(image[0].numpy()).save(written, "png")
            file.writestr(f"{label}/{index:03d}.png", written.getvalue())
    return tmp_path / "p.zip"


@pytest.mark.parametrize("n", [2, 3, 5])
def test_each_sample_is_validated_once_and_trained_on_otherwise(n):
    dataset = pictures()
    seen = []
    for train, validation in dataset.folds(n):
        assert keys(train) | keys(validation) == keys(dataset)
        assert not keys(train) & keys(validation)
        seen += [image.numpy().tobytes() for image in validation.images]
    assert len(seen) == len(dataset)
    assert set(seen) == keys(dataset)


def test_every_fold_has_its_share_of_each_class_and_of_all():
    counts = torch.stack([torch.bincount(part.labels, minlength=4) for _, part in pictures().folds(5)])
    expected = torch.tensor(COUNTS) / 5
    assert (counts >= expected.floor()).all()
    assert (counts <= expected.ceil()).all()
    assert counts.sum(1).tolist() == [15] * 5  # what one class leaves over evens out what another does


def test_folds_go_by_content_and_seed_and_not_by_the_order():
    dataset = pictures()
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(3))
    for (_, one), (_, two) in zip(dataset.folds(5), dataset.subset(order).folds(5), strict=True):
        assert keys(one) == keys(two)
    assert [keys(part) for _, part in dataset.folds(5)] != [keys(part) for _, part in dataset.folds(5, seed=1)]


def test_equal_pictures_are_of_one_fold_also_under_other_labels_and_groups():
    dataset = pictures()
    for copy, of in ((3, 44), (70, 9), (12, 13)):
        dataset.images[copy] = dataset.images[of]
    for groups in (None, np.arange(75) // 2):
        for train, validation in dataset.folds(5, groups=groups):
            assert not keys(train) & keys(validation)
        for stratify in (False, True):
            rest, held = dataset.split(0.2, stratify=stratify, groups=groups)
            assert not keys(rest) & keys(held)
            assert len(rest) + len(held) == 75


def test_groups_are_never_torn_and_classes_are_spread_as_well_as_they_let():
    rng = np.random.default_rng(0)
    groups = np.array([f"patient {index}" for index in rng.integers(0, 25, 75)])
    dataset = pictures()
    by_content = {image.numpy().tobytes(): group for image, group in zip(dataset.images, groups, strict=True)}
    validated, sizes = [], []
    for train, validation in dataset.folds(5, groups=groups):
        ours, others = ({by_content[key] for key in keys(part)} for part in (validation, train))
        assert not ours & others
        validated += sorted(ours)
        sizes.append(torch.bincount(validation.labels, minlength=4))
    assert sorted(validated) == sorted(set(groups))
    assert (torch.stack(sizes)[:, :2] >= torch.tensor([6, 3])).all()  # of 8 and 4.6
    assert 12 <= torch.stack(sizes).sum(1).min() <= torch.stack(sizes).sum(1).max() <= 18
    _, held = dataset.split(0.2, groups=torch.from_numpy(rng.integers(0, 25, 75)))
    assert 10 <= len(held) <= 20


def test_a_copy_in_two_groups_joins_them_however_long_the_chain():
    contents = [bytes([number]) for number in (0, 1, 1, 2, 2, 3, 3, 4, 5)]
    groups = ["a", "a", "b", "b", "c", "c", "d", "d", "e"]
    for order in (list(range(9)), list(range(9))[::-1], [4, 0, 7, 2, 8, 1, 6, 3, 5]):
        unit = units([contents[i] for i in order], 9, groups=[groups[i] for i in order], seed=0)
        whole = {int(number) for number, i in zip(unit, order, strict=True) if i < 8}
        assert len(whole) == 1
        assert int(unit[order.index(8)]) not in whole


def test_a_stratified_split_holds_out_that_fraction_of_each_class():
    rest, held = pictures().split(0.2, stratify=True)
    assert torch.bincount(held.labels).tolist() == pytest.approx([8, 4.6, 1.4, 1], abs=0.99)
    assert torch.bincount(rest.labels).tolist() == [
        count - out for count, out in zip(COUNTS, torch.bincount(held.labels).tolist(), strict=True)
    ]
    plain, out = pictures().split(0.2)  # as it has always been: files tell by it what they held out
    assert (len(plain), len(out)) == (60, 15)


def test_several_labels_a_picture_are_spread_too():
    labels = (torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.5, 0.2, 0.05])).long()
    part = dealt(torch.randperm(200, generator=torch.Generator().manual_seed(1)), labels, [0.25] * 4)
    counts = torch.stack([labels[part == fold].sum(0) for fold in range(4)])
    assert torch.bincount(part).tolist() == pytest.approx([50] * 4, abs=3)
    assert ((counts - labels.sum(0) / 4).abs() <= torch.tensor([3, 2, 1])).all()


def test_folders_and_annotated_pictures_in_a_zip_are_cut_alike(tmp_path):
    path = packed(tmp_path, pictures())
    folder = lamina.data.open(path).train
    names = [set(map(str, part.paths)) for _, part in folder.folds(5)]
    assert sum(map(len, names)) == 75
    assert len(set.union(*names)) == 75
    counts = torch.stack([torch.bincount(part.labels, minlength=4) for _, part in folder.folds(5)])
    assert (counts <= (torch.tensor(COUNTS) / 5).ceil()).all()
    column = Fixed(np.arange(75))
    boxes = AnnotatedDataset(folder.paths, {"number": column}, folder.classes, task="detection", root=tmp_path)
    groups = np.arange(75) // 4
    numbers = [part.columns["number"].values for _, part in boxes.folds(5, groups=groups)]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(75))
    assert sum(len(set(fold // 4)) for fold in numbers) == 19
    rest, held = boxes.split(0.2, groups=groups)
    assert not set(rest.columns["number"].values // 4) & set(held.columns["number"].values // 4)


def test_k_of_each_class_are_drawn_by_the_seed_and_fewer_are_among_more():
    dataset = pictures()
    three, five = dataset.few_shot(3, seed=1), dataset.few_shot(5, seed=1)
    assert torch.bincount(five.labels).tolist() == [5] * 4
    assert keys(three) < keys(five)
    assert keys(dataset.few_shot(3, seed=2)) != keys(three)
    assert torch.equal(few_of_each(LABELS, "abcd", 5, seed=1), few_of_each(LABELS, "abcd", 5, seed=1))


def test_classes_with_fewer_are_named():
    with pytest.raises(DataError, match=re.escape("fewer samples: 'class 2' 7, 'class 3' 5.")):
        pictures().few_shot(8)
    with pytest.raises(DataError, match="several for each picture"):
        few_of_each(torch.zeros(3, 2, dtype=torch.int64), "ab", 1, seed=0)
    with pytest.raises(DataError, match="k is 0"):
        pictures().few_shot(0)
    with pytest.warns(UserWarning, match=r"fewer samples: class 2 \(7\), class 3 \(5\)"):
        pictures().folds(10)


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (lambda data: data.folds(1), "1 folds came"),
        (lambda data: data.folds(3, groups=["a"] * 75), "1 groups that share no picture"),
        (lambda data: data.folds(3, groups=["a"] * 74), "75 samples, and groups of shape (74,)"),
        (lambda data: data.folds(3, groups=[None, "a", "b"] * 25), "The groups cannot be told apart"),
        (lambda data: data.folds(3, groups=[[1], [1, 2], [3]] * 25), "The groups cannot be told apart"),
        (lambda data: data.folds(2.5), "2.5 folds came"),
        (lambda data: data.few_shot(1.5), "k is 1.5"),
        (lambda data: data.split(1.5, stratify=True), "fraction is 1.5"),
        (lambda data: data.subset([0, 1]).folds(3), "2 pictures that differ"),
    ],
)
def test_what_cannot_be_cut_is_refused_at_once(cut, says):
    with pytest.raises(DataError, match=re.escape(says)):
        cut(pictures())


def test_no_part_is_empty_even_of_two_groups():
    rest, held = pictures().split(0.1, groups=np.arange(75) < 40)
    assert {len(rest), len(held)} == {35, 40}
