"""One optimizer with all that belongs to it. A step calls `update(loss)`; nobody else writes zero_grad, backward or step."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina import optimizers
from lamina.core import random
from lamina.core.errors import LaminaError
from lamina.core.warnings import warn
from lamina.optimizers import schedules
from lamina.optimizers.schedules import Schedule
from lamina.training import averaging, gradients
from lamina.training.averaging import Average, AveragedWeights, Lookahead, SlowWeights
from lamina.training.gradients import Count, Window
from lamina.training.rates import Rates
from lamina.training.runtime import Runtime
from lamina.training.scaling import LossScale
from lamina.training.world import spread_optimizer

Loss = Tensor | Callable[[], Tensor]

_ALIVE: weakref.WeakSet[Update] = weakref.WeakSet()  # where parameters are sharded, an update has to know of the others


class Update:
    """Makes the parameters of some networks follow a loss.

    `update(loss)` differentiates the loss with respect to *these* parameters only, so a generator's loss leaves nothing in
    the discriminator. An optimizer that evaluates the loss several times (L-BFGS) wants `update(closure)`, where the closure
    computes the loss under autocast and neither clears gradients nor differentiates.

    `schedule` maps the progress 0..1 over the planned updates to a factor of the learning rate; one with `unit = "epochs"` is
    asked with the epoch. `groups` have rates and weight decays of their own. `accumulate` losses make one update, each weighed by its
    `count`; `flush` makes the last one of an epoch. Gradients are clipped to a global norm of `clip_norm` or each entry to
    +-`clip_value`. `average` follows the weights, to evaluate with (an object, "ema", "swa" or "wise"); `lookahead` pulls them back. In
    float16 the loss is scaled.
    """

    def __init__(
        self,
        networks: nn.Module | Iterable[nn.Module],
        optimizer: optimizers.OptimizerLike = "adam",
        *,
        runtime: Runtime | None = None,
        schedule: Schedule | None = None,
        groups: optimizers.Group | Sequence[optimizers.Group] = (),
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: Average | str | None = None,
        lookahead: Lookahead | None = None,
    ) -> None:
        modules = [networks] if isinstance(networks, nn.Module) else list(networks)
        self.parameters = list(dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad))
        if not self.parameters:
            raise LaminaError(
                "The networks of this update have no trainable parameters.",
                "An optimizer needs at least one parameter with requires_grad=True.",
                "Unfreeze a layer, or build the network before training it.",
            )
        _check(accumulate, clip_norm, clip_value)
        runtime = runtime or Runtime()
        entries: Any = optimizers.groups.arrange(modules, groups) if groups else self.parameters
        self._sharded = any(hasattr(p, "placements") for p in self.parameters)
        fused = (
            runtime.fused and not self._sharded
        )  # of sharded tensors torch knows fused Adam, and neither SGD nor Adagrad
        self.optimizer: torch.optim.Optimizer = optimizers.build(optimizer, entries, fused=fused)
        self.needs_closure = isinstance(self.optimizer, torch.optim.LBFGS)
        self.accumulate = accumulate
        self.count = 0  # updates made
        self.skipped = 0  # updates left out because a gradient was not finite
        self._rates = Rates(self.optimizer, schedule)
        self._clip_norm, self._clip_value, self._guarded = clip_norm, clip_value, False
        self._graphs = getattr(runtime, "graphs", False)
        world = getattr(runtime, "world", None)
        self._world = world if world is not None and world.size > 1 else None
        self._window = Window(accumulate, world=self._world)
        rule = None if average is None else averaging.get(average)
        self.average = None if rule is None else AveragedWeights(rule, modules, self.parameters)
        self._slow = None if lookahead is None else SlowWeights(lookahead, modules, self.parameters)
        self._scale = LossScale(self.optimizer, runtime.device) if runtime.precision == "float16" else None
        if self.needs_closure and (accumulate > 1 or clip_norm or clip_value or self._scale):
            raise LaminaError(
                f"{type(self.optimizer).__name__} was given accumulation, clipping or float16.",
                "Its line search compares values and slopes of one and the same function.",
                'Leave accumulate, clip_norm and clip_value out, and train in "float32" or "bfloat16".',
            )
        plain = accumulate == 1 and not (clip_norm or clip_value or average or lookahead or self.needs_closure)
        plain = plain and self._world is None and self._scale is None and not self._sharded
        # Chosen here, so that who wants nothing special pays for nothing special.
        self._usual: Callable[[Loss, Count], Tensor] = self._plainly if plain else self._gather
        self._run: Callable[[Loss, Count], Tensor] = self._usual
        _ALIVE.add(self)

    def __call__(self, loss: Loss, *, count: Count = None) -> Tensor:
        """One update (or its share of one) from a scalar loss, or from a closure that computes it; returns the loss, detached.

        `count`: how many samples or tokens the loss is the mean of; a number, or a tensor on the device. It weighs losses that
        make one update together, here or on several processes. None: each call weighs the same.
        """
        return self._run(loss, count)

    def _plainly(self, loss: Loss, count: Count) -> Tensor:
        self._rates.follow(self.count)
        if isinstance(loss, Tensor):
            gradients.clear(self.parameters)
            torch.autograd.backward(loss, inputs=self.parameters)
            self.optimizer.step()
            self.count += 1
            return loss.detach()
        return self._by_closure(loss, None)

    def _gather(self, loss: Loss, count: Count) -> Tensor:
        """A micro-batch, and the update where it was the last of its window."""
        if self.needs_plan:
            self._rates.require_plan()
        if not isinstance(loss, Tensor):
            if self.accumulate == 1 and self._scale is None and not self._guarded:
                self._rates.follow(self.count)
                return self._by_closure(loss, count)
            loss = loss()
        elif self.needs_closure:
            raise LaminaError(
                f"{type(self.optimizer).__name__} was given a loss that is already computed.",
                "It evaluates the loss several times an update and needs a closure.",
                "Call update(closure) with a function that computes and returns the loss.",
            )
        share = self._window.add(count)
        if self._window.made == 1:
            gradients.clear(self.parameters)
        weighed = loss if share is None else loss * share
        self._differentiate(weighed if self._scale is None else self._scale.scale(weighed))
        if self._window.is_full:
            self._step()
        elif self._graphs:  # whose next replay would overwrite gradients that the graph has made
            gradients.copy(self.parameters)
        return loss.detach()

    def flush(self) -> None:
        """Makes the update of a window that has begun and will not be filled, with its true weight: at the end of an epoch."""
        if self._window.made:
            self._step()

    @property
    def is_open(self) -> bool:
        """Whether losses have been gathered that no update was made from."""
        return self._window.made > 0

    def _step(self) -> None:
        """The update of all that was gathered."""
        total = self._window.total
        self._window.clear()
        self._rates.follow(self.count)
        if self._world is not None:
            self._world.average(self.parameters, total)
        else:
            gradients.divide(self.parameters, total)
        if self._scale is not None and gradients.of(self.parameters):
            self._scale.unscale()
        self._clip()
        self._begin()
        if self._guarded and self._scale is None and not gradients.are_finite(self.parameters):
            self.skipped += 1
            return
        if self._scale is None:
            self.optimizer.step()
        elif gradients.of(self.parameters) and not self._scale.step():
            self.skipped += 1
            return
        self._count_up()

    def _by_closure(self, loss: Callable[[], Tensor], count: Count) -> Tensor:
        """An update by an optimizer that may evaluate the loss several times."""
        drawn = random.state()

        def differentiated() -> Tensor:
            random.restore(drawn)  # a line search compares values of one function: dropout must not draw anew
            gradients.clear(self.parameters)
            value = loss()
            if self._world is None:
                self._differentiate(value)
            else:  # all processes see one value, or their searches would part
                weight = 1.0 if count is None else count
                self._differentiate(value * weight)
                self._world.average(self.parameters, weight)
                value = self._world.mean(value, weight)
            self._clip()
            return value

        self._begin()
        value = torch.as_tensor(self.optimizer.step(differentiated)).detach()  # type: ignore[arg-type]
        self._count_up()
        return value

    def _differentiate(self, loss: Tensor) -> None:
        if not self._sharded:
            torch.autograd.backward(loss, inputs=self.parameters)
            return
        # `inputs` would leave every gradient of a sharded network None. Other networks get theirs back as they were.
        others = [p for update in _ALIVE for p in update.parameters]
        own = {id(p) for p in self.parameters}
        kept = [(p, p.grad) for p in others if id(p) not in own]
        gradients.clear([p for p, _ in kept])
        torch.autograd.backward(loss)
        for p, gradient in kept:
            p.grad = gradient

    def _clip(self) -> None:
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self._clip_norm, foreach=True)
        elif self._clip_value is not None:
            torch.nn.utils.clip_grad_value_(self.parameters, self._clip_value, foreach=True)

    def _begin(self) -> None:
        if self._slow is not None:
            self._slow.begin()
        if self.average is not None:
            self.average.begin()

    def _count_up(self) -> None:
        self.count += 1
        if self._slow is not None:
            self._slow.follow(self.count)
        if self.average is not None:
            self.average.follow(0.0 if self.average.moves else self._rates.progress(self.count))

    # Schedule -----------------------------------------------------------------------------------------------------

    def plan(self, updates: int, *, start: int | None = None, epochs: float | None = None) -> None:
        """Lays the schedule over `updates` updates, which are `epochs` epochs, from the next one on, or from the `start`-th."""
        if start is None and self.average is not None and not self.average.moves:
            self.average.restart()  # its start is a share of the training that begins now
        self._rates.plan(self.count if start is None else start, updates, epochs)

    def lay(self, first: int, end: int, batches: int, *, within: bool = False) -> None:
        """The plan of a loop that trains from epoch `first` to `end` with a call a batch; somebody else's stays.

        Each training has one of its own. One that goes on, at a later epoch or `within` its first, keeps the beginning that it had.
        """
        rates = self._rates
        if not self.needs_plan or (self.planned and rates.first is None):
            return
        resumed = rates.goes_on and self.planned and (within or first > (rates.first or 0))
        began = (rates.first or 0) if resumed else first
        epochs = max(end - began, 0)
        if not resumed and (misfit := schedules.check_length(self.schedule, epochs)):
            warn(misfit)
        self.plan(epochs * -(-batches // self.accumulate), start=rates.start if resumed else None, epochs=epochs)
        rates.first = began

    @property
    def needs_plan(self) -> bool:
        """Whether anything here depends on how many updates are to come."""
        return self.schedule is not None or (self.average is not None and not self.average.moves)

    @property
    def planned(self) -> bool:
        """Whether `plan` was called, here or in the run that goes on."""
        return self._rates.planned

    @property
    def planned_from(self) -> int:
        """The update at which the schedule began."""
        return self._rates.start

    @property
    def schedule(self) -> Schedule | None:
        """What the learning rate is multiplied by over time."""
        return self._rates.schedule

    @schedule.setter
    def schedule(self, value: None) -> None:
        self._rates.schedule = value

    @property
    def learning_rate(self) -> float:
        """The base learning rate, before the factors of schedule and groups."""
        return self._rates.rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._rates.rate = value

    # Averages and looking -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights stand in the networks; afterwards all is as it was, bit for bit. Without averages nothing happens."""
        with contextlib.nullcontext() if self.average is None else self.average.swapped():
            yield

    def forget_averages(self) -> None:
        """Begins average and slow weights anew: other weights have taken the place of those that they followed."""
        if self.average is not None:
            self.average.restart()
        if self._slow is not None:
            self._slow.restart()

    def forget_window(self) -> None:
        """Drops losses that were gathered and that no update will be made from, as training that broke off leaves them."""
        self._window.clear()

    def guard(self, on: bool = True) -> bool:
        """From now on an update whose gradients are not finite is left out and counted in `skipped`; waits for the device each time.

        Returns what held before.
        """
        before = self._guarded
        if not self.needs_closure:
            self._guarded, self._run = on, self._gather if on else self._usual
        return before

    # State --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, the count of updates, base rates and plan; averages, slow weights, loss scale, an open window.

        Where there are several processes each must call it: of a window the sums are gathered.
        """
        state = {
            "optimizer": self.optimizer.state_dict(),
            "count": self.count,
            "skipped": self.skipped,
            "rates": self._rates.state_dict(),
        }
        if self.is_open:
            state["window"] = self._window.state_dict(self.parameters)
        return state | {name: part.state_dict() for name, part in self._parts().items()}

    def refuse_other(self, state: dict[str, Any]) -> None:
        """Raises LaminaError where a saved state has an average or slow weights and this update has none, or the other way round."""
        own = {"average": self.average, "lookahead": self._slow}
        if any((name in state) != (part is not None) for name, part in own.items()):
            was = [name for name in own if name in state]
            now = [name for name, part in own.items() if part is not None]
            raise LaminaError(
                f"The saved update has {' and '.join(was) or 'no averages'}, this one {' and '.join(now) or 'none'}.",
                "A run goes on with the average and lookahead that it began with.",
                "Give the same settings.",
            )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave; a loss scale only where this update has one, too. Raises as `refuse_other` does."""
        self.refuse_other(state)
        self.optimizer.load_state_dict(spread_optimizer(state["optimizer"], self.optimizer))
        self.count, self.skipped = state["count"], state["skipped"]
        self._rates.load_state_dict(state["rates"])
        self._window.clear()
        if "window" in state:
            self._window.load_state_dict(state["window"], self.parameters)
        for name, part in self._parts().items():
            if name in state:
                part.load_state_dict(state[name])
        was = state["scale"]["scaler"]["scale"] if "scale" in state else 1.0
        now = 1.0 if self._scale is None else self._scale.factor
        if self.is_open and was != now:  # the precision has changed within a window
            gradients.divide(self.parameters, was / now)

    def _parts(self) -> dict[str, AveragedWeights | SlowWeights | LossScale]:
        parts = {"average": self.average, "lookahead": self._slow, "scale": self._scale}
        return {name: part for name, part in parts.items() if part is not None}


def _check(accumulate: int, clip_norm: float | None, clip_value: float | None) -> None:
    if isinstance(accumulate, bool) or accumulate != int(accumulate) or accumulate < 1:
        raise LaminaError(
            f"accumulate is {accumulate!r}.", "A number of batches, at least 1, was expected.", "1 is every batch."
        )
    for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if value is not None and not value > 0:
            raise LaminaError(
                f"{name} is {value!r}.", "A number above 0 was expected.", "Leave it out to clip nothing."
            )
    if clip_norm is not None and clip_value is not None:
        raise LaminaError(
            f"clip_norm={clip_norm} and clip_value={clip_value} came together.",
            "Gradients are clipped by their norm or by their values.",
            "Leave one of them out.",
        )
