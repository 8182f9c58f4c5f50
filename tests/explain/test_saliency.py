"""Grad-CAM beside the paper's formula, and on networks whose weights are set so that one knows where they look."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

import lamina
from lamina import Classifier, Preprocess, explain, models
from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.explain import saliency
from lamina.explain.lens import Lens
from lamina.explain.watching import twin


class Finder(nn.Module):
    """Says "marked" where there is something white: channel 0 of its map is the mean of the pixels around, channel 1 is not."""

    def __init__(self, *, ending=None, inplace=False):
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(1, 2, 5, padding=2), nn.ReLU(inplace=inplace), nn.MaxPool2d(2))
        self.fc = nn.Linear(2, 2)
        self.ending = ending
        with torch.no_grad():
            self.stage[0].weight.zero_()
            self.stage[0].bias.copy_(torch.tensor([0.0, 0.5]))
            self.stage[0].weight[0] = 1 / 25
            self.fc.weight.copy_(torch.tensor([[-1.0, 0.3], [1.0, 0.2]]))
            self.fc.bias.zero_()

    def forward(self, images):
        logits = self.fc(self.stage(images).mean(dim=(2, 3)) * 20)
        return logits if self.ending is None else self.ending(logits)


def marked(size, row, column, side=7):
    pixels = np.zeros(size, np.uint8)
    pixels[row - side // 2 : row + side // 2 + 1, column - side // 2 : column + side // 2 + 1] = 255
    return Image.fromarray(pixels)


def finder(resize="stretch", *, size=(32, 32), net=None, **told):
    preprocess = Preprocess(channels=1, size=size, resize=resize)
    return Classifier(net or Finder(), classes=["plain", "marked"], preprocess=preprocess, **told)


def test_grad_cam_is_the_formula_of_the_paper():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 36, 4))
    model = models.Model(net)
    picture = torch.rand(1, 6, 6)
    heat = explain.grad_cam(model, picture, label=2, layer="1")
    maps = torch.tanh(net[0](picture[None])).detach().requires_grad_()
    score = net[3](maps.flatten(1))[0, 2]
    (gradient,) = torch.autograd.grad(score, maps)
    alpha = gradient.sum(dim=(2, 3))[0] / 36  # eq. 1
    expected = torch.relu((alpha[:, None, None] * maps[0]).sum(0)).detach()  # eq. 2
    assert heat.grid == pytest.approx((expected / expected.max()).numpy(), abs=1e-6)
    assert heat.heat == pytest.approx(heat.grid, abs=1e-6), "a picture of the map's size"
    assert (heat.label, heat.layer, heat.answer) == ("output 2", "1", pytest.approx(net(picture[None])[0, 2].item()))


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("size", "place"), [((48, 48), (14, 30)), ((40, 80), (12, 46)), ((90, 50), (54, 12))])
@pytest.mark.parametrize("way", ["grad-cam", "occlusion"])
def test_the_heat_lies_where_the_mark_is(way, resize, size, place):
    model, picture = finder(resize), marked(size, *place)

    def hottest(shown):
        heat = (
            explain.grad_cam(model, shown, label="marked")
            if way == "grad-cam"
            else explain.occlusion(model, shown, 5, 2, label="marked")
        )
        assert heat.heat.shape == (shown.height, shown.width)
        assert heat.heat.max() == pytest.approx(1, abs=0.2)
        assert heat.heat.min() >= 0
        warm = heat.heat * (heat.heat > 0.5)
        rows, columns = np.indices(warm.shape)
        return (warm * rows).sum() / warm.sum(), (warm * columns).sum() / warm.sum()

    assert hottest(picture) == pytest.approx(place, abs=3)
    row, column = hottest(ImageOps.mirror(picture))
    assert (row, size[1] - 1 - column) == pytest.approx(place, abs=3), "it follows a flip"


def test_what_the_network_did_not_see_is_cold_and_darker():
    heat = explain.grad_cam(finder("crop"), marked((32, 96), 16, 48), label="marked")
    assert heat.heat[:, :30].max() == 0
    assert heat.heat[:, 66:].max() == 0
    white = explain.grad_cam(finder("crop"), Image.new("L", (96, 32), 255), label="marked")
    shown = np.asarray(white.overlay()).mean(axis=(0, 2))
    assert shown[:28].mean() < 0.6 * shown[36:60].mean()


def test_a_class_against_which_everything_speaks_has_no_heat():
    net = Finder()
    with torch.no_grad():
        net.fc.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    heat = explain.grad_cam(finder(net=net), marked((32, 32), 16, 16), label="plain")
    assert heat.is_empty
    assert "nothing speaks for it" in heat.how
    heat.draw()


@pytest.mark.parametrize("ending", [nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.Sigmoid()])
def test_the_score_is_the_one_before_a_softmax_or_sigmoid(ending):
    picture = torch.rand(1, 32, 32)
    plain = saliency.cams_of(Lens.of(models.Model(Finder()), picture), picture[None], labels=[1])
    ended = saliency.cams_of(Lens.of(models.Model(Finder(ending=ending)), picture), picture[None], labels=[1])
    assert ended.maps == pytest.approx(plain.maps, rel=1e-5)


def test_the_last_map_before_the_class_layer_is_taken_and_pools_are_passed_by():
    heat = explain.grad_cam(finder(), marked((32, 32), 9, 20))
    assert heat.layer == "stage.1"
    assert heat.grid.shape == (32, 32)
    assert (heat.label, heat.answer > 0.5) == ("marked", True)


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer4"), ("squeezenet1_1", "features.12")])
def test_the_default_layer_of_known_networks(name, layer):
    net = lamina.networks.create(name, num_classes=3)
    model = Classifier(net, classes=["a", "b", "c"], preprocess=Preprocess(size=(64, 64)))
    assert explain.grad_cam(model.deployable(), np.zeros((64, 64, 3), np.uint8)).layer == layer


def test_a_map_that_is_changed_in_place_afterwards_is_the_layer_s_own():
    picture = marked((32, 32), 9, 20)
    plain = explain.grad_cam(finder(net=Finder()), picture, layer="stage.0", label=1)
    inplace = explain.grad_cam(finder(net=Finder(inplace=True)), picture, layer="stage.0", label=1)
    assert (inplace.grid == plain.grid).all()


def test_nothing_in_the_model_changes():
    model = finder()
    model.net.train()
    model.net.stage[1].eval()
    model.net.fc.weight.requires_grad_(False)
    model.net.fc.bias.grad = torch.ones(2)
    before = torch.get_rng_state(), {k: v.clone() for k, v in model.net.state_dict().items()}
    with torch.no_grad():  # even here
        explain.grad_cam(model, marked((32, 32), 9, 20))
    explain.occlusion(model, marked((32, 32), 9, 20), 8, 8)
    assert [module.training for module in model.net.modules()] == [True, True, True, False, True, True]
    assert [value.requires_grad for value in model.net.parameters()] == [True, True, False, True]
    assert [value.grad is None for value in model.net.parameters()] == [True, True, True, False]
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.net.modules())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in model.net.state_dict().items())


def test_a_frozen_network_is_explained_too():
    model = finder()
    whole = explain.grad_cam(model, marked((32, 32), 9, 20))
    model.net.requires_grad_(False)
    assert (explain.grad_cam(model, marked((32, 32), 9, 20)).grid == whole.grid).all()


def test_threads_do_not_disturb_each_other():
    deployable, pictures = finder().deployable(), [marked((32, 32), 8 + index, 20) for index in range(6)]
    alone = [explain.grad_cam(deployable, picture).grid for picture in pictures]
    found = {}

    def work(index):
        for _ in range(5):
            found[index] = explain.grad_cam(deployable, pictures[index]).grid

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[index] == grid).all() for index, grid in enumerate(alone))


def test_a_twin_shares_weights_and_neither_hooks_nor_modes():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.ReLU()))
    net.append(net[1])  # used twice
    other = twin(net)
    assert other[0].weight is net[0].weight
    assert other[2] is other[1]
    assert not other[1][0].training
    assert net[1][0].training
    other[1].register_forward_hook(lambda *_: pytest.fail("of the twin alone"))
    net(torch.zeros(1, 1, 2, 2))


def test_grad_cam_works_where_gradients_are_off():
    model, picture = finder(), marked((32, 32), 9, 20)
    wanted = explain.grad_cam(model, picture).grid
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert (explain.grad_cam(model, picture).grid == wanted).all()


def test_a_network_that_diverged_is_named():
    net = Finder()
    net.fc.bias.data.fill_(torch.nan)
    with pytest.raises(LaminaError, match=r"not finite.*diverged"):
        explain.grad_cam(finder(net=net), marked((32, 32), 9, 20))


def test_several_labels_and_numbers_are_explained():
    several = finder(multi_label=True)
    heat = explain.grad_cam(several, marked((32, 32), 9, 20), label="marked")
    assert heat.peak == pytest.approx((9, 20), abs=3)
    regressor = lamina.Regressor(Finder(), names=["empty", "full"], preprocess=Preprocess(channels=1, size=(32, 32)))
    regressor.unit = type(regressor.unit or _unit())((0.0, 100.0), (1.0, 10.0))
    heat = explain.grad_cam(regressor, marked((32, 32), 9, 20), label="full")
    assert heat.is_number
    assert heat.answer == pytest.approx(regressor.predict(marked((32, 32), 9, 20))["full"], rel=1e-5)
    assert heat.told.startswith("full 1")
    assert explain.grad_cam(regressor, marked((32, 32), 9, 20)).label == "empty", "the first number, not the largest"
    covered = explain.occlusion(regressor, marked((32, 32), 9, 20), 5, 2)
    assert covered.peak == pytest.approx((9, 20), abs=4), "also where the number rises"


def _unit():
    from lamina.tasks.regression.units import Unit

    return Unit((0.0,), (1.0,))


def test_the_probability_of_occlusion_falls_under_the_squares():
    model, picture = finder(), marked((32, 32), 9, 20)
    heat = explain.occlusion(model, picture, 7, 1, label="marked")
    assert heat.answer == pytest.approx(model.predict(picture).probability, rel=1e-5)
    assert heat.method == "Occlusion, 7 px every 1 px"
    covered = np.array(picture)
    covered[6:13, 17:24] = 0
    left = model.predict_probs(covered[None, None])[0, 1]
    assert left < heat.answer
    assert saliency._covered(Lens.of(model), model.preprocess.host(picture)[None], [(6, 17)], 7)[0, 1] == pytest.approx(
        left
    )


def test_a_heat_draws_prints_and_saves_itself(tmp_path):
    heat = explain.grad_cam(finder(), marked((40, 80), 12, 46), label="marked")
    assert str(heat).startswith("Heat(marked ")
    assert heat.draw(side_px=200).width == 240
    assert heat.overlay().size == (80, 40)
    grey = np.asarray(heat.overlay().convert("L")).astype(float)
    assert grey[10:15, 44:49].mean() > grey[25:38, 60:70].mean() + 60, "light where it is hot, in grey too"
    with Image.open(heat.save(tmp_path / "heat.jpg")) as saved:
        assert saved.format == "JPEG"
    assert heat.to_dict()["peak"] == dict(zip(("row", "column"), heat.peak, strict=True))
    assert "<img" in heat._repr_html_()
    assert heat.png()[:4] == b"\x89PNG"


def test_an_unknown_layer_lists_the_layers():
    with pytest.raises(
        UnknownNameError, match=r"no layer 'stage.9'.*nearest.*All: stage, stage.0, stage.1, stage.2, fc"
    ):
        explain.grad_cam(finder(), marked((32, 32), 9, 20), layer="stage.9")


def test_a_layer_without_maps_says_which_have_some():
    with pytest.raises(LaminaError, match=r"fc gives \(2,\).*Maps.*stage.1"):
        explain.grad_cam(finder(), marked((32, 32), 9, 20), layer="fc")


def test_a_network_without_convolutions_is_sent_to_occlusion():
    model = models.Model(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
    with pytest.raises(LaminaError, match=r"no layer that gives maps.*occlusion"):
        explain.grad_cam(model, torch.rand(1, 4, 4))
    assert explain.occlusion(model, torch.rand(1, 4, 4), 2, 1).heat.shape == (4, 4)


@pytest.mark.parametrize(
    ("picture", "error"),
    [
        (["a.png", "b.png"], ShapeError),
        (np.zeros((2, 1, 32, 32), np.uint8), ShapeError),
        ("nowhere.png", DataError),
        (7, DataError),
    ],
)
def test_what_is_no_picture_is_refused(picture, error):
    with pytest.raises(error):
        explain.grad_cam(finder(), picture)


def test_wrong_labels_sizes_and_models_are_refused():
    picture = marked((32, 32), 9, 20)
    with pytest.raises(UnknownNameError, match=r"class called 'markt'.*'marked'"):
        explain.grad_cam(finder(), picture, label="markt")
    with pytest.raises(DataError, match=r"label is 2.*0 to 1"):
        explain.grad_cam(finder(), picture, label=2)
    with pytest.raises(DataError, match=r"patch_px is 33.*1 to 32"):
        explain.occlusion(finder(), picture, 33)
    with pytest.raises(DataError, match="stride_px is 0"):
        explain.occlusion(finder(), picture, 4, 0)
    with pytest.raises(LaminaError, match=r"models.Model\(net\)"):
        explain.grad_cam(Finder(), picture)
    with pytest.raises(LaminaError, match="no weights yet"):
        explain.grad_cam(Classifier("lenet5"), picture)
    with pytest.raises(DataError, match="does not prepare pictures"):
        explain.grad_cam(models.Model(Finder()), picture)
