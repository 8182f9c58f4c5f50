"""Torch modules that torch.nn lacks, with torch's names and conventions."""

from lamina.nn.activation import Exponential, PReLU
from lamina.nn.arrangement import Permute, Reshape
from lamina.nn.channels import ChannelPad2d
from lamina.nn.conv_norm import ConvNorm
from lamina.nn.convolution import Conv2d, SameConv2d, StridedDepthwiseConv2d, padded_conv2d
from lamina.nn.image_convolution import conv_relu
from lamina.nn.max_pool import max_pool_2x2
from lamina.nn.modes import in_eval_mode
from lamina.nn.normalization import BiasedBatchNorm1d, BiasedBatchNorm2d, SteadyBatchNorm2d
from lamina.nn.padding import SamePad2d, pad_to_multiple, same_padding
from lamina.nn.pixels import GaussianNoise, Rescaling
from lamina.nn.pooling import GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d, SameAvgPool2d
from lamina.nn.pyramid import Pyramid
from lamina.nn.response_norm import LocalResponseNorm
from lamina.nn.stages import Stages
from lamina.nn.sync_batchnorm import synchronise
from lamina.nn.unpooling import switches, unpool
from lamina.nn.upsampling import doubled_conv2d

__all__ = [
    "BiasedBatchNorm1d",
    "BiasedBatchNorm2d",
    "ChannelPad2d",
    "Conv2d",
    "ConvNorm",
    "Exponential",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "LocalResponseNorm",
    "MaxPool2d",
    "PReLU",
    "Permute",
    "Pyramid",
    "Rescaling",
    "Reshape",
    "SameAvgPool2d",
    "SameConv2d",
    "SamePad2d",
    "Stages",
    "SteadyBatchNorm2d",
    "StridedDepthwiseConv2d",
    "conv_relu",
    "doubled_conv2d",
    "in_eval_mode",
    "max_pool_2x2",
    "pad_to_multiple",
    "padded_conv2d",
    "same_padding",
    "switches",
    "synchronise",
    "unpool",
]
