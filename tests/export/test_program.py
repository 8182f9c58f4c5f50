"""The torch program of a model: from pictures as they come to answers as `predict` gives them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess, Regressor, layers, models, networks
from lamina.core.errors import LaminaError
from lamina.export import Deployable, program
from lamina.export.program import open_axes

SMALL = Preprocess(size=(48, 48), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def pictures(count=3, size=(48, 48), channels=3):
    return torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8)


def small_net(outputs=4):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, outputs),
    )


def test_a_classifiers_program_gives_its_probabilities():
    model = Classifier(small_net(), classes=list("abcd"), preprocess=SMALL)
    images = pictures()
    (probs,) = [program(model.deployable()).module()(images)]
    np.testing.assert_allclose(probs.numpy(), model.predict_probs(images), atol=1e-6)


def test_labels_that_exclude_nothing_have_a_probability_each():
    model = Classifier(small_net(), classes=list("abcd"), preprocess=SMALL, multi_label=True)
    images = pictures()
    probs = program(model.deployable()).module()(images).numpy()
    np.testing.assert_allclose(probs, model.predict_probs(images), atol=1e-6)
    assert not np.allclose(probs.sum(1), 1)


def test_a_network_that_ends_in_softmax_is_not_softened_twice():
    model = Classifier(nn.Sequential(small_net(), nn.Softmax(-1)), classes=list("abcd"), preprocess=SMALL)
    images = pictures()
    probs = program(model.deployable()).module()(images).numpy()
    np.testing.assert_allclose(probs, model.predict_probs(images), atol=1e-6)


def test_a_regressors_program_answers_in_the_targets_unit():
    model = Regressor(small_net(1), preprocess=SMALL)
    images = pictures(8)
    model.fit(images, torch.linspace(1000, 2000, 8)[:, None], verbose=0, validation_split=0.0)
    values = program(model.deployable()).module()(images).numpy()
    np.testing.assert_allclose(values, model.predict_values(images), rtol=1e-5)


def test_a_model_of_layers_with_two_outputs_keeps_their_names():
    inputs = layers.Input(shape=(6,), name="x")
    hidden = layers.Dense(5, activation="relu")(inputs)
    model = models.Model(inputs, [layers.Dense(2, name="first")(hidden), layers.Dense(3, name="second")(hidden)])
    shipped = model.deployable()
    assert (shipped.inputs, shipped.answers) == (("x",), ("first", "second"))
    x = torch.randn(7, 6)
    for mine, theirs in zip(program(shipped).module()(x), model.predict(x.numpy()), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-6)


def test_batch_height_and_width_are_open_where_the_network_takes_any_size():
    made = program(Classifier(small_net(), classes=list("abcd"), preprocess=SMALL).deployable())
    assert open_axes(made) == ((True, False, True, True),)
    assert made.module()(pictures(1, (80, 64))).shape == (1, 4)


def test_a_network_for_one_size_keeps_it():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 46 * 46, 4))
    made = program(Classifier(net, classes=list("abcd"), preprocess=SMALL).deployable())
    assert open_axes(made) == ((True, False, False, False),)


def test_sizes_stay_closed_when_asked():
    shipped = Classifier(small_net(), classes=list("abcd"), preprocess=SMALL).deployable()
    assert open_axes(program(shipped, any_size=False)) == ((True, False, False, False),)


def test_auxiliary_outputs_stay_behind():
    net = networks.create("googlenet", num_classes=4)
    model = Classifier(net, classes=list("abcd"), preprocess=Preprocess(size=(64, 64)))
    images = pictures(2, (64, 64))
    np.testing.assert_allclose(
        program(model.deployable(), any_size=False).module()(images).numpy(), model.predict_probs(images), atol=1e-5
    )


def test_the_network_is_left_as_it_was():
    net = small_net().train()
    model = Classifier(net, classes=list("abcd"), preprocess=SMALL)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    program(model.deployable())
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_network_whose_way_depends_on_its_data_is_refused_with_the_reason():
    class Moody(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :4] * (2 if images.sum() > 0 else 3)

    model = models.Model(Moody())
    with pytest.raises(LaminaError, match="cannot be exported"):
        program(model.deployable(torch.rand(2, 3, 8, 8)))


def test_a_torch_module_needs_an_example():
    with pytest.raises(LaminaError, match="example"):
        models.Model(small_net()).deployable()


def test_each_input_needs_an_example():
    with pytest.raises(LaminaError, match="example"):
        Deployable(small_net(), nn.Identity(), nn.Identity(), (), inputs=("images",))
