"""Models of annotated pictures: the same front door, whatever stands in them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import Preprocess, Segmenter
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.models import annotated as annotated_model
from lamina.models import annotated_data
from lamina.models.annotated import annotation
from lamina.structures.annotation import Annotation
from lamina.training import SupervisedStep

SIZE = (16, 24)


def picture(seed, size=SIZE):
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def made(count=10, *, seed=0, task="segmentation"):
    """Pictures of which a class is the brighter half."""
    pictures = torch.stack([picture(seed + index) // 2 for index in range(count)])
    pictures[:, :, :, 12:] += 120
    maps = torch.zeros(count, *SIZE, dtype=torch.uint8)
    maps[:, :, 12:] = 1
    known = [Annotation(class_map=each) for each in maps]
    return AnnotatedArrays(pictures, known, ["dark", "bright"], task=task)


def segmenter(**options):
    torch.manual_seed(0)
    model = Segmenter(nn.Conv2d(3, 2, 1), preprocess=Preprocess(size=SIZE, resize="pad"), **options)
    model.compile("adam", device="cpu")
    return model


def fit(model, data, **options):
    return model.fit(data, **{"epochs": 1, "batch_size": 4, "verbose": 0} | options)


def test_learns_and_answers_in_the_pictures_own_pixels():
    data = made()
    model = segmenter()
    model.compile(lamina.optimizers.Adam(lr=0.1), device="cpu")
    history = fit(model, data, epochs=8)
    assert history.history["val_mean_iou"][-1] > 0.9
    large = torch.nn.functional.interpolate(data.pictures[:1].float(), scale_factor=3).to(torch.uint8)[0]
    result = model.predict(large)
    assert result.size == (48, 72)
    assert (result.class_map[:, 40:] == 1).mean() > 0.9
    assert len(model.predict(data)) == 10


def test_a_tenth_is_held_out_by_content_and_measured_again():
    data = made(20)
    model = segmenter()
    fit(model, data)
    assert model.split == {"held_out": 0.1, "of": 20, "by": "content hash", "seed": 0}
    assert model.measured(lamina.data.Splits(train=data, test=None))[0] == "validation"
    alone = segmenter()
    fit(alone, data, validation_split=0.0)
    with pytest.warns(UserWarning, match="trained on these very pictures"):
        assert alone.measured(lamina.data.Splits(train=data, test=None))[0] == "train"


def test_the_same_seed_gives_the_same_run_with_augmentation(monkeypatch):
    def weights():
        model = segmenter()
        fit(model, made(), augment="flip,color", seed=3, validation_split=0.0)
        return model.net.weight.detach().clone()

    first = weights()
    assert torch.equal(first, weights())


def test_few_pictures_in_memory_are_read_without_workers_which_changes_nothing(monkeypatch):
    asked, real = [], annotated_model.WorkerBatches
    monkeypatch.setattr(
        annotated_model, "WorkerBatches", lambda *given, **told: asked.append(told["workers"]) or real(*given, **told)
    )

    def weights():
        model = segmenter()
        fit(model, made(), augment="flip,color", validation_split=0.0)
        return model.net.weight.detach().clone()

    here = weights()
    monkeypatch.setattr(annotated_model, "_FEW", 9)
    assert torch.equal(weights(), here)
    assert asked == [0, "auto"]


@pytest.mark.parametrize("workers", [False, True])
def test_memory_that_is_at_its_end_tells_the_batch_that_fits(monkeypatch, workers):
    train = SupervisedStep.train

    def limited(self, batch):
        if batch.size > 3:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 9 GiB")
        return train(self, batch)

    monkeypatch.setattr(SupervisedStep, "train", limited)
    if workers:
        monkeypatch.setattr(annotated_model, "_FEW", 0)
    with pytest.raises(LaminaError, match=r"Batches of 8 do not fit.*batch_size=3, with update=\{'accumulate': 3\}"):
        fit(segmenter(), made(20), batch_size=8)


def test_what_pictures_as_a_whole_have_is_refused():
    weights = np.ones(10)
    with pytest.raises(LaminaError, match="pictures have no weights"):
        fit(segmenter(), made(), sample_weight=weights)
    with pytest.raises(LaminaError, match="no validation data"):
        fit(segmenter(), made(), sample_by=weights)
    fit(segmenter(), made(), sample_by=weights, validation_split=0.0)
    with pytest.raises(LaminaError, match="Call fit"):
        segmenter().fine_tune(made())


def test_data_of_another_task_or_without_annotations_is_named():
    with pytest.raises(DataError, match="arrays is a data set for detection"):
        fit(segmenter(), made(task="detection"))
    with pytest.raises(UnknownNameError, match="task of the data set mnist called 'segmentation'"):
        fit(segmenter(), "mnist")
    with pytest.raises(DataError, match="without annotations"):
        fit(segmenter(), torch.zeros(4, 3, *SIZE, dtype=torch.uint8))
    other = made()
    other.classes = ("a", "b")
    with pytest.raises(LaminaError, match="knows dark, bright"):
        fit(segmenter(classes=["dark", "bright"]), other)


def test_before_anything_was_learnt_it_says_so():
    with pytest.raises(LaminaError, match="This segmenter has no weights yet"):
        segmenter().predict(picture(0))
    with pytest.raises(LaminaError, match="given a torch module and backbone"):
        Segmenter(nn.Conv2d(3, 2, 1), backbone="resnet18")
    with pytest.raises(UnknownNameError):
        Segmenter("nothing")
    with pytest.raises(DataError, match='"pad" or "stretch"'):
        Segmenter(nn.Conv2d(3, 2, 1), preprocess=Preprocess(size=SIZE))


def test_unreadable_pictures_are_named_or_left_out(tmp_path):
    model = segmenter()
    fit(model, made())
    Image.fromarray(picture(1).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"b\.png"):
        model.predict([tmp_path / "a.png", tmp_path / "b.png"])
    with pytest.warns(UserWarning, match=r"(?s)1 of 2 pictures.*b\.png"):
        (result,) = model.predict([tmp_path / "a.png", tmp_path / "b.png"], on_error="skip")
    assert result.path == str(tmp_path / "a.png")
    (tmp_path / "c.png").write_bytes(b"none either")
    every = [tmp_path / f"{name}.png" for name in "bac"]
    with pytest.raises(DataError, match=r"(?s)2 of 3 pictures cannot be read.*b\.png.*c\.png"):
        model.predict(every)
    with pytest.raises(DataError, match=r"2 of 2 pictures cannot be read"):
        model.predict([every[0], every[2]], on_error="skip")
    with pytest.raises(DataError, match="on_error is 'rise'"):
        model.predict(every, on_error="rise")


def test_a_list_may_hold_files_and_arrays_and_an_empty_one_is_told(tmp_path):
    model = segmenter()
    fit(model, made())
    Image.fromarray(picture(1).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    of_file, of_array = model.predict([tmp_path / "a.png", picture(1)])
    assert np.array_equal(of_file.class_map, of_array.class_map)
    assert (of_file.path, of_array.path) == (str(tmp_path / "a.png"), None)
    with pytest.raises(DataError, match="The list of pictures is empty"):
        model.predict([])


def test_annotations_are_taken_as_torchvision_has_them():
    known = annotation({"boxes": [[0, 0, 2, 2]], "labels": [1], "iscrowd": [False], "image_id": 7})
    assert known.boxes_xyxy.tolist() == [[0, 0, 2, 2]]
    assert known.labels.tolist() == [1]
    assert annotation(known) is known


def test_pictures_of_many_sizes_have_none_of_their_own():
    same = AnnotatedArrays([picture(0), picture(1)], [Annotation()] * 2, ["a"], task="detection")
    assert annotated_data.one_size(same) == SIZE
    other = AnnotatedArrays([picture(0), picture(1, (9, 9))], [Annotation()] * 2, ["a"], task="detection")
    assert annotated_data.one_size(other) is None


def test_maps_to_validate_with_may_lack_the_last_class():
    known = made()
    x, y = known.pictures, torch.stack([known.annotation(index).class_map for index in range(10)])
    model = segmenter()
    history = fit(model, x, y=y, validation_data=(x[:2], torch.zeros_like(y[:2])))
    assert model.classes == ("0", "1")
    assert "val_loss" in history.history
    with pytest.raises(DataError, match="holds the value 7"):
        fit(segmenter(), x, y=y, validation_data=(x[:2], torch.full_like(y[:2], 7)))


def test_the_first_picture_need_not_be_readable(tmp_path):
    known = made()
    paths = [tmp_path / f"{index}.png" for index in range(10)]
    for path, each in zip(paths, known.pictures, strict=True):
        Image.fromarray(each.permute(1, 2, 0).numpy()).save(path)
    paths[0].write_bytes(b"no picture")
    data = AnnotatedArrays(paths, known.annotations, known.classes, task="segmentation")
    model = segmenter()
    with pytest.warns(UserWarning, match=r"(?s)1 of 9 pictures.*0\.png"):
        fit(model, data)
    with pytest.warns(UserWarning, match=r"(?s)1 of 10 pictures.*0\.png"):
        assert 0 <= model.evaluate(data)["mean_iou"] <= 1
    for path in paths:
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        model.evaluate(data)
