"""Fine-tuning in two phases: the class layer on what the frozen network gives, then all of it at lower rates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.data.augment import composed
from lamina.data.loader import Augment
from lamina.models.model import Model
from lamina.networks import contract
from lamina.training import Callback, History, transfer
from lamina.training.checkpoint import CHECKPOINT, CONFIG, PREVIOUS
from lamina.training.progress import reporter
from lamina.training.runtime import evaluating

if TYPE_CHECKING:
    from lamina.models.pictured import Pictured

HEAD = "head"  # the folder of the first phase, in that of the run
_BATCH = 64  # pictures at a time, where features are computed


@dataclass(frozen=True)
class Plan:
    """What is told to the second phase alone, and where the run is kept."""

    epochs: int
    augment: Augment | None
    run: str | None
    resume: bool
    checkpoint_every: int | None = None
    log_every: int | None = None


def fine_tune(
    model: Pictured,
    train: Any,
    held: Any,
    *,
    freeze_epochs: int,
    rates: tuple[float, float],
    freeze_statistics: bool,
    told: Mapping[str, Any],
    plan: Plan,
) -> History:
    """Trains the class layers of a model's network, then all of it, at `rates` (see depth_rates: rate, decay).

    `told` are arguments of both calls of `fit`. What is wrong with any of them is said before the first phase.
    """
    rate, decay = rates
    groups = transfer.depth_rates(model.net, rate=rate, decay=decay, heads=contract.class_layers(model.net))
    composed(plan.augment)
    reporter(told["verbose"])
    goes_on = _goes_on(plan)
    split, first = model.split, History()
    fixed = {**told, "validation_data": held, "validation_split": 0.0}
    keeps = _Keeps(split)
    if freeze_epochs and not goes_on:
        began, features = time.perf_counter(), _features(model, train, held)
        reporters = reporter(told["verbose"], epochs=freeze_epochs + plan.epochs)
        quiet = {**fixed, "verbose": 0, "callbacks": [keeps, *told["callbacks"], *reporters]}
        if features is None:
            try:
                first = _frozen_fit(model, train, freeze_epochs, plan, quiet)
            finally:
                model.unfreeze()
            freeze_epochs = max(freeze_epochs, len(first.epoch))  # a run that went on may have had more
        else:
            if reporters and model.runtime.world.is_main:
                print(
                    f"What the frozen network gives for each of {len(train) + (0 if held is None else len(held)):,} pictures "
                    f"was computed in {time.perf_counter() - began:.1f} s; now the class layer learns from that."
                )
            first = _fit_head(model, features, freeze_epochs, {**told, "callbacks": reporters})
    model.unfreeze()
    if freeze_statistics:
        transfer.freeze_statistics(model.net)
    compiled = model._compiled or {}
    own = compiled["update"].get("groups", ())
    by_depth = {**compiled["update"], "groups": (*groups, *(own if isinstance(own, list | tuple) else (own,)))}
    model._compiled, model._step = {**compiled, "update": by_depth}, None
    fixed["callbacks"] = [keeps, _Before(first), *told["callbacks"]]
    try:
        return model.fit(
            train,
            epochs=freeze_epochs + plan.epochs,
            initial_epoch=freeze_epochs,
            augment=plan.augment,
            run=plan.run,
            resume=True,  # whether it may was asked above, and now the first phase may lie there
            checkpoint_every=plan.checkpoint_every,
            log_every=plan.log_every,
            **fixed,
        )
    finally:
        model._compiled, model._step, model.split = compiled, None, split


class _Keeps(Callback):
    """Has the files of a phase tell what was held out: each phase is a `fit` that is given the parts, and would know of none."""

    def __init__(self, split: dict[str, Any]) -> None:
        self._split = split

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        self.model.split = self._split


class _Before(Callback):
    """Puts the epochs of the first phase in front of the history; a run that goes on has them already, and none are given."""

    def __init__(self, history: History) -> None:
        self._history = history

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        for row, epoch in enumerate(self._history.epoch):
            self.loop.history.append(epoch, {name: each[row] for name, each in self._history.history.items()})


def check_epochs(**told: Any) -> None:
    """Raises LaminaError for a count of epochs, by the name of its argument, that is none."""
    for name, count in told.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise LaminaError(
                f"{name} is {count!r}.", "A whole number was expected, 0 or more.", f"Pass for example {name}=1."
            )


def _goes_on(plan: Plan) -> bool:
    """Whether the second phase of the run has begun. Raises where there is a run that is not to go on."""
    if plan.run is None:
        return False
    folder = Path(plan.run)
    begun = any((folder / name).exists() for name in (CHECKPOINT, PREVIOUS))
    if not plan.resume and (begun or (folder / CONFIG).exists() or (folder / HEAD).exists()):
        raise LaminaError(
            f"{folder} already holds a run.",
            "A run is not written over another.",
            "Go on with it by resume=True (--resume), or choose another folder.",
        )
    return begun


def _frozen_fit(model: Pictured, train: Any, epochs: int, plan: Plan, told: Mapping[str, Any]) -> History:
    """The first phase as a `fit` of the frozen network, with a run of its own where there is one."""
    model.freeze()
    run = None if plan.run is None else Path(plan.run) / HEAD
    every = None if run is None else plan.checkpoint_every
    compiled = model._compiled or {}
    update = {
        name: value for name, value in compiled["update"].items() if name != "average"
    }  # of the second phase alone
    model._compiled, model._step = {**compiled, "update": update}, None
    try:
        return model.fit(
            train, epochs=epochs, augment=plan.augment, run=run, resume=plan.resume, checkpoint_every=every, **told
        )
    finally:
        model._compiled, model._step = compiled, None


@dataclass(frozen=True)
class _Features:
    layer: nn.Linear
    train: tuple[Tensor, Tensor]
    held: tuple[Tensor, Tensor] | None


def _features(model: Pictured, train: Any, held: Any) -> _Features | None:
    """What the class layer is given for each picture (N D); None where the pictures are not in memory, or the network
    does not end in one linear layer, or many processes train.
    """
    names = contract.class_layers(model.net)
    layer = model.net.get_submodule(names[0]) if len(names) == 1 else None
    if not isinstance(layer, nn.Linear) or model.runtime.world.size > 1 or model.runtime.shards:
        return None
    if not all(part is None or isinstance(getattr(part, "images", None), Tensor) for part in (train, held)):
        return None
    if not _ends_in(model, layer, train.images[:2]):
        return None
    sets = [None if part is None else (_inputs_of(model, layer, part.images), part.labels) for part in (train, held)]
    assert sets[0] is not None
    return _Features(layer, sets[0], sets[1])


def _ends_in(model: Pictured, layer: nn.Module, images: Tensor) -> bool:
    """Whether the network's answer is what the layer gives, one row a picture."""
    given: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: given.append(output))
    try:
        answer = _forward(model, images)
    finally:
        hook.remove()
    return isinstance(answer, Tensor) and len(given) == 1 and given[0].dim() == 2 and torch.equal(answer, given[0])


def _inputs_of(model: Pictured, layer: nn.Module, images: Tensor) -> Tensor:
    given: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0].float().cpu()))
    try:
        for start in range(0, len(images), _BATCH):
            _forward(model, images[start : start + _BATCH])
    finally:
        hook.remove()
    return torch.cat(given)


def _forward(model: Pictured, images: Tensor) -> Any:
    runtime, prepare = model.runtime, model._prepare()
    runtime.place(model.net)
    with evaluating(model.net), torch.inference_mode():
        return model.net(prepare(runtime.put(images)))


def _fit_head(model: Pictured, features: _Features, epochs: int, told: Mapping[str, Any]) -> History:
    """The first phase on features that were computed once: a linear layer is all that is trained. `callbacks` only report."""
    features.layer.requires_grad_(True)
    head = Model(features.layer, name="head")
    compiled = model._told()
    compiled.pop("update")
    head.compile(**compiled, runtime=model.runtime)
    x, y = (value.clone() for value in features.train)  # inference tensors know no gradients
    held = None if features.held is None else tuple(value.clone() for value in features.held)
    plain = {name: told[name] for name in ("batch_size", "callbacks", "seed", "balance")}
    history = head.fit(x, y, epochs=epochs, validation_data=held, verbose=0, **plain)
    features.layer.train()
    return history
