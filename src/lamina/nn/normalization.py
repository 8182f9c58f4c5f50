"""Batch normalisation as Keras 3 documents it, whose moving variance is the batch's own (biased) one, and for single values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BiasedBatchNorm1d(nn.BatchNorm1d):
    """nn.BatchNorm1d (same keys, same kernels) with moving_var = (1 - m) moving_var + m var, var = mean((x - mean)^2).

    torch multiplies var by n / (n - 1) for the moving average, and refuses a batch with one value per channel.
    """

    def forward(self, input: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        return _forward(self, input)


class BiasedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d (same keys, same kernels) with moving_var = (1 - m) moving_var + m var, var = mean((x - mean)^2).

    torch multiplies var by n / (n - 1) for the moving average, and refuses a batch with one value per channel.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return _forward(self, input)


class SteadyBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d (same keys, same kernels) that in training normalises one value per channel by the running statistics.

    torch refuses such a batch, of one picture and one place: it has no variance. The statistics do not follow it.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        if not self.training or input.numel() != input.shape[1] or self.running_mean is None:
            return super().forward(input)
        self._check_input_dim(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _forward(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    norm._check_input_dim(inputs)  # type: ignore[no-untyped-call]
    mean, var, momentum = norm.running_mean, norm.running_var, norm.momentum
    weight, bias, backend = norm.weight, norm.bias, torch.backends.cudnn.enabled
    if not norm.training or mean is None or var is None or momentum is None:
        use_batch = norm.training or mean is None
        return torch.batch_norm(inputs, weight, bias, mean, var, use_batch, momentum or 0.0, norm.eps, backend)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    count = inputs.numel() // inputs.shape[1]
    if count == 1:  # the unbiased variance of one value is 0 / 0
        mean.lerp_(inputs.detach().flatten().to(mean.dtype), momentum)
        var.mul_(1.0 - momentum)
        return torch.batch_norm(inputs, weight, bias, None, None, True, momentum, norm.eps, backend)
    # torch's moving variance, (1 - m) var + m n / (n - 1) biased, in a copy: autograd keeps it, so it must stay as it is
    unbiased = var.clone()
    outputs = torch.batch_norm(inputs, weight, bias, mean, unbiased, True, momentum, norm.eps, backend)
    # (1 - 1/n) unbiased + (1 - m)/n var  =  (1 - m) var + m biased
    var.mul_((1.0 - momentum) / count).add_(unbiased, alpha=1.0 - 1.0 / count)
    return outputs
