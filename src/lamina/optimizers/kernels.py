"""torch.optim's optimizers bent to Keras's formulas, without giving up their fused kernels.

Where torch adds epsilon elsewhere, or weight decay to the gradient, a hook before the step puts in values that make both the same.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer


class _Hooked(torch.optim.Optimizer):
    """Hooks before and after each step; torch drops them from copies and pickles, so they are put back there."""

    def __init__(self, parameters: Any, **settings: Any) -> None:
        super().__init__(parameters, **settings)
        self._hook()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self._optimizer_step_pre_hooks:  # load_state_dict passes here too, with the hooks in place
            self._hook()

    def _hook(self) -> None:
        raise NotImplementedError


class _Decoupled(_Hooked):
    """Weight decay as in Keras, w <- w (1 - lr decay), before the step; torch would add decay w to the gradient."""

    def _hook(self) -> None:
        self.register_step_pre_hook(_decay)
        self.register_step_post_hook(_put_back)


def _decay(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    for group in optimizer.param_groups:
        if group["weight_decay"]:
            _shrink([p for p in group["params"] if p.grad is not None], 1.0 - group["lr"] * group["weight_decay"])
            group["decoupled_decay"], group["weight_decay"] = group["weight_decay"], 0.0


def _put_back(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    for group in optimizer.param_groups:
        if "decoupled_decay" in group:
            group["weight_decay"] = group.pop("decoupled_decay")


@torch.no_grad()
def _shrink(parameters: list[Tensor], factor: float) -> None:
    if parameters:
        torch._foreach_mul_(parameters, factor)


class SGDKernel(_Decoupled, torch.optim.SGD):
    """torch's SGD with decoupled weight decay."""


class AdadeltaKernel(_Decoupled, torch.optim.Adadelta):
    """torch's Adadelta, whose epsilons stand where Keras's stand, with decoupled weight decay."""


class AdagradKernel(_Decoupled, torch.optim.Adagrad):
    """g / sqrt(sum + epsilon): the sum starts at its initial value plus epsilon, and torch's own epsilon, outside the root, is 0."""

    def __init__(self, parameters: Any, *, initial: float, epsilon: float, **settings: Any) -> None:
        super().__init__(parameters, initial_accumulator_value=initial + epsilon, eps=0.0, **settings)


class AdamKernel(_Hooked, torch.optim.AdamW):
    """m / (sqrt(v) + epsilon), scaled by sqrt(1 - beta2^t) / (1 - beta1^t) (Kingma & Ba 2015, the form before section 2.1).

    torch adds its epsilon to sqrt(v / (1 - beta2^t)), so here it is epsilon / sqrt(1 - beta2^t), set anew at each step.

    On processors the fused kernel is called without torch's way to it, which takes as long as the kernel itself for a small network.
    Whatever is unusual goes that way.
    """

    def __init__(self, parameters: Any, *, epsilon: float, **settings: Any) -> None:
        super().__init__(parameters, eps=epsilon, **settings)
        self.defaults |= {"epsilon": epsilon, "updates": 0}
        for group in self.param_groups:
            group |= {"epsilon": epsilon, "updates": 0}

    def _hook(self) -> None:
        self.register_step_pre_hook(_set_epsilon)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns what the closure returned."""
        if closure is not None or self._is_unusual():
            return _torchs_adamw_step(self, closure)
        states = iter(self.state.values())
        with torch.no_grad():
            for group in self.param_groups:
                own = [next(states) for _ in group["params"]]
                steps = [state["step"] for state in own]
                torch._foreach_add_(steps, 1)
                torch._fused_adamw_(
                    group["params"],
                    [parameter.grad for parameter in group["params"]],
                    [state["exp_avg"] for state in own],
                    [state["exp_avg_sq"] for state in own],
                    [],
                    steps,
                    lr=group["lr"],
                    beta1=group["betas"][0],
                    beta2=group["betas"][1],
                    weight_decay=group["weight_decay"],
                    eps=next_epsilon(group, group["betas"][1]),
                    amsgrad=False,
                    maximize=group["maximize"],
                )
        return None

    step.hooked = True  # type: ignore[attr-defined]  # or torch would wrap it, which is half of the time

    def _is_unusual(self) -> bool:
        """Whether torch's step would do more, or something else, than one fused kernel for each group."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        return (
            [*map(id, self.state)] != [*map(id, parameters)]  # at first; where some never had a gradient
            or not all(self.state.values())  # reading makes an empty one
            or not all(map(_is_usual_group, self.param_groups))
            or not _are_usual(parameters)
            or list(self._optimizer_step_pre_hooks.values()) != [_set_epsilon]
            or bool(self._optimizer_step_post_hooks)
            or bool(torch_optimizer._global_optimizer_pre_hooks or torch_optimizer._global_optimizer_post_hooks)
            or hasattr(self, "grad_scale")
            or hasattr(self, "found_inf")
            or torch._C._autograd._profiler_enabled()
            or torch.compiler.is_compiling()
        )


# torch wraps the step of a class when its first object is made: without that, so that the hooks run once.
_torchs_adamw_step = torch.optim.Optimizer.profile_hook_step(
    inspect.unwrap(torch.optim.AdamW.step, stop=lambda step: not getattr(step, "hooked", False))
)


def _is_usual_group(group: dict[str, Any]) -> bool:
    plain = type(group["lr"]) is float and all(type(beta) is float for beta in group["betas"])
    others = group["amsgrad"] or group["capturable"] or group["differentiable"]
    return bool(group["fused"] and plain and group["decoupled_weight_decay"] and not others and group["params"])


def _are_usual(parameters: list[Tensor]) -> bool:
    dtype = parameters[0].dtype if parameters else None
    gradients = [parameter.grad for parameter in parameters]
    # as sets of what there is, for a call for each of them would cost half of what is saved
    kinds = {(type(parameter), parameter.is_cpu, parameter.dtype) for parameter in parameters}
    other = {(type(grad), grad.dtype, grad.layout) for grad in gradients if grad is not None}
    plain = kinds == {(nn.Parameter, True, dtype)} and other == {(Tensor, dtype, torch.strided)}
    return plain and all(grad is not None for grad in gradients)


def _set_epsilon(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group["eps"] = next_epsilon(group, group["betas"][1])


def next_epsilon(group: dict[str, Any], beta2: float) -> float:
    """Counts an update of the group and returns the epsilon with which torch's Adam makes it as Keras's does."""
    group["updates"] += 1
    return float(group["epsilon"] / math.sqrt(1.0 - beta2 ** group["updates"]))


class RMSpropKernel(torch.optim.Optimizer):
    """lr g / sqrt(v + epsilon): epsilon inside the root, where torch's RMSprop has it outside (Hinton 2012, lecture 6e)."""

    def __init__(self, parameters: Any, **settings: Any) -> None:
        super().__init__(parameters, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns what the closure returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(group, parameters, [p.grad for p in parameters])
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        lr, rho, epsilon = group["lr"], group["rho"], group["epsilon"]
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1.0 - lr * group["weight_decay"])
        velocities = kept(self, "velocity", parameters)
        torch._foreach_mul_(velocities, rho)
        torch._foreach_addcmul_(velocities, grads, grads, value=1.0 - rho)
        roots = torch._foreach_add(velocities, epsilon)
        if group["centered"]:
            means = kept(self, "mean", parameters)
            torch._foreach_lerp_(means, grads, 1.0 - rho)
            torch._foreach_addcmul_(roots, means, means, value=-1.0)
            torch._foreach_clamp_min_(roots, epsilon)  # a variance that rounding made negative would give NaN
        torch._foreach_sqrt_(roots)
        if group["momentum"]:
            momenta = kept(self, "momentum", parameters)
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_addcdiv_(momenta, grads, roots, value=lr)
            torch._foreach_sub_(parameters, momenta)
        else:
            torch._foreach_addcdiv_(parameters, grads, roots, value=-lr)


def kept(optimizer: torch.optim.Optimizer, name: str, parameters: list[Tensor]) -> list[Tensor]:
    """The state `name` of each parameter; zeros at first."""
    tensors = []
    for parameter in parameters:
        state = optimizer.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        tensors.append(state[name])
    return tensors
