"""Regressor: pictures in, numbers out, in the unit that the user gave."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.core.errors import DataError, LaminaError
from lamina.structures import Regression


def bars(count, seed=0, side=16):
    """Grey pictures with a bright bar from below, and its height in millimetres: 100 for a pixel, far from mean 0 and std 1."""
    rng = np.random.default_rng(seed)
    heights = rng.integers(1, side, count)
    images = rng.integers(0, 40, (count, side, side), dtype=np.uint8)
    for image, height in zip(images, heights, strict=True):
        image[side - height :] += 180
    return images, 1000.0 + 100.0 * heights


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 1))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    regressor = lamina.Regressor(small(), names=("height",))
    regressor.compile(lamina.optimizers.AdamW(learning_rate=0.003))
    regressor.fit(*bars(300), epochs=15, batch_size=32, verbose=0)
    return regressor


def test_learns_a_number_and_answers_in_its_unit(trained):
    x, y = bars(50, seed=1)
    figures = trained.evaluate(x, y)
    assert set(figures) == {"loss", "mae", "rmse", "r2"}
    answers = trained.predict_values(x)
    assert answers.shape == (50, 1)
    error = answers[:, 0] - y
    assert figures["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    assert figures["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert figures["r2"] == pytest.approx(1 - (error**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-3)
    assert figures["r2"] > 0.95


def test_validation_is_held_out_by_content_and_logged(trained):
    assert {"val_mae", "val_rmse", "val_r2"} < set(trained.history.history)
    assert trained.split == {"held_out": 0.1, "of": 300, "by": "content hash"}


def test_a_result_prints_draws_and_becomes_json(trained, tmp_path):
    x, y = bars(1, seed=2)
    Image.fromarray(x[0]).save(tmp_path / "a.png")
    result = trained.predict(tmp_path / "a.png")
    assert isinstance(result, Regression)
    assert float(result) == result.value == result["height"] == pytest.approx(y[0], abs=150)
    assert str(result).startswith(f"{tmp_path / 'a.png'}: height ")
    assert json.loads(json.dumps(result.to_dict()))["values"]["height"] == pytest.approx(result.value)
    assert result.draw().mode == "RGB"
    assert "height" in result._repr_html_()
    with pytest.raises(LaminaError, match="'height'"):
        result["heihgt"]


def test_goes_through_a_file_with_the_same_answers(trained, tmp_path):
    x, y = bars(20, seed=3)
    kind = f"{nn.Sequential.__module__}.{nn.Sequential.__qualname__}"
    loaded = lamina.load(trained.save(tmp_path / "height.safetensors"), modules={kind: small()})
    assert isinstance(loaded, lamina.Regressor)
    assert (loaded.names, loaded.unit, loaded.preprocess) == (trained.names, trained.unit, trained.preprocess)
    assert np.array_equal(loaded.predict_values(x), trained.predict_values(x))
    assert loaded.evaluate(x, y) == pytest.approx(trained.evaluate(x, y))


def test_several_numbers_of_different_size_are_learnt_alike():
    x, y = bars(300)
    both = np.stack([y, (y - 1000) / 1e5], axis=1)
    torch.manual_seed(0)
    regressor = lamina.Regressor(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)))
    regressor.compile(lamina.optimizers.AdamW(learning_rate=0.003), "l2")
    regressor.fit(x, both, epochs=10, verbose=0, validation_split=0.0)
    assert regressor.names == ("value 0", "value 1")
    error = regressor.predict_values(x) - both
    shares = 1 - (error**2).sum(0) / ((both - both.mean(0)) ** 2).sum(0)
    assert shares.min() > 0.9
    assert regressor.evaluate(x, both)["r2"] == pytest.approx(shares.mean(), abs=1e-3)


@pytest.mark.parametrize("loss", ["l1", "l2", "huber"])
def test_losses_go_by_name_and_are_of_standardised_targets(loss):
    x, y = bars(40)
    net = small()
    nn.init.zeros_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    regressor = lamina.Regressor(net)
    regressor.compile(loss=loss)
    regressor.fit(x, y, epochs=0, verbose=0, validation_split=0.0)
    z = torch.from_numpy((y - y.mean()) / y.std())
    expected = {"l1": nn.L1Loss(), "l2": nn.MSELoss(), "huber": nn.HuberLoss()}[loss](torch.zeros_like(z), z)
    figures = regressor.evaluate(x, y)
    assert figures["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert figures["rmse"] == pytest.approx(y.std(), rel=1e-4)
    assert figures["r2"] == pytest.approx(0, abs=1e-4)


def test_a_folder_and_a_dict_of_names_are_data(tmp_path):
    x, y = bars(30, side=28)
    for index, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    heights = {f"{index}.png": float(value) for index, value in enumerate(y)}
    regressor = lamina.Regressor("fastconvnet")
    regressor.fit(tmp_path, heights, epochs=1, verbose=0)
    assert regressor.preprocess.channels == 1
    assert len(regressor.predict(tmp_path)) == 30
    by_hand = regressor.evaluate([tmp_path / name for name in heights], list(heights.values()))
    assert regressor.evaluate(tmp_path, heights) == pytest.approx(by_hand)
    with pytest.raises(DataError, match=r"no file in .*31\.png"):
        regressor.evaluate(tmp_path, {"31.png": 1.0})


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (None, "without numbers"),
        (["a"] * 10, "holds no numbers"),
        (np.full(10, np.nan), "NaN or infinity in 10 of 10"),
        (np.zeros((10, 2, 2)), r"\(10, 2, 2\)"),
        (np.zeros(9), "10 pictures and y has 9"),
    ],
)
def test_bad_numbers_are_told_before_anything_is_made(y, says):
    regressor = lamina.Regressor("fastconvnet")
    with pytest.raises(LaminaError, match=says):
        regressor.fit(bars(10)[0], y, verbose=0)
    assert (regressor.names, regressor.preprocess, regressor.unit) == (None, None, None)


def test_another_count_of_numbers_a_loss_of_classes_and_no_training_are_told(trained, tmp_path):
    x, _ = bars(10)
    with pytest.raises(LaminaError, match=r"2 numbers.*gives 1: height"):
        trained.evaluate(x, np.zeros((10, 2)))
    for names in ("height", ["a", "a"], []):
        with pytest.raises(LaminaError, match="each of them once"):
            lamina.Regressor(names=names)
    with pytest.raises(LaminaError, match=r'"l1", "l2" or "huber"'):
        lamina.Regressor().compile(loss="binary_crossentropy")
    for ask in (
        lambda r: r.predict(x),
        lambda r: r.save(tmp_path / "x.safetensors"),
        lambda r: r.evaluate(x, np.zeros(10)),
    ):
        with pytest.raises(LaminaError, match="no weights yet"):
            ask(lamina.Regressor())


def test_unreadable_files_are_left_out_of_training_with_their_numbers_and_weights(tmp_path):
    x, y = bars(30)
    for index, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    (tmp_path / "07.png").write_bytes(b"no picture")
    torch.manual_seed(0)
    regressor = lamina.Regressor(small())
    with pytest.warns(UserWarning, match=r"1 of 30 pictures cannot be read; they are left out(.|\n)*07\.png"):
        train, _ = regressor._sets(tmp_path, {f"{i:02}.png": v for i, v in enumerate(y)}, np.arange(30.0), None, 0.0)
    assert train.targets[0][:, 0].tolist() == [value for index, value in enumerate(y) if index != 7]
    assert train.weights.tolist() == [index for index in range(30) if index != 7]
    for index in range(30):
        (tmp_path / f"{index:02}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="30 pictures"):
        regressor.fit(tmp_path, {f"{index:02}.png": 1.0 for index in range(30)})


def test_a_regressor_without_numbers_says_so_whatever_the_pictures_come_as():
    with pytest.raises(LaminaError, match="came without numbers"):
        lamina.Regressor("lenet5").fit([[1], [2, 3]])


@pytest.mark.parametrize("made", ["squeezenet1_1", "module", "pretrained"])
def test_a_network_whose_paper_ends_in_a_relu_may_answer_below_the_mean(made, tmp_path):
    torch.manual_seed(0)
    lent = tmp_path / "w.pth"
    net = lamina.networks.create("squeezenet1_1", num_classes=1)
    torch.save(net.state_dict(), lent)
    regressor = (
        lamina.Regressor(net)
        if made == "module"
        else lamina.Regressor("squeezenet1_1", pretrained=lent if made == "pretrained" else None)
    )
    x, y = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), np.arange(8.0)
    regressor.preprocess = lamina.Preprocess(channels=3, size=(32, 32), mean=(0.3,) * 3, std=(0.3,) * 3)
    regressor.fit(x, y, epochs=1, verbose=0, validation_split=0.0)
    nn.init.constant_(regressor.net.classifier[1].bias, -1.0)
    answers = regressor.predict_values(x)
    assert answers.max() < y.mean()
    loaded = lamina.load(regressor.save(tmp_path / "r.safetensors"))
    assert np.array_equal(loaded.predict_values(x), answers)
