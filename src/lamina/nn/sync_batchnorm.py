"""Batch normalisation over the batches of all processes: the statistics of the joined batch, on any device.

torch.nn.SyncBatchNorm refuses CPUs, and its conversion makes new modules. Here the modules stay, and their keys.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from lamina.core.errors import LaminaError
from lamina.nn.normalization import BiasedBatchNorm1d, BiasedBatchNorm2d, SteadyBatchNorm2d

_KNOWN = {_BatchNorm.forward, BiasedBatchNorm1d.forward, BiasedBatchNorm2d.forward, SteadyBatchNorm2d.forward}


def synchronise(net: nn.Module) -> nn.Module:
    """Makes each BatchNorm of the network, in place, normalise by the joined batch of all processes in training.

    The modules stay the same objects with the same keys; in eval mode, and in one process, they compute what they computed.
    Batches of different sizes are weighed exactly, empty ones included. The loss of each process must be multiplied by its
    count before it is differentiated (`Update` does so), for its gradient reaches the samples of the others.
    Raises LaminaError for a subclass of BatchNorm with a forward of its own.
    """
    for name, module in net.named_modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, _Synchronised | nn.SyncBatchNorm):
            continue
        if type(module).forward not in _KNOWN or isinstance(module, nn.modules.lazy.LazyModuleMixin):
            raise LaminaError(
                f"The module {name!r} is a {type(module).__name__}, which computes in a way of its own.",
                "torch's BatchNorms and those of lamina.nn can be synchronised, once they are built.",
                "Use one of these, or leave this network unsynchronised.",
            )
        kind: Any = type(module)
        module.__class__ = _synchronised(kind)
    return net


class _Synchronised(_BatchNorm):
    """Goes before a BatchNorm class and takes its training pass over."""

    def forward(self, input: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        use_batch = self.training or self.running_mean is None
        if not use_batch or not dist.is_available() or not dist.is_initialized() or _size() == 1:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        outputs, mean, var, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
        if self.training and self.running_mean is not None and self.running_var is not None:
            self._follow(mean, var, count)
        return outputs  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self).__mro__[2],), vars(self)  # the class is made here, and no file can name it

    def _follow(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        share: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                share = 1.0 / self.num_batches_tracked.to(torch.float64)
        if not isinstance(self, BiasedBatchNorm1d | BiasedBatchNorm2d):
            var = var * (count / (count - 1.0).clamp(min=1.0))
        for kept, value in ((self.running_mean, mean), (self.running_var, var)):
            kept.add_((value.to(kept.dtype) - kept) * torch.as_tensor(share, dtype=kept.dtype, device=kept.device))


@functools.cache
def _synchronised(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {"__doc__": kind.__doc__})


def _unpickled(kind: type[_BatchNorm]) -> _BatchNorm:
    made: Any = _synchronised(kind)  # type: ignore[arg-type]
    return made.__new__(made)  # type: ignore[no-any-return]


class _Normalise(torch.autograd.Function):
    """Normalises by the statistics of all processes; the backward pass sums over all processes as well."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = torch.promote_types(inputs.dtype, torch.float32)
        channels = inputs.shape[1]
        own = inputs.numel() // channels
        told = torch.zeros(_size(), 2 * channels + 1, dtype=exact, device=inputs.device)
        if own:
            # The own mean and squared distances from it: sums of squares would lose digits where the mean is large.
            var, mean = torch.var_mean(inputs.to(exact), dim=_others(inputs), correction=0)
            told[_rank()] = torch.cat([mean, var * own, mean.new_full((1,), own)])
        dist.all_reduce(told)  # each has filled a row of its own, so this gathers
        means, squares, counts = told[:, :channels], told[:, channels:-1], told[:, -1:]
        count = counts.sum()
        mean = (means * counts).sum(0) / count
        var = (squares + counts * (means - mean) ** 2).sum(0) / count
        ctx.save_for_backward(inputs, weight, mean, torch.rsqrt(var + eps), count)
        ctx.has_bias = bias is not None
        if own:
            outputs = F.batch_norm(inputs, mean, var, _as(weight, exact), _as(bias, exact), False, 0.0, eps)
        else:
            outputs = torch.empty_like(inputs)
        ctx.mark_non_differentiable(mean, var, count)
        return outputs, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        inputs, weight, mean, scale, count = ctx.saved_tensors
        exact, others = mean.dtype, _others(inputs)
        grad_exact = grad.to(exact)
        sum_grad = grad_exact.sum(others)
        distance = inputs.to(exact) - _along(mean, inputs)
        sum_distance = (grad_exact * distance).sum(others)
        grad_weight = None if weight is None else (sum_distance * scale).to(weight.dtype)
        grad_bias = sum_grad.to(grad_weight.dtype if grad_weight is not None else exact) if ctx.has_bias else None
        both = torch.stack([sum_grad, sum_distance])
        dist.all_reduce(both)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, grad_bias, None
        gain = scale if weight is None else scale * weight.to(exact)
        # gain (dy - mean(dy) - xhat mean(dy xhat)), the means over all processes
        slope = gain * scale * scale * both[1] / count
        shift = gain * both[0] / count
        grad_inputs = grad_exact * _along(gain, inputs) - distance * _along(slope, inputs) - _along(shift, inputs)
        return grad_inputs.to(inputs.dtype), grad_weight, grad_bias, None


def _others(inputs: Tensor) -> list[int]:
    return [dim for dim in range(inputs.dim()) if dim != 1]


def _along(values: Tensor, inputs: Tensor) -> Tensor:
    """Values of channels in a shape that multiplies the inputs."""
    return values.view(1, -1, *[1] * (inputs.dim() - 2))


def _as(value: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if value is None else value.to(dtype)


def _world() -> Any:
    return dist.group.WORLD


def _size() -> int:
    return int(_world().size())


def _rank() -> int:
    return int(_world().rank())
