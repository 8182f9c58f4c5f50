"""The arithmetic of ensembles: answers that are averaged, weights learned on validation data, figures of averaged answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lamina.core.errors import LaminaError, ShapeError
from lamina.models.model import Model
from lamina.training import Runtime

Average = Literal["probs", "logits"]

_STEPS = 100  # of L-BFGS over a handful of numbers
_LEAST = 1e-12  # probability; a member that gives a true class none would make the likelihood infinite


def combine(
    probs: Float[np.ndarray, "M N K"], weights: Sequence[float], *, average: Average = "probs"
) -> Float[np.ndarray, "N K"]:
    """The weighted mean of the members' probabilities, or the softmax of that of their logits.

    Logits are log-probabilities but for a constant in each row, which the softmax takes out: members that end in a softmax
    can be averaged so too. It is the geometric mean, which a member that is sure of a "no" can veto.
    """
    mixed = _mixed(torch.as_tensor(probs).double(), torch.tensor(list(weights), dtype=torch.float64), average)
    return mixed.exp().float().numpy()


def learned_weights(
    probs: Float[np.ndarray, "M N K"], labels: Int64[np.ndarray, " N"], *, average: Average = "probs"
) -> tuple[float, ...]:
    """The convex weights (at least 0, of sum 1) of least cross-entropy on these samples.

    Found by L-BFGS over numbers whose softmax they are, from equal weights; the cross-entropy is convex in the weights for
    both kinds of average, so there is one minimum.
    """
    values, goals = torch.as_tensor(probs).double(), torch.as_tensor(labels)
    if values.dim() != 3 or goals.shape != values.shape[1:2]:
        raise ShapeError(
            f"Probabilities {tuple(values.shape)} came with labels {tuple(goals.shape)}.",
            "(members, samples, classes) and (samples) were expected.",
            "Pass the answers of all members to the same samples.",
        )
    free = torch.zeros(len(values), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        mixed = _mixed(values, torch.softmax(free, 0), average)
        loss = -mixed[torch.arange(len(goals)), goals].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return tuple(round(float(weight), 6) for weight in torch.softmax(free.detach(), 0))


def _mixed(probs: Tensor, weights: Tensor, average: Average) -> Tensor:
    """Log-probabilities of the mean, (N K)."""
    if average == "probs":
        return torch.einsum("m,mnk->nk", weights, probs).clamp_min(_LEAST).log()
    return torch.log_softmax(torch.einsum("m,mnk->nk", weights, probs.clamp_min(_LEAST).log()), dim=-1)


class MeanOf(nn.Module):
    """Networks that give probabilities (B K), as one that gives their weighted mean; see `combine`.

    `orders` says for each where it has the classes of the whole.
    """

    def __init__(
        self, nets: Sequence[nn.Module], orders: Sequence[Sequence[int]], weights: Sequence[float], *, average: Average
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.weights, self.average = tuple(weights), average
        for index, order in enumerate(orders):
            self.register_buffer(f"order{index}", torch.tensor(list(order)), persistent=False)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        mixed = torch.zeros((), device=images.device)
        for index, (net, weight) in enumerate(zip(self.nets, self.weights, strict=True)):
            probs = net(images).float().index_select(1, self.get_buffer(f"order{index}"))
            mixed = mixed + weight * (probs if self.average == "probs" else probs.clamp_min(_LEAST).log())
        return mixed if self.average == "probs" else torch.softmax(mixed, dim=-1)


def checked_weights(weights: Sequence[float] | None, members: int) -> tuple[float, ...]:
    """Weights of sum 1, equal where nobody says. Raises LaminaError for a wrong number of them, or a negative one."""
    if weights is None:
        return (1 / members,) * members
    values = tuple(float(weight) for weight in weights)
    if len(values) != members or not all(value >= 0 for value in values) or not 0 < sum(values) < float("inf"):
        raise LaminaError(
            f"weights are {values}.",
            f"One number for each of the {members} members was expected, none below 0, and not all 0.",
            "Leave them out for equal ones, or learn them: ensemble.learn_weights(validation).",
        )
    return tuple(value / sum(values) for value in values)


def figures(
    compiled: Mapping[str, Any],
    probs: Float[np.ndarray, "N K"],
    labels: np.ndarray[Any, Any],
    *,
    multi_label: bool = False,
) -> dict[str, float]:
    """The loss and metrics that a classifier was compiled with, of probabilities that were computed already.

    Logarithms of probabilities are logits (with `multi_label` those of the odds), so any loss and metric of logits can be asked.
    """
    scorer = Model(nn.Identity(), name="scores")
    told = {name: compiled[name] for name in ("loss", "metrics", "loss_weights") if name in compiled}
    scorer.compile(**told, runtime=Runtime("cpu"))
    logits = np.log(np.clip(probs, _LEAST, None).astype(np.float64))
    if multi_label:
        logits -= np.log(np.clip(1 - probs.astype(np.float64), _LEAST, None))
    return scorer.evaluate(logits.astype(np.float32), labels)
