"""A classifier that begins with weights from elsewhere: what they bring, and when their class layer gives way."""

import re

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import lamina
from lamina import networks
from lamina.core.errors import FileFormatError, LaminaError, UnknownNameError

GREY = lamina.Preprocess(channels=1, size=(28, 28), mean=(0.2,), std=(0.3,))


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The weights of a small network for four classes, as others publish them: names and numbers, nothing else."""
    torch.manual_seed(0)
    net = networks.create("fastconvnet", num_classes=4, in_channels=1)
    path = tmp_path_factory.mktemp("weights") / "four.npz"
    np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    return path


def body(classifier):
    return {name: value for name, value in classifier.net.state_dict().items() if not name.startswith("head")}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_file_of_weights_predicts_at_once(file, capsys):
    classifier = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)
    assert classifier.classes == ("0", "1", "2", "3")
    with torch.no_grad():
        logits = classifier.net.eval()(GREY.normalize()(torch.from_numpy(noise(3))[:, None]))
    np.testing.assert_allclose(classifier.predict_probs(noise(3)), torch.softmax(logits, 1), atol=1e-6)
    assert capsys.readouterr().out == ""


def test_as_many_names_name_the_classes_and_keep_their_layer(file, capsys):
    plain = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)
    named = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY, classes=list("abcd"))
    assert named.classes == ("a", "b", "c", "d")
    assert np.array_equal(named.predict_probs(noise(3)), plain.predict_probs(noise(3)))
    assert capsys.readouterr().out == ""


def test_another_number_of_classes_gets_a_class_layer_of_its_own_which_is_said(file, capsys):
    plain = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)
    told = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY, classes=["ant", "bee"])
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "fastconvnet: The class layer for 4 classes gives way to one with fresh values, for 2: ant, bee."
    ]
    assert told.net.head.out_features == 2
    assert same(body(plain), body(told))
    assert told.predict(noise(1)[0]).label in ("ant", "bee")


def test_the_first_data_settles_the_classes_and_the_next_must_agree(file, capsys):
    classifier = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)
    before = body(classifier)
    classifier.fit(noise(12), np.arange(12) % 3, epochs=0, verbose=0, validation_split=0.0)
    assert classifier.classes == ("0", "1", "2")
    assert "for 3: 0, 1, 2" in capsys.readouterr().out
    assert same(before, body(classifier))
    with pytest.raises(LaminaError, match="knows 0, 1, 2"):
        classifier.fit(
            lamina.data.ImageDataset(torch.from_numpy(noise(4))[:, None], torch.arange(4) % 2, ("x", "y")), verbose=0
        )


def test_labels_that_number_the_known_classes_keep_their_layer(file, capsys):
    classifier = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)
    probs = classifier.predict_probs(noise(3))
    classifier.fit(noise(12), np.arange(12) % 4, epochs=0, verbose=0, validation_split=0.0)
    assert np.array_equal(classifier.predict_probs(noise(3)), probs)
    assert capsys.readouterr().out == ""


def test_a_fit_that_fails_before_training_leaves_the_weights_as_they_came(file):
    classifier = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY)
    probs = classifier.predict_probs(noise(3))
    with pytest.raises(LaminaError, match="shape"):
        classifier.fit(noise(12)[:, :20], np.arange(12) % 3, verbose=0, validation_split=0.0)
    assert classifier.classes == ("0", "1", "2", "3")
    assert np.array_equal(classifier.predict_probs(noise(3)), probs)


def test_a_saved_classifier_lends_its_classes_and_preprocessing(file, tmp_path, capsys):
    first = lamina.Classifier("fastconvnet", pretrained=file, preprocess=GREY, classes=list("abcd"))
    path = first.save(tmp_path / "first.safetensors")
    second = lamina.Classifier("fastconvnet", pretrained=path)
    assert (second.classes, second.preprocess) == (first.classes, first.preprocess)
    assert np.array_equal(second.predict_probs(noise(3)), first.predict_probs(noise(3)))
    others = lamina.Classifier("fastconvnet", pretrained=path, classes=list("wxyz"))  # as many, but others
    assert "gives way" in capsys.readouterr().out
    assert same(body(first), body(others))


def test_weights_without_a_class_layer_wait_for_the_classes(file, tmp_path, capsys):
    state = {name: value for name, value in np.load(file).items() if not name.startswith("head")}
    np.savez(tmp_path / "body.npz", **state)
    classifier = lamina.Classifier("fastconvnet", pretrained=tmp_path / "body.npz", preprocess=GREY)
    with pytest.raises(LaminaError, match=r"do not tell what their classes are.*classes="):
        classifier.predict(noise(1)[0])
    classifier.fit(noise(12), np.arange(12) % 3, epochs=0, verbose=0, validation_split=0.0)
    assert "The class layer is one with fresh values, for 3: 0, 1, 2." in capsys.readouterr().out
    assert torch.equal(body(classifier)["conv1.0.weight"], torch.from_numpy(state["conv1.0.weight"]))


def test_wrong_files_names_and_kinds_say_so(file, tmp_path):
    with pytest.raises(FileFormatError, match=r"four\.npz"):
        lamina.Classifier("deepconvnet", pretrained=file, preprocess=GREY)
    with pytest.raises(UnknownNameError, match="imagenet1k_v1"):
        lamina.Classifier("squeezenet1_1", pretrained="imagenet1k_v7")
    with pytest.raises(LaminaError, match="No published weights are known for 'fastconvnet'"):
        lamina.Classifier("fastconvnet", pretrained=True)
    with pytest.raises(LaminaError, match="with a torch module"):
        lamina.Classifier(nn.Linear(2, 2), pretrained=True)
    with pytest.raises(LaminaError, match=r"nowhere\.npz"):
        lamina.Classifier("fastconvnet", pretrained=tmp_path / "nowhere.npz")


def test_pictures_that_are_too_small_are_told_the_smallest():
    with pytest.raises(LaminaError, match=r"8 x 8 px\. The smallest that it takes"):
        lamina.Classifier("squeezenet1_1", classes=["a", "b"], preprocess=lamina.Preprocess(size=(8, 8)))


def test_published_weights_answer_of_a_photo_what_it_shows(real_data):
    classifier = lamina.Classifier("squeezenet1_1", pretrained=real_data / "weights" / "squeezenet1_1_imagenet.npz")
    assert (len(classifier.classes), classifier.preprocess.size, classifier.preprocess.crop) == (
        1000,
        (224, 224),
        0.875,
    )
    result = classifier.predict(real_data / "photos" / "cat.jpg")
    assert (result.index, result.label) == (285, "Egyptian cat")


def test_grey_rgba_16_bit_cmyk_palette_and_turned_pictures_get_the_answer_of_the_photo(real_data, tmp_path):
    classifier = lamina.Classifier("squeezenet1_1", pretrained=real_data / "weights" / "squeezenet1_1_imagenet.npz")
    with Image.open(real_data / "photos" / "parrot.jpg") as opened:
        photo = opened.convert("RGB")
    expected = classifier.predict(photo)
    photo.convert("RGBA").save(tmp_path / "rgba.png")
    photo.convert("CMYK").save(tmp_path / "cmyk.tif")
    photo.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(tmp_path / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    photo.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    for path in sorted(tmp_path.iterdir()):
        result = classifier.predict(path)
        assert (path.name, result.label) == (path.name, expected.label)
        assert result.probability == pytest.approx(expected.probability, abs=0.1), path.name
    grey = photo.convert("L")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    grey_probs = classifier.predict_probs(grey)
    assert classifier.predict(grey).top(1)[0][1] > 0.05
    np.testing.assert_allclose(classifier.predict_probs(tmp_path / "sixteen.png"), grey_probs, atol=1e-4)


def linear(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, outputs))


@pytest.mark.parametrize("outputs", [2, 5])
def test_a_class_list_of_another_length_than_the_network_s_answer_is_told_before_training(outputs):
    classifier = lamina.Classifier(linear(outputs), classes=["a", "b", "c"], preprocess=GREY)
    before = classifier.net[1].weight.clone()
    says = f"gives {outputs} numbers for a picture, and there are 3 classes: a, b, c"
    for ask in (
        lambda: classifier.predict(noise(1)[0]),
        lambda: classifier.fit(noise(20), np.arange(20) % 2, verbose=0),
        lambda: classifier.evaluate(noise(20), np.arange(20) % 2),
    ):
        with pytest.raises(LaminaError, match=says):
            ask()
    assert torch.equal(classifier.net[1].weight, before)
    with pytest.raises(LaminaError, match="gives 5 numbers for a picture, and there are 3 classes: 0, 1, 2"):
        lamina.Classifier(linear(5)).fit(noise(20), np.arange(20) % 3, verbose=0)


@pytest.mark.parametrize(
    ("classes", "says"), [("cat", "'cat'"), ([], "classes is"), (["a", "b", "a"], "twice: a"), ([1, 2], "names")]
)
def test_classes_are_names_each_of_them_once(classes, says):
    with pytest.raises(LaminaError, match=says):
        lamina.Classifier("fastconvnet", classes=classes)


def test_what_is_no_weights_is_told():
    with pytest.raises(LaminaError, match="pretrained is 3"):
        lamina.Classifier("fastconvnet", pretrained=3)


def test_weights_for_a_thousand_classes_have_imagenet_s_names_for_a_network_that_was_made_for_these(tmp_path):
    path = tmp_path / "mine.npz"
    net = networks.create("mobilenet_v1", arguments={"width": 0.25})
    np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    from lamina.models import borrowed

    assert borrowed.borrow("mobilenet_v1", path).classes[285] == "Egyptian cat"
    assert borrowed.borrow(net, path).classes[285] == "Egyptian cat"
    assert borrowed.borrow("fastconvnet", path).classes is None
    assert borrowed.borrow(nn.Linear(2, 2), path).classes is None


def test_weights_of_timm_s_are_asked_of_timm():
    pytest.importorskip("timm")
    with pytest.raises(LaminaError, match=r"timm\.create_model\('resnet10t', pretrained=True\)"):
        lamina.Classifier("timm/resnet10t", pretrained=True)


def test_a_module_gets_the_key_maps_that_a_network_by_name_gets(tmp_path):
    torch.manual_seed(0)
    net = networks.create("mobilenet_v1", num_classes=3, arguments={"width": 0.25, "padding": "same"})
    folded = {}
    for name, value in net.state_dict().items():
        if name.endswith("conv.weight"):
            folded[name.removeprefix("features.").replace(".conv.", ".")] = value
            folded[name.removeprefix("features.").replace(".conv.weight", ".bias")] = torch.randn(len(value))
    np.savez(tmp_path / "v1.npz", **folded, **{f"fc.{key}": value for key, value in net.fc.state_dict().items()})
    made = networks.create("mobilenet_v1", num_classes=3, arguments={"width": 0.25, "padding": "same"})
    lent = lamina.Classifier(made, pretrained=tmp_path / "v1.npz", preprocess=lamina.Preprocess(size=(32, 32)))
    assert torch.equal(lent.net.features.conv0.bn.bias, folded["conv0.bias"])
    with pytest.raises(FileFormatError, match=r"in another width.*networks\.create\(NAME, arguments="):
        lamina.Classifier("mobilenet_v1", pretrained=tmp_path / "v1.npz")

    dense = torchvision.models.densenet.DenseNet(4, (1, 1), 8, num_classes=3)
    old = {re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key): value for key, value in dense.state_dict().items()}
    torch.save(old, tmp_path / "dense.pth")
    filled = lamina.Classifier(
        torchvision.models.densenet.DenseNet(4, (1, 1), 8, num_classes=3), pretrained=tmp_path / "dense.pth"
    )
    assert same(dense.state_dict(), filled.net.state_dict())


def test_a_module_whose_own_names_look_like_published_ones_keeps_them(tmp_path):
    net = nn.Sequential()
    net.block1 = nn.ModuleDict({"dw": nn.Conv2d(3, 3, 1)})
    net.fc = nn.Linear(3, 2)
    torch.save(net.state_dict(), tmp_path / "own.pth")
    assert same(net.state_dict(), lamina.Classifier(net, pretrained=tmp_path / "own.pth").net.state_dict())


def test_preprocessing_that_is_that_of_other_weights_is_said_with_the_way_to_another(tmp_path, capsys):
    path = tmp_path / "mine.npz"
    net = networks.create("squeezenet1_1", num_classes=3)
    np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    for make in (lamina.Classifier, lamina.Regressor):
        make("squeezenet1_1", pretrained=path)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert (
            "mine.npz does not tell its preprocessing; that of squeezenet1_1 imagenet1k_v1 is taken: 224 x 224 px"
            in said[0]
        )
        assert "preprocess=lamina.Preprocess(" in said[0]
        make("squeezenet1_1", pretrained=path, preprocess=lamina.Preprocess(size=(64, 64)))
        assert capsys.readouterr().err == ""
    saved = lamina.Classifier("squeezenet1_1", pretrained=path).save(tmp_path / "saved.safetensors")
    capsys.readouterr()
    lamina.Classifier("squeezenet1_1", pretrained=saved)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("auxiliary", [False, True])
def test_googlenet_is_built_without_auxiliary_classifiers_where_the_file_has_none(auxiliary, tmp_path, capsys):
    theirs = torchvision.models.GoogLeNet(num_classes=3, aux_logits=auxiliary, init_weights=False)
    torch.save(theirs.state_dict(), tmp_path / "g.pth")
    classifier = lamina.Classifier("googlenet", pretrained=tmp_path / "g.pth")
    assert same(theirs.state_dict(), classifier.net.state_dict())
    assert ("g.pth has no aux1 and aux2: the network is built without" in capsys.readouterr().err) != auxiliary
