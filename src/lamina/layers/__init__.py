"""Descriptions of layers with Keras's names: Dense(32, activation="relu"). Describing is not building."""

from lamina.layers import initializers, regularizers
from lamina.layers.activations import Activation, LeakyReLU, PReLU, ReLU, Softmax
from lamina.layers.convolution import Conv2D, Conv2DTranspose, DepthwiseConv2D, SeparableConv2D
from lamina.layers.dense import Dense, Embedding
from lamina.layers.inputs import Input, InputLayer
from lamina.layers.layer import Layer
from lamina.layers.merging import Add, Average, Concatenate, Maximum, Multiply, Operator, Subtract
from lamina.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    LocalResponseNormalization,
)
from lamina.layers.pooling import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from lamina.layers.regularization import Dropout, GaussianNoise, Rescaling, SpatialDropout2D
from lamina.layers.shaping import Cropping2D, Flatten, Permute, Reshape, UpSampling2D, ZeroPadding2D
from lamina.layers.symbol import Symbol, SymbolError
from lamina.layers.torch_module import Torch

__all__ = [
    "Activation",
    "Add",
    "Average",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "LocalResponseNormalization",
    "MaxPooling2D",
    "Maximum",
    "Multiply",
    "Operator",
    "PReLU",
    "Permute",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "Softmax",
    "SpatialDropout2D",
    "Subtract",
    "Symbol",
    "SymbolError",
    "Torch",
    "UpSampling2D",
    "ZeroPadding2D",
    "initializers",
    "regularizers",
]
