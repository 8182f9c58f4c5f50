"""Weights that follow the trained ones: moving and equal averages to evaluate with, slow weights to go on from."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lamina.core.errors import LaminaError, unknown_name
from lamina.core.warnings import warn
from lamina.optimizers.schedules.schedule import require_share
from lamina.training.batches import batches_of
from lamina.training.recalibrating import followers, remeasure
from lamina.training.world import World, spread, wide

_RECALIBRATED = 64  # batches that BatchNorm's statistics are measured on


class Average(Protocol):
    """How weights are averaged over updates."""

    def share(self, made: int, progress: float, /) -> float:
        """What the weights after an update count in the average, 0 to 1: `made` others are in it, at `progress` 0..1 of training."""
        ...


@dataclass(frozen=True)
class EMA:
    """Exponential moving average a <- d a + (1 - d) w, d = min(decay, (1 + n) / (10 + n)) after n updates (Polyak & Juditsky 1992).

    The first update's weights are the first average; d climbs so that early weights are forgotten.
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        require_share("EMA: decay", self.decay)

    def share(self, made: int, progress: float) -> float:
        """1 - d."""
        return 1.0 - min(self.decay, (1 + made) / (10 + made)) if made else 1.0


@dataclass(frozen=True)
class SWA:
    """The mean of the weights after each update from the share `start` of training on (Izmailov 2018, arXiv:1803.05407, eq. 1).

    BatchNorm's statistics belong to other weights: `recalibrate` them under the averaged ones before evaluating.
    """

    start: float = 0.75

    def __post_init__(self) -> None:
        require_share("SWA: start", self.start)

    def share(self, made: int, progress: float) -> float:
        """1 / (n + 1), and 0 before the start."""
        return 0.0 if progress <= self.start else 1.0 / (made + 1)


@dataclass(frozen=True)
class WiSE:
    """(1 - alpha) w0 + alpha w, between the weights before the first update and those of now (Wortsman 2022, arXiv:2109.01903, eq. 1).

    For fine-tuning: the network keeps more of what it knew. BatchNorm's statistics are measured anew as for SWA.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        require_share("WiSE: alpha", self.alpha)

    def share(self, made: int, progress: float) -> float:
        """alpha."""
        return self.alpha


AVERAGES: dict[str, Callable[[], Average]] = {"ema": EMA, "swa": SWA, "wise": WiSE}


def get(average: Average | str) -> Average:
    """The average of a name, with its usual settings, or the object itself. Raises UnknownNameError and LaminaError."""
    if isinstance(average, str):
        if average not in AVERAGES:
            raise unknown_name("average", average, AVERAGES)
        return AVERAGES[average]()
    if isinstance(average, type) or not hasattr(average, "share"):
        raise LaminaError(
            f"average is {average!r}.",
            "An object such as EMA(decay=0.999) or SWA(start=0.75) was expected.",
            "Write training.EMA() for a moving average.",
        )
    return average


class AveragedWeights:
    """The averaged parameters and floating buffers of some networks. Half precisions are averaged in float32.

    Buffers that are not finite (a mask of -inf) and integers are left as the networks have them.
    """

    def __init__(self, rule: Average, networks: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
        self.rule, self.made = rule, 0
        self._parameters = list(parameters)
        self._modules = list(dict.fromkeys(module for network in networks for module in network.modules()))
        self._owners: list[tuple[nn.Module, str]] = []  # of the buffers in the average: modules may replace the tensors
        self._tensors: list[Tensor] = []
        self.warned = False  # that BatchNorm's statistics cannot be measured
        self._networks = list(networks)
        self._norms: list[_BatchNorm] | None = None  # that followed the batches when the weights were last taken in
        self._measured: tuple[Any, list[Tensor]] = (None, [])  # BatchNorm's statistics, and what they belong to
        self._is_swapped = False

    @property
    def moves(self) -> bool:
        """Whether it is a moving average, which BatchNorm's buffers move with. Of any other they are measured anew, and it may ask
        how far training has come.
        """
        return isinstance(self.rule, EMA)

    def restart(self) -> None:
        """Forgets what was averaged."""
        self.made, self._tensors, self._norms, self._measured = 0, [], None, (None, [])

    def begin(self) -> None:
        """Before an update."""
        if isinstance(self.rule, WiSE) and self.made == 0:
            self._take()

    @torch.no_grad()
    def follow(self, progress: float) -> None:
        """Takes in the weights after an update."""
        share = self.rule.share(self.made, progress)
        if isinstance(self.rule, WiSE):
            pass  # of it the weights that come last are all that counts
        elif share <= 0.0:
            return
        elif self.made == 0:
            self._take()
        else:
            torch._foreach_lerp_(self._tensors, [_wide(tensor) for tensor in self._live()], share)
        self.made += 1
        if (
            self._norms is None
        ):  # now, while the networks train: whoever looks at the average may have put them in eval mode
            self._norms = [norm for net in self._networks for norm in followers(net)]

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """The averaged weights stand in the networks for a while; afterwards all is as it was, BatchNorm's counters too."""
        if self.made == 0 or self._is_swapped:
            yield
            return
        whole = [*self._parameters, *(b for module in self._modules for b in module._buffers.values() if b is not None)]
        kept = [tensor.detach().clone() for tensor in whole]
        _put(self._live(), self._now())
        _reshard(self._modules)
        self._is_swapped = True
        try:
            yield
        finally:
            self._is_swapped = False
            _put(whole, kept)
            _reshard(self._modules)

    @property
    def norms(self) -> list[_BatchNorm]:
        """The BatchNorms whose statistics are measured anew."""
        return [norm for net in self._networks for norm in followers(net)] if self._norms is None else self._norms

    @torch.no_grad()
    def measure(self, norms: Sequence[_BatchNorm], age: Any, step: Any, batches: Iterable[Any]) -> None:
        """Gives BatchNorms the statistics under the averaged weights; those of the same `age` (updates made) are still known."""
        buffers = [buffer for norm in norms for buffer in norm.buffers()]
        if self._measured[0] != age:
            net = nn.ModuleList(step.networks.values())
            remeasure(norms, net, _first_of(batches), step.forward)
            World.current().broadcast(net, buffers_only=True)  # each has measured on its own part
            self._measured = (age, [buffer.clone() for buffer in buffers])
        _put(buffers, self._measured[1])

    def join(self, world: World) -> None:
        """Gives all processes the buffers of the first one's average: each has followed those of its own batches."""
        if self.made:
            world.broadcast_tensors(self._tensors[len(self._parameters) :])

    def _take(self) -> None:
        self._owners = self._finite_buffers()
        self._tensors = [_wide(tensor).clone() for tensor in self._live()]

    @torch.no_grad()
    def _now(self) -> list[Tensor]:
        """The average as it is."""
        if not isinstance(self.rule, WiSE):
            return self._tensors
        return list(torch._foreach_lerp(self._tensors, [_wide(tensor) for tensor in self._live()], self.rule.alpha))

    def _live(self) -> list[Tensor]:
        buffers = [module._buffers[name] for module, name in self._owners]
        return [*(p.detach() for p in self._parameters), *(b for b in buffers if b is not None)]

    def _finite_buffers(self) -> list[tuple[nn.Module, str]]:
        return [
            (module, name)
            for module in self._modules
            for name, buffer in module._buffers.items()
            if buffer is not None and buffer.is_floating_point() and bool(buffer.isfinite().all())
        ]

    def state_dict(self) -> dict[str, Any]:
        """The average so far."""
        names = {id(module): index for index, module in enumerate(self._modules)}
        return {
            "made": self.made,
            "tensors": list(self._tensors) if self.made else [],  # else of an update that was skipped
            "buffers": [[names[id(module)], name] for module, name in self._owners] if self.made else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.made, self._measured = state["made"], (None, [])
        self._owners = [(self._modules[index], name) for index, name in state["buffers"]]
        like = self._live() if self.made else []
        self._tensors = [
            torch.empty_like(_wide(live)).copy_(spread(saved, live))
            for live, saved in zip(like, state["tensors"], strict=True)
        ]


@dataclass(frozen=True)
class Lookahead:
    """Every `k` updates the slow weights go the share `alpha` of the way to the fast ones, which go on from there.

    (Zhang 2019, arXiv:1907.08610, algorithm 1.) The optimizer keeps its momentum.
    """

    k: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        require_share("Lookahead: alpha", self.alpha)
        if self.k < 1 or self.k != int(self.k):
            raise LaminaError(
                f"Lookahead: k is {self.k}.", "A number of updates, at least 1, was expected.", "Usual is 5."
            )


class SlowWeights:
    """The slow weights of `Lookahead`; at first those before the first update."""

    def __init__(self, rule: Lookahead, networks: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
        self.rule = rule
        self._parameters = list(parameters)
        self._modules = [module for network in networks for module in network.modules()]
        self._slow: list[Tensor] = []

    def restart(self) -> None:
        """Forgets the slow weights: others have taken the place of the fast ones."""
        self._slow = []

    def begin(self) -> None:
        """Before an update."""
        if not self._slow:
            self._slow = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def follow(self, count: int) -> None:
        """After the `count`-th update, counted from 1."""
        if count % self.rule.k == 0:
            fast = [p.detach() for p in self._parameters]
            torch._foreach_lerp_(self._slow, fast, self.rule.alpha)
            _put(fast, self._slow)
            _reshard(self._modules)

    def state_dict(self) -> dict[str, Any]:
        """The slow weights."""
        return {"tensors": list(self._slow)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        like = self._parameters if state["tensors"] else []
        self._slow = [
            torch.empty_like(p.detach()).copy_(spread(saved, p))
            for p, saved in zip(like, state["tensors"], strict=True)
        ]


@contextlib.contextmanager
def averaged(step: Any, batches: Iterable[Any]) -> Iterator[None]:
    """The averaged weights stand in a step's networks, to evaluate or to save; afterwards all is as it was, bit for bit.

    BatchNorm's statistics are those of an average that moves with it; for any other they are measured on the first batches, by
    all processes together, once for each state of the weights.
    """
    made = [update.average for update in step.updates.values() if update.average is not None and update.average.made]
    equal = [average for average in made if not average.moves]
    norms = list(dict.fromkeys(norm for average in equal for norm in average.norms))
    with contextlib.ExitStack() as stack:
        for average in made:
            stack.enter_context(average.swapped())
        if equal and hasattr(step, "forward") and not hasattr(batches, "__next__"):
            equal[0].measure(norms, [(update.count, update.skipped) for update in step.updates.values()], step, batches)
        elif equal and not equal[0].warned and norms:
            equal[0].warned = True
            _warn_unmeasured(step)
        yield


def _warn_unmeasured(step: Any) -> None:
    why = (
        "an iterator's batches are gone once used"
        if hasattr(step, "forward")
        else "the step has no method forward(batch)"
    )
    warn(
        f"BatchNorm's statistics are not measured under the averaged weights, for {why}: figures and saved models of these weights "
        "may be worse than they are. Give batches that can be begun anew and the step a forward(batch), or average by EMA()."
    )


def _first_of(batches: Any) -> Iterator[Any]:
    """Some training batches, as many on each process: a synchronised BatchNorm wants them in step."""
    whole = getattr(batches, "batches", batches)  # images that grow with the epochs, at their full size
    with contextlib.closing(batches_of(whole, 0, seed=0)) as iterator:  # type: ignore[type-var]
        yield from itertools.islice(iterator, _RECALIBRATED)


def _reshard(modules: Sequence[Any]) -> None:
    """Lets parameters that are spread over processes be gathered anew: a pass without a backward leaves the root's whole."""
    for module in modules:
        if hasattr(module, "reshard"):
            module.reshard()


@torch.no_grad()
def _put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(
        tensors, values, strict=True
    ):  # one by one: torch knows no _foreach_copy_ of sharded tensors
        tensor.copy_(value)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().to(wide(tensor.dtype))
