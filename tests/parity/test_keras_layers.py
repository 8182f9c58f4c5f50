"""Against Keras 3 itself, on its torch backend, with copied weights. Skipped where Keras is not installed."""

import os

import numpy as np
import pytest
import torch

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

from lamina import layers  # noqa: E402  (the backend has to be named before Keras is imported)
from lamina.models.graph import Graph  # noqa: E402

SHAPE = (9, 12, 4)
IMAGES = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)


def ours(layer, shape=SHAPE, dtype="float32"):
    x = layers.Input(shape, dtype, data_format="channels_last")
    return Graph.from_symbols(x, layer(x)).net.cpu()


def answer(net, images=IMAGES):
    with torch.no_grad():
        return net(torch.from_numpy(images)).numpy()


def theirs(layer, images=IMAGES, **call):
    with torch.no_grad():
        return layer(images, **call).detach().cpu().numpy()


def copy_weights(layer, net):
    """Keras's (h, w, in, out) kernels to torch's (out, in, h, w), by shape; biases as they are."""
    kernels = [w.detach().cpu() for w in (v.value for v in layer.weights)]
    with torch.no_grad():
        for (name, parameter), kernel in zip(net.named_parameters(), kernels, strict=True):
            depthwise = kernel.ndim == 4 and "depthwise" in name
            if kernel.ndim == 4:
                kernel = (
                    kernel.permute(2, 3, 0, 1).reshape(parameter.shape) if depthwise else kernel.permute(3, 2, 0, 1)
                )
            parameter.copy_(kernel.T if name == "dense.weight" else kernel.reshape(parameter.shape))


def compare(kind, images=IMAGES, tolerance=1e-5, **arguments):
    reference = getattr(keras.layers, kind)(**arguments)
    expected = theirs(reference, images)
    net = ours(getattr(layers, kind)(**arguments), images.shape[1:])
    copy_weights(reference, net)
    np.testing.assert_allclose(answer(net, images), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (4, 2, 1), (5, 3, 1), (2, 1, 1), (3, 1, 2)]
)
def test_convolution(padding, kernel, stride, dilation):
    compare("Conv2D", filters=5, kernel_size=kernel, strides=stride, padding=padding, dilation_rate=dilation)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("kernel", "stride"), [(3, 1), (2, 2), (4, 2), (5, 3)]
)  # Keras warns of its torch backend elsewhere
def test_transposed_convolution(padding, kernel, stride):
    compare("Conv2DTranspose", filters=5, kernel_size=kernel, strides=stride, padding=padding)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_and_separable_convolution(stride):
    compare("DepthwiseConv2D", kernel_size=3, strides=stride, padding="same", depth_multiplier=2, name="depthwise")
    compare("SeparableConv2D", filters=5, kernel_size=3, strides=stride, padding="same", depth_multiplier=2)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 1), (4, 3), (2, 1)])
def test_pooling(padding, size, stride):
    compare("MaxPooling2D", IMAGES - 5, pool_size=size, strides=stride, padding=padding)
    if padding == "valid" or stride == 1 or size == 2:  # elsewhere Keras on torch repeats the edge; TensorFlow does not
        compare("AveragePooling2D", IMAGES - 5, pool_size=size, strides=stride, padding=padding)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("GlobalAveragePooling2D", {}),
        ("GlobalMaxPooling2D", {"keepdims": True}),
        ("Flatten", {}),
        ("Reshape", {"target_shape": (6, 6, 12)}),
        ("Permute", {"dims": (3, 1, 2)}),
        ("ZeroPadding2D", {"padding": ((1, 2), (3, 4))}),
        ("Cropping2D", {"cropping": ((1, 2), (3, 4))}),
        ("UpSampling2D", {"size": (2, 3)}),
        ("UpSampling2D", {"size": 2, "interpolation": "bilinear"}),
        ("Dense", {"units": 5, "activation": "softmax"}),
        ("LayerNormalization", {}),
        ("LayerNormalization", {"axis": (-2, -1)}),
        ("GroupNormalization", {"groups": 2}),
        ("LeakyReLU", {}),
        ("PReLU", {"alpha_initializer": "ones", "shared_axes": (1, 2)}),
        ("ReLU", {"max_value": 0.5, "negative_slope": 0.1}),
        ("Softmax", {}),
        ("Rescaling", {"scale": 0.5, "offset": 1.0}),
    ],
)
def test_other_layers(kind, arguments):
    compare(kind, **arguments)


@pytest.mark.parametrize(
    "name", ["gelu", "hard_sigmoid", "hard_silu", "leaky_relu", "mish", "selu", "softplus", "softsign", "elu"]
)
def test_activations(name):
    np.testing.assert_allclose(answer(ours(layers.Activation(name))), theirs(keras.layers.Activation(name)), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 9, 12, 4), (6, 4)])
def test_batch_norm_over_three_training_steps(shape):
    reference, net = keras.layers.BatchNormalization(), ours(layers.BatchNormalization(), shape[1:])
    for seed in range(3):
        images = np.random.default_rng(seed).normal(1.0, 3.0, shape).astype(np.float32)
        np.testing.assert_allclose(answer(net.train(), images), theirs(reference, images, training=True), atol=1e-4)
    norm = net.batch_normalization
    np.testing.assert_allclose(norm.running_mean, reference.moving_mean.value.detach().cpu(), atol=1e-6)
    np.testing.assert_allclose(norm.running_var, reference.moving_variance.value.detach().cpu(), rtol=1e-5)
    np.testing.assert_allclose(answer(net.eval(), images), theirs(reference, images, training=False), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "suffix", "arguments"),
    [
        ("Dense", "", {"units": 300}),
        ("Conv2D", "", {"filters": 64, "kernel_size": 3}),
        ("Conv2DTranspose", "", {"filters": 64, "kernel_size": 3, "kernel_initializer": "he_normal"}),
        ("DepthwiseConv2D", "", {"kernel_size": 7, "depth_multiplier": 4, "depthwise_initializer": "he_uniform"}),
        ("Conv2D", "", {"filters": 64, "kernel_size": 3, "kernel_initializer": "lecun_normal"}),
    ],
)
def test_initial_values_have_keras_spread(kind, suffix, arguments):
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    shape = (8, 8, 64)
    reference, layer = getattr(keras.layers, kind)(**arguments), getattr(layers, kind)(**arguments)
    reference.build((None, *shape))
    ours(layer, shape)
    one, other = layer.modules[suffix].weight.detach(), reference.weights[0].value.detach().cpu()
    assert one.std().item() == pytest.approx(other.std().item(), rel=0.05)
    assert one.abs().max().item() == pytest.approx(other.abs().max().item(), rel=0.05)


@pytest.mark.parametrize("arguments", [{"threshold": 0.5}, {"threshold": 0.5, "max_value": 1.0}, {"max_value": 0.7}])
def test_rectifiers_with_a_threshold(arguments):
    compare("ReLU", **arguments)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("BatchNormalization", {"gamma_regularizer": "l2", "beta_regularizer": "l1"}),
        ("LayerNormalization", {"gamma_regularizer": "l2"}),
        ("GroupNormalization", {"groups": 2, "gamma_regularizer": "l1", "beta_regularizer": "l2"}),
        ("PReLU", {"alpha_regularizer": "l2", "alpha_initializer": "ones"}),
    ],
)
def test_penalties_of_normalisations_are_those_of_keras(kind, arguments):
    reference = getattr(keras.layers, kind)(**arguments)
    reference(IMAGES)
    x = layers.Input(SHAPE, data_format="channels_last")
    graph = Graph.from_symbols(x, getattr(layers, kind)(**arguments)(x))
    parameters = dict(graph.net.named_parameters())
    penalty = sum(regularizer(parameters[name]).item() for name, regularizer in graph.penalties)
    assert penalty == pytest.approx(sum(loss.item() for loss in reference.losses), rel=1e-5)
    assert penalty > 0


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_regularizers_have_keras_strength(kind):
    weights = torch.randn(3, 4)
    expected = float(keras.regularizers.get(kind)(weights))
    assert layers.regularizers.get(kind)(weights).item() == pytest.approx(expected, rel=1e-5)


def test_layer_names_are_keras_names():
    for kind in (
        "Conv2D",
        "ReLU",
        "MaxPooling2D",
        "BatchNormalization",
        "Conv2DTranspose",
        "SpatialDropout2D",
        "PReLU",
    ):
        arguments = {"Conv2D": (1, 1), "Conv2DTranspose": (1, 1), "SpatialDropout2D": (0.1,)}.get(kind, ())
        reference = getattr(keras.layers, kind)(*arguments).name.rstrip("0123456789").rstrip("_")
        stem = getattr(layers, kind)(*arguments).stem
        assert stem.rstrip("0123456789") == reference
