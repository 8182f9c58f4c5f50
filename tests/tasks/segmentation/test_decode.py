"""From a network's outputs to maps that know their picture."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.tasks.segmentation import decode

SIZE = (24, 32)
PREPROCESS = lamina.Preprocess(size=SIZE, resize="pad")


class HiddenSoftmax(nn.Module):
    """Ends in probabilities, which its layers do not tell."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return self.conv(images).softmax(1)


def fitted(net):
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (4, *SIZE, 3), dtype=np.uint8), draw.integers(0, 3, (4, *SIZE)).astype(np.uint8)
    model = lamina.Segmenter(net, preprocess=PREPROCESS)
    model.compile(metrics=["mean_iou"], device="cpu")
    model.fit(x, y, validation_split=0.0, verbose=0)
    return model, x, y


@pytest.fixture(scope="module")
def segmenter():
    return fitted(nn.Conv2d(3, 3, 1))


def test_maps_draw_themselves_whatever_the_pictures_were(segmenter, tmp_path):
    model, x, _ = segmenter
    several = model.predict([x[0], x[1]])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        Image.fromarray(x[0]).save(tmp_path / "0.png")
        archive.write(tmp_path / "0.png", "0.png")
    inside = model.results(np.full((1, 3, *SIZE), 1 / 3, np.float32), [tmp_path / "all.zip" / "0.png"], sizes=[SIZE])
    for one in (x[0], x[0].transpose(2, 0, 1), torch.from_numpy(x[0]), x[0] / 255, x[0].astype(np.uint16) * 257):
        assert np.array_equal(np.asarray(model.predict(one).overlay(alpha=0)), x[0])
        assert "<img" in model.predict(one)._repr_html_()
    for found in (several[0], inside[0]):
        assert np.array_equal(np.asarray(found.overlay(alpha=0)), x[0])
        assert found.draw().width > SIZE[1]
    assert inside[0].to_dict()["path"] == str(tmp_path / "all.zip" / "0.png")


@pytest.mark.parametrize(
    "net", [nn.Sequential(nn.Conv2d(3, 3, 1), nn.Softmax(dim=1)), HiddenSoftmax()], ids=["layer", "hidden"]
)
def test_probabilities_of_a_network_that_gives_them_are_not_made_again(net):
    torch.manual_seed(0)
    model, x, y = fitted(net)
    answered = net.eval()(model._prepare()(torch.from_numpy(x).permute(0, 3, 1, 2))).detach()
    found = model.predict(x)
    np.testing.assert_allclose(found[0].confidence, answered[0].max(0).values, atol=1e-6)
    shown = torch.from_numpy(x).permute(0, 3, 1, 2)
    np.testing.assert_allclose(model.deployable().module()(shown), answered, atol=1e-6)
    large = [np.repeat(np.repeat(each, 2, 0), 2, 1) for each in x]
    truth = [np.repeat(np.repeat(each, 2, 0), 2, 1) for each in y]
    right = np.mean([each.class_map == wanted for each, wanted in zip(model.predict(large), truth, strict=True)])
    model.compile(metrics=["pixel_accuracy"], device="cpu")
    assert model.evaluate(large, truth)["pixel_accuracy"] == pytest.approx(right)


def test_logits_become_probabilities(segmenter):
    model, _, _ = segmenter
    assert isinstance(model._finish(), nn.Softmax)
    assert model._finish() is model._finish()  # blank pictures are looked at once
    model._net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Softmax(dim=1))
    assert isinstance(model._finish(), nn.Identity)


@pytest.mark.parametrize("resize", ["pad", "stretch"])
def test_rows_of_a_large_picture_are_those_of_the_whole(resize, monkeypatch):
    preprocess = lamina.Preprocess(size=SIZE, resize=resize)
    probs = torch.rand(5, *SIZE, generator=torch.Generator().manual_seed(0))
    confidence, labels = decode.decided(probs, preprocess, (101, 67))
    monkeypatch.setattr(decode, "_AT_ONCE", 4 * 5 * 67 * 10)
    bands = list(decode.by_rows(probs, preprocess, (101, 67)))
    assert [rows.stop - rows.start for rows, _, _ in bands] == [10] * 10 + [1]
    torch.testing.assert_close(torch.cat([some for _, some, _ in bands]), confidence)
    assert (torch.cat([found for _, _, found in bands]) != labels).float().mean() < 0.001  # near a tie


@pytest.mark.parametrize("classes", [1, 2, 11, 255])
def test_the_class_of_a_pixel_is_the_first_of_the_largest(classes):
    shares = torch.randint(0, 8, (classes, 9, 7)).float() / 8  # many are equal
    preprocess = lamina.Preprocess(size=(9, 7), resize="pad")
    confidence, labels = decode.decided(shares, preprocess, (9, 7))
    assert torch.equal(confidence, shares.amax(0))
    assert labels.tolist() == shares.numpy().argmax(0).tolist()
