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


def mixed(conv, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return conv(images)


def repacked():
    """A context in which what is saved for the backward pass comes back laid out in another way."""
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.contiguous(), lambda tensor: tensor)


def pruned(conv):
    """The layer without its second half of filters; it still says that it has them."""
    half = conv.out_channels // 2
    conv.weight, conv.bias = torch.nn.Parameter(conv.weight[:half]), torch.nn.Parameter(conv.bias[:half])
    return conv


class OwnTensor(torch.Tensor):
    pass
