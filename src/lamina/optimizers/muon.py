"""Muon: momentum, orthogonalised (Jordan 2024, https://kellerjordan.github.io/posts/muon/), and Adam for what is no matrix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam

from lamina.optimizers.kernels import kept, next_epsilon

COEFFICIENTS = (
    3.4445,
    -4.7750,
    2.0315,
)  # the quintic with the steepest start that keeps singular values in about 0.7 .. 1.2


def orthogonalize(matrices: Float[Tensor, "*N R C"], *, steps: int = 5) -> Float[Tensor, "*N R C"]:
    """Nearly U V^T of a matrix U S V^T, or of each of N, by the iteration X <- (a + b X X^T + c (X X^T)^2) X (Newton-Schulz).

    The polynomials P = a + b A + c A^2 of A = X X^T commute with A, so where X is wide the small A is iterated, A <- P A P,
    and X is multiplied once, by the product of all P.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(torch.promote_types(matrices.dtype, torch.float32))
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    rows, columns = x.shape[-2:]
    if (
        steps and columns >= 2 * rows and rows * rows * columns > 200_000
    ):  # below, the calls cost more than the arithmetic
        x = _polynomials(x @ x.mT, steps) @ x
    else:
        a, b, c = COEFFICIENTS
        plus_product = torch.addmm if x.dim() == 2 else torch.baddbmm
        for _ in range(steps):
            gram = x @ x.mT
            x = plus_product(x, plus_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _polynomials(gram: Tensor, steps: int) -> Tensor:
    a, b, c = COEFFICIENTS
    plus_product = torch.addmm if gram.dim() == 2 else torch.baddbmm
    product: Tensor | None = None
    for step in range(steps):
        polynomial = plus_product(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        if step < steps - 1:
            gram = polynomial @ (polynomial @ gram)
    assert product is not None
    return product


class MuonKernel(torch.optim.Optimizer):
    """Parameters of two and more dimensions follow their orthogonalised momentum, convolutions flattened to (out, -1); the rest Adam.

    Each group of parameters becomes up to two: matrices (`use_muon` True) and the rest (False, with its learning rate times
    `adam_lr_ratio`). A group that comes with use_muon=False, such as an embedding or the last layer, goes to Adam whole.
    """

    def __init__(self, parameters: Any, **settings: Any) -> None:
        super().__init__(parameters, {**settings, "updates": 0})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds the matrices of a group and what is none as two groups."""
        given = param_group["params"]
        parameters = [given] if isinstance(given, Tensor) else list(given)
        matrices = [p for p in parameters if p.dim() >= 2 and param_group.get("use_muon", True)]
        taken = {id(p) for p in matrices}
        rest = [p for p in parameters if id(p) not in taken]
        if matrices:
            super().add_param_group({**param_group, "params": matrices, "use_muon": True})
        if rest:
            ratio = self.defaults["adam_lr_ratio"]
            lr = param_group.get("lr", self.defaults["lr"]) * ratio
            decay = param_group.get("weight_decay", self.defaults["adam_weight_decay"])
            decay = decay / ratio if ratio else 0.0  # Keras's decay goes by the undivided learning rate
            super().add_param_group({**param_group, "params": rest, "use_muon": False, "lr": lr, "weight_decay": decay})

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
                update = self._update_matrices if group["use_muon"] else self._update_rest
                update(group, parameters, [p.grad for p in parameters])
        return loss

    def _update_matrices(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1.0 - lr * group["weight_decay"])
        momenta = kept(self, "momentum", parameters)
        torch._foreach_mul_(momenta, momentum)
        torch._foreach_add_(momenta, grads)
        directions = torch._foreach_add(grads, momenta, alpha=momentum) if group["nesterov"] else momenta
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, direction in zip(parameters, directions, strict=True):
            alike[tuple(parameter.shape)].append((parameter, direction.flatten(1)))
        for shape, pairs in alike.items():  # matrices of one shape in one go
            matrices = [direction for _, direction in pairs]
            rate = lr * _scale(*matrices[0].shape, rms_rate=group["rms_rate"])
            if len(matrices) == 1:
                updates = [orthogonalize(matrices[0], steps=group["ns_steps"])]
            else:
                updates = list(orthogonalize(torch.stack(matrices), steps=group["ns_steps"]))
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.add_(update.reshape(shape), alpha=-rate)

    def _update_rest(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if "step" not in state:
                state["step"] = torch.zeros((), device=parameter.device if group["fused"] else "cpu")
        adam(
            parameters,
            grads,
            kept(self, "exp_avg", parameters),
            kept(self, "exp_avg_sq", parameters),
            [],
            [self.state[parameter]["step"] for parameter in parameters],
            fused=group["fused"],
            foreach=not group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=next_epsilon(group, group["betas"][1]),
            maximize=False,
            decoupled_weight_decay=True,
        )


def _scale(rows: int, columns: int, *, rms_rate: float | None) -> float:
    """Makes the root mean square of an update `rms_rate`, about Adam's (Liu 2025, arXiv:2502.16982, eq. 4); None leaves it."""
    return 1.0 if rms_rate is None else float(rms_rate * max(rows, columns) ** 0.5)
