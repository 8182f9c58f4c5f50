"""The CNN of which everything can be drawn."""

import pytest
import torch
from torch import nn

from lamina import losses, optimizers
from lamina.core.errors import LaminaError, ShapeError, UnknownNameError
from lamina.data.preprocess import Preprocess
from lamina.tasks.classification import tunable_cnn
from lamina.tasks.classification.tunable_cnn import TunableCNN
from lamina.training.runtime import Runtime
from lamina.training.tuner import space as spaces

GREY = Preprocess(channels=1, size=(28, 28), mean=(0.0,), std=(1.0,))


def test_the_network_has_what_was_drawn():
    cnn = TunableCNN(
        blocks=2,
        filters=8,
        kernel_size=5,
        stride=2,
        pooling="average",
        pool_size=3,
        pool_stride=2,
        batch_norm=False,
        dense=16,
        dropout=0.3,
    )
    net = cnn.build((1, 64, 64), 7).net
    kinds = [type(module) for module in net.children() if type(module) is not nn.ZeroPad2d]
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (8, (5, 5), (2, 2)),
        (16, (5, 5), (2, 2)),
    ]
    pool = next(module for module in net.modules() if isinstance(module, nn.AvgPool2d))
    assert (pool.kernel_size, pool.stride) == ((3, 3), (2, 2))
    assert nn.BatchNorm2d not in kinds
    assert next(module for module in net.modules() if isinstance(module, nn.Dropout)).p == 0.3
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 7)


def test_the_scale_multiplies_the_initial_weights_and_nothing_else():
    def weights(scale):
        torch.manual_seed(0)
        return dict(TunableCNN(initial_scale=scale, filters=4, dense=8).build((1, 28, 28), 10).net.named_parameters())

    plain, scaled = weights(1.0), weights(0.5)
    assert all(torch.equal(scaled[name], 0.5 * value if value.dim() > 1 else value) for name, value in plain.items())


@pytest.mark.parametrize(
    ("cnn", "words"),
    [
        (
            TunableCNN(kernel_size=7, padding="valid", blocks=3),
            r"Block 3 of 3: its kernel of 7 x 7 px meets a picture of 2 x 2",
        ),
        (TunableCNN(stride=2, blocks=3), r"Block 3 of 3: its pool of 2 x 2 px meets a picture of 1 x 1"),
    ],
)
def test_what_leaves_nothing_of_the_picture_is_told_by_the_block(cnn, words):
    with pytest.raises(ShapeError, match=words):
        cnn.build((1, 28, 28), 10)


def test_every_geometry_of_the_space_builds_or_is_refused_as_impossible():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, built = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), 0
    runtime = Runtime("cpu", precision="float32")
    for _ in range(16):
        values = {**spaces.draw(tunable_cnn.space(), study.ask()), "filters": 4, "dense": 8}
        try:
            classifier = tunable_cnn.classifier(values, GREY, num_classes=3, runtime=runtime)
        except ShapeError:
            continue
        built += 1
        assert classifier.net(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
    assert built > 5


def test_settings_become_the_arguments_of_compile():
    told = tunable_cnn.compiled(
        {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "schedule": "cosine", "label_smoothing": 0.1}
    )
    assert told == {
        "optimizer": optimizers.SGD(0.1, 0.9),
        "loss": losses.SparseCategoricalCrossentropy(label_smoothing=0.1),
        "schedule": "cosine",
    }
    assert tunable_cnn.compiled({})["optimizer"] == optimizers.AdamW()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "momentum came beside the optimizer Adam"),
        ({"loss": "mse", "label_smoothing": 0.1}, "label_smoothing came beside the loss 'mse'"),
        ({"loss": "bce"}, "no loss for classes called 'bce'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, words):
    with pytest.raises(LaminaError, match=words):
        tunable_cnn.compiled(settings)


def test_an_unknown_argument_of_the_network_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'filter'.*'filters'"):
        tunable_cnn.network({"filter": 3, "input_shape": [1, 28, 28]}, None, 10)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse", "multi_margin"])
def test_every_loss_of_the_space_learns_classes(loss):
    images = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
    labels = torch.arange(64) % 2
    images[labels == 1, :, :14] = 200
    settings = {"loss": loss, "filters": 4, "dense": 8, "lr": 0.01}
    torch.manual_seed(0)
    classifier = tunable_cnn.classifier(settings, GREY, num_classes=2, runtime=Runtime("cpu", precision="float32"))
    history = classifier.fit(images, labels, batch_size=16, epochs=3, verbose=0, validation_split=0.0).history
    assert history["accuracy"][-1] == 1.0


def test_the_mse_of_classes_is_briers_score():
    scores = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    assert torch.allclose(tunable_cnn.one_hot_mse(scores, torch.tensor([1, 0])), torch.tensor([0.125, 0.5]))


def test_the_space_can_be_searched_as_it_is():
    space = spaces.checked({**tunable_cnn.space(), "epochs": 2})
    assert set(tunable_cnn.NETWORK) <= set(space)
    assert set(tunable_cnn.TRAINING) <= set(space)
    assert isinstance(space["lr"], spaces.Range)
