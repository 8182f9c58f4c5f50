"""Filters, feature maps, exciting pictures and embeddings, on networks whose weights are set by hand."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import lamina
from lamina import Classifier, Preprocess, explain, models
from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.data import FolderDataset, ImageDataset
from lamina.explain.drawn import across_of, stretched
from lamina.explain.tsne import tsne


class Tiny(nn.Module):
    """Channel 0 of `conv` is the brightness of a pixel and its neighbours, channel 1 mostly of the pixel alone."""

    def __init__(self, channels=1, *, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 3, padding=1, stride=stride)
        self.later = nn.Conv2d(2, 2, 1, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.bias.zero_()
            self.conv.weight.zero_()
            self.conv.weight[0] = 1.0
            self.conv.weight[1] = 1e-3
            self.conv.weight[1, :, 1, 1] = 1.0
            self.later.weight.copy_(torch.eye(2)[..., None, None])
            self.later.bias.zero_()

    def forward(self, images):
        return self.fc(self.pool(self.later(self.conv(images))).flatten(1))


def classifier(net=None, channels=1, size=(8, 8)):
    return Classifier(net or Tiny(channels), classes=["a", "b"], preprocess=Preprocess(channels=channels, size=size))


def spots(places, size=8):
    images = torch.zeros(len(places), 1, size, size, dtype=torch.uint8)
    for image, (row, column, value) in zip(images, places, strict=True):
        image[0, row, column] = value
    return images


# Filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "tiles"), [(1, 2), (3, 2), (2, 4)])
def test_filters_are_those_of_the_first_convolution(channels, tiles):
    from lamina.explain.first_layer import _tiles

    net = Tiny(channels)
    found = explain.filters(net)
    assert (found.layer, found.before, found.change) == ("conv", None, None)
    assert (found.after == net.conv.weight.detach().numpy()).all()
    assert len(_tiles(found.after)) == tiles
    assert len(found.figure().axes) == 1


@pytest.mark.parametrize("way", ["model", "module", "state", "file"])
def test_filters_before_training_stand_beside_them(way, tmp_path):
    earlier, later = Tiny(), Tiny()
    with torch.no_grad():
        later.conv.weight[0] += 1
    before = {
        "model": lambda: classifier(earlier),
        "module": lambda: earlier,
        "state": earlier.state_dict,
        "file": lambda: _saved(tmp_path),
    }[way]()
    found = explain.filters(later if way != "file" else lamina.load(before), before=before)
    assert found.before is not None
    assert found.change == pytest.approx([0] * 6 if way == "file" else [1, 0])
    assert [axes.get_title() for axes in found.figure().axes] == ["before training", "after training"]


def _saved(folder):
    net = lamina.networks.create("lenet5", num_classes=2)
    model = Classifier(net, classes=["a", "b"], preprocess=Preprocess(channels=1, size=(32, 32)))
    return model.save(folder / "model.safetensors")


def test_a_seed_makes_the_initial_filters_again_and_moves_no_generator():
    torch.manual_seed(7)
    net = lamina.networks.create("lenet5")
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d)).weight
    drawn = first.detach().clone()
    with torch.no_grad():
        first.add_(1)
    state = torch.get_rng_state()
    assert (explain.filters(net, before=7).before == drawn.numpy()).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_filters_of_other_networks_are_refused():
    with pytest.raises(LaminaError, match=r"no convolution"):
        explain.filters(nn.Linear(2, 2))
    with pytest.raises(ShapeError, match=r"\(2, 3, 3, 3\).*conv have \(2, 1, 3, 3\)"):
        explain.filters(Tiny(), before=Tiny(3))
    with pytest.raises(LaminaError, match=r"no conv\.weight"):
        explain.filters(Tiny(), before={"other.weight": torch.zeros(1)})
    with pytest.raises(LaminaError, match=r"made is not known"):
        explain.filters(Tiny(), before=3)
    with pytest.raises(LaminaError, match=r"A str came as model"):
        explain.filters("lenet5")


# Feature maps -----------------------------------------------------------------------------------------------------


def test_feature_maps_are_what_a_hook_sees():
    model, picture = classifier(), np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    seen = []
    handle = model.net.conv.register_forward_hook(lambda _, __, result: seen.append(result))
    model.predict(picture)
    handle.remove()
    (found,) = explain.feature_maps(model, picture, "conv").layers
    assert found.maps == pytest.approx(seen[-1][0].numpy())
    assert found.strongest == [0, 1]
    assert found.stride == 1


def test_a_stride_names_the_last_map_of_that_resolution():
    model, picture = classifier(), np.zeros((8, 8), np.uint8)
    assert explain.feature_maps(model, picture, 2).layers[0].layer == "later"
    with pytest.raises(UnknownNameError, match=r"no map of stride 4.*1 \(conv\), 2 \(later\)"):
        explain.feature_maps(model, picture, 4)


def test_the_overview_goes_from_edges_to_parts():
    net = lamina.networks.create("resnet18", num_classes=2)
    found = explain.feature_maps(classifier(net, 3, (64, 64)), np.zeros((64, 64, 3), np.uint8))
    assert found.names == ("edges", "textures", "parts")
    assert [each.maps.shape for each in found.layers] == [(64, 32, 32), (128, 8, 8), (512, 2, 2)]
    figure = found.figure()
    assert isinstance(figure, Figure)
    assert [axes.get_title().split(":")[0] for axes in figure.axes[1:]] == ["edges", "textures", "parts"]
    assert "<img" in found._repr_html_()


def test_layers_without_maps_and_unknown_ones_are_named():
    picture = np.zeros((8, 8), np.uint8)
    with pytest.raises(LaminaError, match=r"fc gives \(2,\).*conv, later"):
        explain.feature_maps(classifier(), picture, "fc")
    with pytest.raises(UnknownNameError, match=r"'conf'.*nearest: conv.*All: conv, later, pool, fc"):
        explain.feature_maps(classifier(), picture, "conf")
    with pytest.raises(LaminaError, match=r"no layer that gives maps"):
        explain.feature_maps(models.Model(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))), torch.rand(1, 2, 2))
    with pytest.raises(LaminaError, match="channels is 0"):
        explain.feature_maps(classifier(), picture, "conv", channels=0)


# Exciting pictures ------------------------------------------------------------------------------------------------


def test_the_most_exciting_pictures_come_first_with_the_pixels_that_excite():
    images = spots([(1, 1, 50), (3, 4, 200), (7, 7, 90), (2, 2, 10)])
    data = ImageDataset(images, torch.tensor([0, 1, 0, 1]), ("a", "b"))
    found = explain.exciting(classifier(), data, "conv", 1, count=2)
    assert [(one.index, one.label) for one in found.pictures] == [(1, "b"), (2, "a")]
    assert found.pictures[0].value == pytest.approx(200 / 255)
    assert found.pictures[0].box == (3, 2, 6, 5), "the receptive field of three pixels around column 4, row 3"
    assert found.pictures[1].box == (6, 6, 8, 8), "cut at the edge"
    assert found.pictures[0].patch.shape == (1, 3, 3)
    assert len(found.figure().axes) == 4


def test_the_frame_is_the_receptive_field_where_an_activation_is_flat():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True))
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(value.abs() + 0.1)
    bare = models.Model(nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    bright = torch.full((2, 3, 12, 12), 200.0)  # every place is at 6, the first as strong as all others
    assert explain.exciting(bare, bright, "0.1", 0, count=1).pictures[0].box == (0, 0, 3, 3)
    assert explain.exciting(bare, bright, "0.3", 0, count=1).pictures[0].box == (0, 0, 5, 5)
    net[0].bias.data.fill_(-1e4)  # and every place at 0
    assert explain.exciting(bare, bright, "0.1", 0, count=1).pictures[0].box == (0, 0, 3, 3)
    assert net[1].inplace


def test_a_layer_without_places_excites_too():
    bright = spots([(3, 3, 250), (3, 3, 10), (3, 3, 100)])
    found = explain.exciting(classifier(), bright, "fc", 0, count=3)
    assert [one.value for one in found.pictures] == sorted((one.value for one in found.pictures), reverse=True)
    assert "fc, channel 0" in repr(found)
    assert len(repr(found)) < 100


def test_what_is_found_inside_is_told_in_a_line():
    shown = explain.feature_maps(classifier(), spots([(3, 3, 250)])[0])
    assert "conv, stride 1: 2 channels of 8 x 8" in repr(shown)
    assert repr(explain.filters(Tiny())) == "Filters(conv: 2 of 3 x 3)"


def test_features_that_are_not_finite_are_refused():
    net = Tiny()
    net.conv.weight.data.fill_(torch.nan)
    with pytest.raises(DataError, match=r"not finite.*diverged"):
        explain.embeddings(classifier(net), spots([(3, 3, 250), (1, 1, 10)]))


def test_at_most_so_many_pictures_are_looked_at_evenly_over_the_data():
    images = spots([(1, 1, value) for value in range(10, 210, 10)])
    found = explain.exciting(classifier(), images, "conv", 1, count=3, limit=5)
    assert found.looked_at == 5
    assert [one.index for one in found.pictures] == [16, 12, 8], "places in what was given, not among those looked at"
    assert [one.value for one in found.pictures] == pytest.approx([170 / 255, 130 / 255, 90 / 255])
    listed = explain.exciting(classifier(), list(images), "conv", 1, count=3, limit=5)
    assert [one.index for one in listed.pictures] == [16, 12, 8]
    assert explain.embeddings(classifier(), images, limit=5).places.tolist() == [0, 4, 8, 12, 16]


def test_places_are_those_in_the_data_where_a_file_cannot_be_read(tmp_path):
    for index, value in enumerate([50, 200, 90, 120]):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(spots([(3, 3, value)])[0, 0].numpy()).save(tmp_path / "a" / f"{index}.png")
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    (tmp_path / "b").mkdir()
    Image.fromarray(spots([(3, 3, 10)])[0, 0].numpy()).save(tmp_path / "b" / "4.png")
    with pytest.warns(UserWarning, match="1 of 5 pictures"):
        found = explain.exciting(
            classifier(),
            FolderDataset(sorted(tmp_path.glob("*/*.png")), [0, 0, 0, 0, 1], ("a", "b"), root=tmp_path),
            "conv",
            1,
            count=3,
        )
    assert [(one.index, one.source) for one in found.pictures] == [(3, "3.png"), (2, "2.png"), (0, "0.png")]


def test_a_channel_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"channel is 2.*conv has 2 channels"):
        explain.exciting(classifier(), spots([(1, 1, 9)]), "conv", 2)
    with pytest.raises(UnknownNameError, match=r"no layer 'x'"):
        explain.exciting(classifier(), spots([(1, 1, 9)]), "x", 0)
    with pytest.raises(LaminaError, match="limit is 0"):
        explain.exciting(classifier(), spots([(1, 1, 9)]), "conv", 0, limit=0)


# Embeddings -------------------------------------------------------------------------------------------------------


def two_groups(count=40):
    torch.manual_seed(0)
    images = torch.randint(0, 30, (count, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 1] += 200
    return ImageDataset(images, labels, ("dark", "light"))


def test_the_features_are_what_the_class_layer_is_given():
    model, data = classifier(), two_groups()
    found = explain.embeddings(model, data)
    given = []
    handle = model.net.fc.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    model.predict_probs(data.images)
    handle.remove()
    assert found.layer == "fc"
    assert found.features == pytest.approx(torch.cat(given).numpy(), rel=1e-4)


def test_pca_is_that_of_the_covariance():
    found = explain.embeddings(classifier(), two_groups())
    centred = found.features - found.features.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    expected = centred @ vectors[:, ::-1]
    assert np.abs(found.points) == pytest.approx(np.abs(expected), abs=1e-4)
    assert found.explained == pytest.approx(values[::-1] / values.sum(), abs=1e-5)


def test_classes_have_markers_of_their_own_and_the_odd_ones_are_shown():
    data = two_groups()
    data.images[5] = 0  # called light, and dark
    found = explain.embeddings(classifier(), data)
    assert found.odd[0] == 5
    figure = found.figure()
    scatter = figure.axes[0]
    assert [text.get_text() for text in scatter.get_legend().get_texts()] == ["dark", "light"]
    paths = {collection.get_paths()[0].vertices.shape for collection in scatter.collections}
    assert len(paths) == 2, "two shapes of markers"
    assert len(figure.axes) == 1 + len(found.thumbs)
    assert found.to_dict()["odd"][0] == 5


def test_many_classes_end_in_one_group_of_others():
    images = torch.randint(0, 256, (90, 1, 8, 8), dtype=torch.uint8)
    names = tuple(f"class {index}" for index in range(30))
    model = Classifier(Tiny(), classes=names[:2], preprocess=Preprocess(channels=1, size=(8, 8)))
    found = explain.embeddings(model, ImageDataset(images, torch.arange(90) % 30, names))
    labels = [text.get_text() for text in found.figure().axes[0].get_legend().get_texts()]
    assert len(labels) == 12
    assert labels[0] == "19 other classes"


def test_tsne_keeps_groups_apart_and_is_the_same_each_time():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 10, generator=generator) * 6
    labels = torch.arange(90) % 3
    points = centres[labels] + torch.randn(90, 10, generator=generator)
    placed = tsne(points, perplexity=10, steps=250)
    distances = torch.cdist(placed, placed) + 1e9 * torch.eye(90)
    assert (labels[distances.argmin(1)] == labels).float().mean() > 0.97
    assert torch.equal(placed, tsne(points, perplexity=10, steps=250))
    assert tsne(points[:2]).shape == (2, 2)


def test_what_is_not_installed_or_known_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(LaminaError, match=r"umap-learn, which is not installed.*pip install umap-learn"):
        explain.embeddings(classifier(), two_groups(), "umap")
    with pytest.raises(UnknownNameError, match="'tnse'"):
        explain.embeddings(classifier(), two_groups(), "tnse")
    with pytest.raises(DataError, match="1 picture came"):
        explain.embeddings(classifier(), spots([(1, 1, 9)]))


def test_more_points_than_the_exact_way_takes_need_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    monkeypatch.setattr("lamina.explain.embedding._EXACT", 10)
    with pytest.raises(LaminaError, match=r"more than 10 points needs scikit-learn.*limit=10"):
        explain.embeddings(classifier(), two_groups(), "tsne")


def test_a_regressor_and_a_bare_model_are_embedded_too():
    net = Tiny()
    found = explain.embeddings(models.Model(net), torch.rand(12, 1, 8, 8))
    assert found.labels is None
    assert found.points.shape == (12, 2)
    found.figure()


def test_tiles_stand_in_full_rows_where_that_goes():
    assert [across_of(count) for count in (1, 6, 64, 96)] == [1, 3, 8, 8]
    tiles = stretched(np.array([[[0.0, 2.0]], [[5.0, 5.0]]]))
    assert tiles.tolist() == [[[0.0, 1.0]], [[0.5, 0.5]]]
