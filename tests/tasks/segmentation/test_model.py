"""Segmenter: learns, measures in the pictures' own pixels, is kept in a file, leaves the library, and says what is wrong."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.augment import Mixup, ProgressiveResize
from lamina.losses import Dice, LossSum, PixelCrossentropy
from lamina.structures.annotation import Annotation

SIZE = (32, 40)
SMALL = {"backbone": "mobilenet_v2", "arguments": {"width": 4}}


def pictures(count=8, size=SIZE, *, classes=3, seed=0):
    """Pictures whose colour tells the class: stripes of random widths, with noise."""
    draw = np.random.default_rng(seed)
    maps = np.zeros((count, *size), np.uint8)
    for each in maps:
        edges = sorted(draw.integers(1, size[1], classes - 1))
        each[:] = np.searchsorted(edges, np.arange(size[1]), side="right")
    colours = np.array([[220, 40, 40], [40, 200, 40], [30, 60, 220], [200, 200, 40]], np.uint8)
    images = colours[maps].astype(int) + draw.integers(-20, 20, (*maps.shape, 3))
    return np.ascontiguousarray(images.clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2)), maps


def tiny(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 1))


def trained(epochs=1, **told):
    x, y = pictures()
    model = lamina.Segmenter(tiny(), **told)
    model.compile(lamina.optimizers.AdamW(0.02), metrics=["mean_iou", "pixel_accuracy", "mean_accuracy"])
    model.fit(x, y, batch_size=4, epochs=epochs, validation_split=0.0, verbose=0)
    return model, x, y


@pytest.mark.parametrize(
    "loss", ["pixel_crossentropy", "dice", "lovasz", "pixel_crossentropy+dice", "pixel_crossentropy+lovasz"]
)
def test_overfits_one_batch_with_each_loss(loss):
    x, y = pictures(4)
    y[:, 0] = 255
    model = lamina.Segmenter(tiny())
    model.compile(lamina.optimizers.AdamW(0.05), loss)
    told = model.fit(x, y, batch_size=4, epochs=40, validation_split=0.0, verbose=0)
    assert told.history["mean_iou"][-1] > 0.95
    assert model.evaluate(x, y)["mean_iou"] > 0.9


def test_a_network_by_name_overfits_one_batch_and_comes_back_from_its_file(tmp_path):
    x, y = pictures(4)
    torch.manual_seed(0)
    model = lamina.Segmenter("unet", backbone="cifar_resnet20", arguments={"width": 4})
    model.compile(lamina.optimizers.AdamW(0.02))
    model.fit(x, y, batch_size=4, epochs=30, validation_split=0.0, verbose=0)
    assert model.evaluate(x, y)["mean_iou"] > 0.85
    again = lamina.load(model.save(tmp_path / "road.safetensors"))
    assert again.classes == model.classes == ("0", "1", "2")
    for one, other in zip(again.predict(x), model.predict(x), strict=True):
        assert np.array_equal(one.class_map, other.class_map)


def test_the_default_network_is_a_unet_on_mobilenet_v2():
    model = lamina.Segmenter()
    assert (model.name, model._backbone) == ("unet", "mobilenet_v2")
    with pytest.raises(UnknownNameError, match="'unet'"):
        lamina.Segmenter("unett")


# Measuring ------------------------------------------------------------------------------------------------------------


def by_definition(maps, predicted, classes):
    shares = []
    truth, found = (np.concatenate([np.asarray(each).ravel() for each in side]) for side in (maps, predicted))
    found = found[truth != 255]
    truth = truth[truth != 255]
    for number in range(classes):
        if (truth == number).any():
            both = ((truth == number) & (found == number)).sum()
            shares.append(both / ((truth == number) | (found == number)).sum())
    return np.mean(shares), (truth == found).mean()


@pytest.mark.parametrize("resize", ["pad", "stretch"])
def test_pictures_of_several_sizes_are_measured_in_their_own_pixels(resize):
    x, y = [], []
    for number, size in enumerate([(20, 50), (61, 33), SIZE, (90, 120), (1, 1)]):
        images, maps = pictures(1, size, classes=3 if min(size) > 2 else 1, seed=number)
        maps[..., -1:, :1] = 255 if min(size) > 2 else 0
        x.append(np.ascontiguousarray(images[0].transpose(1, 2, 0)))
        y.append(maps[0])
    model = lamina.Segmenter(tiny(), classes=["a", "b", "c"], preprocess=lamina.Preprocess(size=SIZE, resize=resize))
    model.fit(x, y, epochs=3, validation_split=0.0, verbose=0)
    figures = model.evaluate(x, y)
    predicted = [each.class_map for each in model.predict(x)]
    assert [each.shape for each in predicted] == [each.shape for each in y]
    iou, accuracy = by_definition(y, predicted, 3)
    assert figures["mean_iou"] == pytest.approx(iou, abs=1e-9)
    assert figures["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert model.scores(x, y).mean_iou == pytest.approx(iou, abs=1e-9)


def test_pictures_of_one_size_are_measured_as_in_validation():
    model, x, y = trained(2)
    history = model.fit(x, y, epochs=1, validation_data=(x, y), verbose=0)
    figures = model.evaluate(x, y, batch_size=3)
    for name in ("loss", "mean_iou", "pixel_accuracy", "mean_accuracy"):
        assert figures[name] == pytest.approx(history.history[f"val_{name}"][-1], abs=1e-6)


def test_a_class_that_the_data_lacks_is_left_out_and_said(capsys):
    model, x, y = trained(3)
    only = np.where(y == 2, 255, y)
    scores = model.scores(x, only)
    assert scores.absent == ("2",)
    assert "left out, as no pixel is of it: 2" in str(scores)
    figures = model.evaluate(x, only)
    assert "No pixel is of 2" in capsys.readouterr().err
    assert figures["mean_iou"] == pytest.approx(np.nanmean(scores.iou[:2]))


def test_a_class_that_validation_lacks_is_said_by_fit(capsys):
    model, x, y = trained()
    model.fit(x, y, epochs=1, validation_data=(x, np.where(y == 2, 255, y)), verbose=0)
    assert "No validation pixel is of 2: left out of the means over classes." in capsys.readouterr().err
    model.fit(x, y, epochs=1, validation_data=(x, y), verbose=0)
    assert "No validation pixel" not in capsys.readouterr().err


def test_boundaries_are_measured_where_asked():
    model, x, y = trained(8)
    model.compile(metrics=["boundary_f1"])
    assert 0 < model.evaluate(x, y)["boundary_f1"] <= 1


def test_nothing_but_ignored_pixels_cannot_be_scored():
    model, x, y = trained()
    with pytest.raises(DataError, match="No pixel of the 8 maps has a class"):
        model.scores(x, np.full_like(y, 255))


def test_an_unreadable_picture_is_left_out_of_the_figures_and_named(tmp_path):
    model, x, y = trained()
    paths = []
    for number, image in enumerate(x):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image.transpose(1, 2, 0)).save(paths[-1])
    paths[3].write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=r"1 of 8 pictures, or their maps, cannot be used.*\n.*3\.png"):
        figures = model.evaluate(paths, y)
    rest = [number for number in range(8) if number != 3]
    assert figures == pytest.approx(model.evaluate(x[rest], y[rest]))


# What is refused ------------------------------------------------------------------------------------------------------


def test_maps_of_another_size_are_refused():
    x, y = pictures()
    with pytest.raises(DataError, match="has 40 x 31 pixels, and its picture 40 x 32"):
        lamina.Segmenter(tiny()).fit(x, y[:, :31], validation_split=0.0, verbose=0)


def test_masks_of_colours_are_refused_with_the_remedy(tmp_path):
    x, y = pictures()
    with pytest.raises(DataError, match="Look colours up first"):
        lamina.Segmenter(tiny()).fit(x, np.repeat(y[..., None], 3, -1), verbose=0)
    coloured = [Image.fromarray(x[0].transpose(1, 2, 0))] * len(x)
    with pytest.raises(DataError, match=r"y\[0\] holds colours.*classes\.txt"):
        lamina.Segmenter(tiny()).fit(x, coloured, verbose=0)
    coloured[0].save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png holds colours"):
        lamina.Segmenter(tiny()).fit(x, [tmp_path / "mask.png"] * len(x), verbose=0)


def test_palette_masks_are_read_as_their_indices(tmp_path):
    x, y = pictures()
    masks = []
    for number, each in enumerate(y):
        mask = Image.fromarray(each, mode=None).convert("P")
        mask.putdata(each.ravel().tolist())
        mask.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
        mask.save(tmp_path / f"{number}.png")
        masks.append(mask)
    files = [tmp_path / f"{number}.png" for number in range(len(y))]
    model, _, _ = trained(2)
    expected = model.evaluate(x, y)
    assert model.evaluate(x, masks) == expected
    assert model.evaluate(x, files) == expected


def test_values_beyond_the_classes_are_named():
    x, y = pictures()
    y[5, 3, 3] = 7
    with pytest.raises(DataError, match=r"y\[5\] holds the value 7\. Classes are 0 to 2"):
        lamina.Segmenter(tiny(), classes=["a", "b", "c"]).fit(x, y, verbose=0)
    with pytest.raises(DataError, match="values from -1"):
        lamina.Segmenter(tiny()).fit(x, y.astype(int) - 1, verbose=0)


def test_maps_that_are_all_ignored_are_refused():
    x, y = pictures()
    with pytest.raises(DataError, match="No pixel of the 8 maps has a class: all hold 255"):
        lamina.Segmenter(tiny()).fit(x, np.full_like(y, 255), verbose=0)
    unknown = [Annotation(class_map=torch.full((32, 40), 255, dtype=torch.uint8))] * len(x)
    kept = AnnotatedArrays(list(torch.from_numpy(x)), unknown, ("a", "b", "c"), task="segmentation")
    with pytest.raises(DataError, match="No pixel of the 8 training maps has a class: all hold 255"):
        lamina.Segmenter(tiny()).fit(kept, validation_split=0.0, verbose=0)


def test_a_picture_that_is_all_ignored_among_others_does_no_harm():
    x, y = pictures()
    y[:4] = 255
    model = lamina.Segmenter(tiny())
    told = model.fit(x, y, batch_size=1, epochs=1, validation_split=0.0, verbose=0)
    assert np.isfinite(told.history["loss"][-1])
    assert all(torch.isfinite(parameter).all() for parameter in model.net.parameters())


def test_data_of_one_class_is_refused():
    x, y = pictures()
    with pytest.raises(DataError, match="The data has one class, 0"):
        lamina.Segmenter(tiny()).fit(x, np.zeros_like(y), verbose=0)


def test_pictures_of_one_pixel_are_trained_on_and_answered():
    x, y = np.zeros((4, 3, 1, 1), np.uint8), np.array([0, 1, 0, 1], np.uint8).reshape(4, 1, 1)
    x[1::2] = 255
    model = lamina.Segmenter("unet", **SMALL)
    model.fit(x, y, batch_size=4, validation_split=0.0, verbose=0)
    assert [each.size for each in model.predict(x)] == [(1, 1)] * 4
    assert model.evaluate(x, y)["pixel_accuracy"] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_what_changes_batches_or_their_size_is_refused():
    x, y = pictures()
    with pytest.raises(LaminaError, match=r"augment holds Mixup.*single pictures"):
        lamina.Segmenter(tiny()).fit(x, y, augment=Mixup(), validation_split=0.0, verbose=0)
    with pytest.raises(LaminaError, match="augment holds RandomFlip"):
        lamina.Segmenter(tiny()).fit(x, y, augment=[lamina.data.augment.RandomFlip()], validation_split=0.0, verbose=0)
    with pytest.raises(LaminaError, match=r"resize came with targets.*Leave it out"):
        lamina.Segmenter(tiny()).fit(x, y, resize=ProgressiveResize(), validation_split=0.0, verbose=0)


def test_a_failed_fit_leaves_nothing_behind():
    x, y = pictures()
    model = lamina.Segmenter("unet", **SMALL)
    with pytest.raises(LaminaError):
        model.fit(x, y, augment=Mixup(), validation_split=0.0, verbose=0)
    assert model.classes is None
    assert model.preprocess is None


def test_a_failed_fit_leaves_no_weights_of_its_classes_behind():
    x, y = pictures(classes=4)
    model = lamina.Segmenter("unet", **SMALL)
    with pytest.raises(UnknownNameError, match="nonsense"):
        model.fit(x, y, balance="median_frequency", augment="nonsense", validation_split=0.0, verbose=0)
    x, y = pictures(classes=3)
    model.fit(x, y, validation_split=0.0, verbose=0)
    assert model._compiled["loss"] == "pixel_crossentropy"


# Balance --------------------------------------------------------------------------------------------------------------


def test_median_frequency_comes_from_the_training_maps():
    x, y = pictures()
    model = lamina.Segmenter(tiny())
    model.fit(x, y, balance="median_frequency", validation_split=0.0, verbose=0)
    shares = []
    for number in range(3):
        present = [each for each in y if (each == number).any()]
        shares.append(sum((each == number).sum() for each in present) / sum(each.size for each in present))
    expected = np.median(shares) / np.array(shares)
    (loss,) = [target.loss for target in model._step.targets]
    np.testing.assert_allclose(loss.class_weights, expected, rtol=1e-5)


def test_the_square_root_of_median_frequency_weighs_less():
    x, y = pictures()
    weights = []
    for balance in ("median_frequency", "sqrt_median_frequency"):
        model = lamina.Segmenter(tiny())
        model.fit(x, y, balance=balance, validation_split=0.0, verbose=0)
        weights.append(model._step.targets[0].loss.class_weights)
    np.testing.assert_allclose(np.square(weights[1]), weights[0], rtol=1e-5)


def test_weights_of_before_are_replaced_by_those_of_the_data_at_hand():
    x, y = pictures()
    told = {"validation_split": 0.0, "verbose": 0}
    model, weights = lamina.Segmenter(tiny()), []
    model.compile(loss=PixelCrossentropy(class_weights=(1.0, 2.0, 3.0)))
    other = torch.as_tensor(y).clone()
    other[:, :8] = 2
    for maps, balance in ((y, "median_frequency"), (other, "median_frequency"), (y, "sqrt_median_frequency")):
        model.fit(x, maps, balance=balance, **told)
        weights.append(model._compiled["loss"].class_weights)
    assert len({(1.0, 2.0, 3.0), *weights}) == 4
    np.testing.assert_allclose(np.square(weights[2]), weights[0], rtol=1e-5)


def test_the_weighed_loss_stays_in_the_file(tmp_path):
    x, y = pictures()
    model = lamina.Segmenter("unet", **SMALL)
    model.compile(loss="pixel_crossentropy+dice")
    model.fit(x, y, balance="median_frequency", validation_split=0.0, verbose=0)
    again = lamina.load(model.save(tmp_path / "road.safetensors"))
    loss = again._compiled["loss"]
    assert isinstance(loss, LossSum)
    first, second = loss.losses
    assert isinstance(first, PixelCrossentropy)
    assert len(first.class_weights) == 3
    assert second == Dice()


def test_balances_that_mean_nothing_for_pixels_are_refused():
    x, y = pictures()
    with pytest.raises(UnknownNameError, match="median_frequency"):
        lamina.Segmenter(tiny()).fit(x, y, balance="weights", verbose=0)
    with pytest.raises(LaminaError, match="A picture holds pixels of many classes"):
        lamina.Segmenter(tiny()).fit(x, y, class_weight={0: 2.0}, verbose=0)
    model = lamina.Segmenter(tiny())
    model.compile(loss="dice")
    with pytest.raises(LaminaError, match="balance came with the loss 'dice'"):
        model.fit(x, y, balance="median_frequency", validation_split=0.0, verbose=0)


# Trying and leaving ---------------------------------------------------------------------------------------------------


def test_the_learning_rate_can_be_looked_for():
    x, y = pictures()
    model = lamina.Segmenter(tiny())
    found = model.find_lr(x, y, batch_size=4, steps=10)
    assert len(found.losses) >= 5
    assert model.classes is None  # as it was


ON_MOBILENET = [
    pytest.param(name, "mobilenet_v2", marks=pytest.mark.slow) for name in ("unet", "segnet", "deeplabv3", "fcn8s")
]


@pytest.mark.parametrize(("name", "backbone"), [("unet", "cifar_resnet20"), *ON_MOBILENET])
def test_an_onnx_file_gives_the_same_classes(name, backbone, tmp_path):
    pytest.importorskip("onnxruntime")
    x, y = pictures(4, (70, 90))
    arguments = {"unet": {"width": 4}, "deeplabv3": {"width": 16}}.get(name, {})
    torch.manual_seed(0)
    model = lamina.Segmenter(name, backbone=backbone, arguments=arguments)
    model.compile(lamina.optimizers.AdamW(0.01))
    model.fit(x, y, batch_size=4, epochs=2, validation_split=0.0, verbose=0)
    made = model.export(tmp_path / "road.onnx", data=x)
    assert made.agreement >= 0.999
    assert made.sizes == "any size"
