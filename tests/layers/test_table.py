import json

import pytest
from torch import nn

from lamina import layers
from lamina.core.errors import FileFormatError
from lamina.layers.table import LAYERS, decode, encode

EXAMPLES = [
    layers.Activation("gelu"),
    layers.Add(name="sum"),
    layers.Average(),
    layers.AveragePooling2D(3, 2, "same"),
    layers.BatchNormalization(momentum=0.9, gamma_initializer=layers.initializers.Constant(0.5)),
    layers.Concatenate(axis=-1),
    layers.Conv2D(
        8, (3, 5), 2, "same", activation="relu", groups=2, kernel_regularizer=layers.regularizers.L1L2(0.1, 0.2)
    ),
    layers.Conv2DTranspose(8, 3, output_padding=1),
    layers.Cropping2D(((1, 2), (3, 4))),
    layers.Dense(3, kernel_initializer=layers.initializers.RandomNormal(stddev=0.01), kernel_regularizer="l2"),
    layers.DepthwiseConv2D(3, depth_multiplier=2),
    layers.Dropout(0.25),
    layers.Embedding(10, 4),
    layers.Flatten(input_shape=(3, 4, 5)),
    layers.GaussianNoise(0.1),
    layers.GlobalAveragePooling2D(keepdims=True),
    layers.GlobalMaxPooling2D(),
    layers.GroupNormalization(4),
    layers.InputLayer((None, None, 3), "uint8", "channels_last"),
    layers.LayerNormalization(axis=(1, 2)),
    layers.LeakyReLU(0.2),
    layers.LocalResponseNormalization(5),
    layers.MaxPooling2D(padding=1),
    layers.Maximum(),
    layers.Multiply(),
    layers.Operator("subtract", 1.0, True),
    layers.PReLU(shared_axes=(1, 2)),
    layers.Permute((2, 1)),
    layers.ReLU(6.0),
    layers.Rescaling(1 / 255, -0.5),
    layers.Reshape((-1, 2)),
    layers.SeparableConv2D(4, 3),
    layers.Softmax(-1),
    layers.SpatialDropout2D(0.1),
    layers.Subtract(),
    layers.UpSampling2D((2, 3), "bilinear"),
    layers.ZeroPadding2D((1, 2)),
]


def test_every_layer_of_the_table_has_an_example_here_and_is_public():
    assert [type(layer).__name__ for layer in EXAMPLES] == sorted(LAYERS)
    assert set(LAYERS) <= set(layers.__all__)


@pytest.mark.parametrize("layer", EXAMPLES, ids=lambda layer: type(layer).__name__)
def test_json_and_back_keeps_every_argument(layer):
    again = decode(json.loads(json.dumps(encode(layer))), {})
    assert type(again) is type(layer)
    assert again.fields == layer.fields


@pytest.mark.parametrize(
    "entry",
    [
        {"layer": "Lambda", "function": "os.system"},
        {"layer": "torch.nn.Linear"},
        {"layer": "__import__"},
        {"layer": ["Dense"]},
        {"units": 3},
        "Dense",
        None,
        {"layer": "Dense"},
        {"layer": "Dense", "units": 0},
        {"layer": "Dense", "units": "3"},
        {"layer": "Dense", "units": 3, "_binding": {}},
        {"layer": "Dense", "units": 3, "call": "x"},
        {"layer": "Dense", "units": 3, "kernel_initializer": {"kind": "Evil"}},
        {"layer": "Dense", "units": 3, "kernel_initializer": {"kind": "Constant", "value": "x"}},
        {"layer": "Dense", "units": 3, "activation": {"kind": "L1"}},
        {"layer": "Dense", "units": 3, "kernel_regularizer": {"kind": "L1", "power": 3}},
        {"layer": "Torch", "name": "t", "module": "os.system", "arguments": {}},
        {"layer": "Torch", "name": "t", "module": "torch.nn.modules.container.Sequential", "arguments": {}},
        {"layer": "Torch", "name": "t", "module": "torch.nn.modules.linear.Linear", "arguments": {"x": 1}},
        {"layer": "Torch", "name": "t", "module": 3},
    ],
)
def test_nothing_outside_the_table_can_be_asked_for(entry):
    with pytest.raises(FileFormatError):
        decode(entry, {})


class Mine(nn.Module):
    pass


def test_custom_modules_are_named_and_come_back_by_name():
    module = Mine()
    entry = json.loads(json.dumps(encode(layers.Torch(module, name="stem"))))
    with pytest.raises(FileFormatError, match=r"'stem'.*modules=\{'stem': module\}"):
        decode(entry, {})
    assert decode(entry, {"stem": module}).module is module
    assert decode(entry, {entry["module"]: module}).module is module


def test_torchs_plain_modules_come_back_by_themselves():
    again = decode(json.loads(json.dumps(encode(layers.Torch(nn.Conv2d(3, 4, 3, padding=1), name="c")))), {})
    assert repr(again.module) == repr(nn.Conv2d(3, 4, 3, padding=1))
