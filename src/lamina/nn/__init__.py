"""Torch modules that torch.nn lacks, with torch's names and conventions."""

from lamina.nn.activation import Exponential, PReLU
from lamina.nn.arrangement import Permute, Reshape
from lamina.nn.normalization import BiasedBatchNorm1d, BiasedBatchNorm2d
from lamina.nn.padding import SamePad2d, same_padding
from lamina.nn.pixels import GaussianNoise, Rescaling
from lamina.nn.pooling import GlobalAvgPool2d, GlobalMaxPool2d, SameAvgPool2d
from lamina.nn.sync_batchnorm import synchronise

__all__ = [
    "BiasedBatchNorm1d",
    "BiasedBatchNorm2d",
    "Exponential",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "PReLU",
    "Permute",
    "Rescaling",
    "Reshape",
    "SameAvgPool2d",
    "SamePad2d",
    "same_padding",
    "synchronise",
]
