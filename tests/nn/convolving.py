"""Layers and images for the tests of the kernels of convolutions."""

import torch

from lamina.nn import Conv2d


def laid_out(images):
    return images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()


def made(size, seed=0):
    return laid_out(torch.randn(size, generator=torch.Generator().manual_seed(seed)).bfloat16())


def layer(inputs=16, outputs=32, padding=1, *, bias=True, seed=0, **settings):
    torch.manual_seed(seed)
    conv = Conv2d(inputs, outputs, 3, padding=padding, bias=bias, **settings)
    return conv.to(memory_format=torch.channels_last)


def mixed(conv, images, **settings):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return conv(images, **settings)


class OwnTensor(torch.Tensor):
    pass
