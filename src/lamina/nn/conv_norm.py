"""A convolution with what usually follows it."""

from __future__ import annotations

from torch import nn


class ConvNorm(nn.Sequential):
    """A convolution that keeps the size, BatchNorm, ReLU; without BatchNorm the convolution has a bias. He's initial values."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        batch_norm: bool = True,
    ) -> None:
        pads = dilation * (kernel_size // 2)
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=pads, dilation=dilation, bias=not batch_norm)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
        super().__init__(conv, *norm, nn.ReLU(inplace=True))
