"""What `predict` is given: one picture or several, files that cannot be read among those that can."""

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.core.errors import DataError
from lamina.models import pictures


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, 1, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "channels", "single"),
    [
        ((28, 28), 1, True),
        ((1, 28, 28), 1, True),
        ((28, 28, 1), 1, True),
        ((28, 28, 3), 1, True),
        ((3, 28, 28), 1, False),
        ((5, 28, 28), 1, False),
        ((3, 28, 28), 3, True),
        ((28, 28, 3), 3, True),
        ((5, 28, 28), 3, False),
        ((2, 3, 28, 28), 3, False),
    ],
)
def test_the_classifiers_channels_decide_whether_an_array_is_one_picture(shape, channels, single):
    preprocess = lamina.Preprocess(channels=channels, size=(28, 28))
    array = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    for value in (array, torch.from_numpy(array)):
        assert pictures.is_single(value, channels) == single
        count = 1 if single else shape[0]
        assert pictures.read(value, preprocess)[0].shape == (count, channels, 28, 28)


def test_a_folder_gives_the_pictures_that_training_would_read(tmp_path):
    for name in ("b10.png", "b2.png", ".hidden.png", "__MACOSX/x.png", ".cache/x.png", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(1)[0, 0]).save(tmp_path / name)
    for name in ("report.pdf", "film.mpg"):  # endings that Pillow registers
        (tmp_path / name).write_bytes(b"no picture")
    found = [path.relative_to(tmp_path).as_posix() for path in pictures.files(tmp_path)]
    assert found == ["b2.png", "b10.png", "sub/c.jpg"]


@pytest.fixture
def untidy(tmp_path):
    """Pictures a, c, e that can be read; b is broken, and d is not there."""
    for index, name in enumerate("ace"):
        Image.fromarray(noise(1, index)[0, 0]).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    return [tmp_path / f"{name}.png" for name in "abcde"]


@pytest.fixture(scope="module")
def classifier():
    return lamina.Classifier("fastconvnet", classes=("x", "y"), preprocess=lamina.Preprocess(channels=1, size=(28, 28)))


def test_unreadable_files_among_several_are_all_named(untidy, classifier):
    with pytest.raises(DataError, match=r"(?s)2 of 5 pictures cannot be read:.*b\.png.*d\.png.*on_error=\"skip\""):
        classifier.predict(untidy)
    with pytest.raises(DataError, match=r"1 of 4 pictures cannot be read"):
        classifier.predict(untidy[0].parent)
    with pytest.raises(DataError, match=r"^\S*b\.png cannot be read"):
        classifier.predict(untidy[1])


def test_unreadable_files_are_left_out_where_asked_and_the_others_are_answered(untidy, classifier):
    with pytest.warns(UserWarning, match=r"(?s)2 of 5 pictures.*b\.png.*d\.png.*left out") as caught:
        results = classifier.predict(untidy, on_error="skip")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [result.path for result in results] == [str(untidy[index]) for index in (0, 2, 4)]
    alone = [classifier.predict(untidy[index]) for index in (0, 2, 4)]
    for one, other in zip(results, alone, strict=True):
        np.testing.assert_allclose(one.probs, other.probs, atol=1e-6)
    with pytest.raises(DataError, match="2 of 2 pictures"):
        classifier.predict([untidy[1], untidy[3]], on_error="skip")
    with pytest.raises(DataError, match="'raise' or 'skip'"):
        classifier.predict(untidy, on_error="ignore")


def test_results_of_a_data_set_of_files_name_their_files(tmp_path, classifier):
    for index, name in enumerate(("x/0.png", "x/1.png", "y/2.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(1, index)[0, 0]).save(tmp_path / name)
    train = lamina.data.open(tmp_path).train
    assert [result.path for result in classifier.predict(train)] == [str(path) for path in train.paths]


def kinds(folder):
    """One colour picture in blocks of 4 px, and its grey one, stored in every way: (colour, grey) by the file's name."""
    blocks = np.random.default_rng(3).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    colour = Image.fromarray(np.kron(blocks, np.ones((4, 4, 1), np.uint8)))
    grey, turned = colour.convert("L"), Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    in_colour = {
        "rgb.png": (colour, {}),
        "rgba.png": (colour.convert("RGBA"), {}),
        "palette.png": (colour.convert("P", palette=Image.Palette.ADAPTIVE), {}),
        "cmyk.tif": (colour.convert("CMYK"), {}),
        "exif.png": (colour.rotate(90, expand=True), {"exif": turned}),
    }
    in_grey = {
        "grey.png": (grey, {}),
        "grey-alpha.png": (grey.convert("LA"), {}),
        "16-bit.png": (Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), {}),
    }
    for name, (picture, told) in (in_colour | in_grey).items():
        picture.save(folder / name, **told)
    return colour, grey, list(in_colour), list(in_grey)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture_reaches_a_grey_and_a_colour_network_as_the_plain_one(tmp_path, channels):
    preprocess = lamina.Preprocess(channels=channels, size=(28, 28))
    colour, grey, in_colour, in_grey = kinds(tmp_path)
    for plain, names in ((colour, in_colour), (grey, in_grey)):
        wanted = preprocess.host(np.asarray(plain))[None].int()
        for name in names:
            with Image.open(tmp_path / name) as opened:
                for given in (tmp_path / name, opened, [tmp_path / name]):
                    assert (pictures.read(given, preprocess)[0].int() - wanted).abs().max() <= 2, name


def test_arrays_of_several_pictures_are_converted_as_a_single_one_is(classifier):
    wide = Image.fromarray(np.random.default_rng(4).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    rgba, deep = np.asarray(wide.convert("RGBA")), np.asarray(wide.convert("L")).astype(np.uint16) * 257
    for one in (rgba, deep):
        alone = classifier.predict_probs(one)
        for several in (np.stack([one, one]), [one, one]):
            np.testing.assert_allclose(classifier.predict_probs(several), np.concatenate([alone, alone]), atol=1e-6)
    mixed = classifier.predict([rgba, noise(1)[0, 0], deep])  # of three sizes
    assert len(mixed) == 3
    np.testing.assert_allclose(mixed[0].probs, classifier.predict(rgba).probs, atol=1e-6)


def test_nothing_and_batches_of_nothing_are_told(classifier):
    with pytest.raises(DataError, match="list of pictures is empty"):
        classifier.predict([])
    with pytest.raises(DataError, match="batch_size is 0"):
        classifier.predict(noise(2), batch_size=0)


def test_files_and_arrays_in_one_list_are_answered_as_each_alone(tmp_path, classifier):
    array = noise(1)[0]
    Image.fromarray(array[0]).save(tmp_path / "a.png")
    of_file, of_array = classifier.predict([tmp_path / "a.png", array])
    assert np.array_equal(of_file.probs, of_array.probs)
    assert (of_file.path, of_array.path) == (str(tmp_path / "a.png"), None)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 2 pictures cannot be read"):
        classifier.predict([tmp_path / "b.png", array])


def test_arrays_that_run_backwards_are_taken():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    preprocess = lamina.Preprocess(size=(8, 8))
    assert torch.equal(pictures.read(images[::-1], preprocess)[0], torch.from_numpy(images[::-1].copy()))
    assert torch.equal(pictures.read(images, preprocess)[0], torch.from_numpy(images))
