"""What one batch does to some networks. A step of your own needs what `Step` lists and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError, ShapeError
from lamina.losses import Loss
from lamina.metrics import Metric
from lamina.structures.batch import Batch, Logs, Tensors, outputs_of
from lamina.training.runtime import Runtime
from lamina.training.update import Update

_ALONE = "more than 1 value per channel"  # what torch's BatchNorm says of a single value


class Step(Protocol):
    """What the loop repeats. `train` and `evaluate` take one batch, whatever the data yields, and return `Logs`.

    The loop puts `networks` in train or eval mode, saves their state and that of `updates`, and resets, computes and reduces `metrics`.
    A step with state elsewhere (a replay buffer) also has `state_dict` and `load_state_dict`.
    """

    networks: dict[str, nn.Module]
    updates: dict[str, Update]
    metrics: dict[str, Metric]

    def train(self, batch: Any) -> Logs:
        """One or more updates from one batch."""
        ...

    def evaluate(self, batch: Any) -> Logs:
        """The same figures without an update. Gradients are off."""
        ...


def checked_step(step: Any, method: str = "train") -> Step:
    """The step. Raises where it lacks what `Step` lists and the loop is about to ask for, before the first batch."""
    kind = type(step).__name__
    tables = {
        "networks": ("torch modules", nn.Module),
        "updates": ("training.Update", Update),
        "metrics": ("metrics", Metric),
    }
    for name, (entries, entry) in tables.items():
        value = getattr(step, name, None)
        if not isinstance(value, Mapping) or not all(isinstance(each, entry) for each in value.values()):
            came = f"has {name} of type {type(value).__name__}" if hasattr(step, name) else f"has no {name!r}"
            came = f"holds {name} that are no {entries}" if isinstance(value, Mapping) else came
            raise LaminaError(
                f"The step {kind} {came}.",
                f"A step's {name} are a dict of {entries} by name, which the loop saves and restores; it may be empty.",
                f"Set self.{name} = {{...}} in __init__.",
            )
    if not callable(getattr(step, method, None)):
        raise LaminaError(
            f"The step {kind} has no method {method!r}.",
            "A step answers train(batch), and evaluate(batch) where it is measured, with training.Logs.",
            f"Write def {method}(self, batch) -> Logs.",
        )
    checked: Step = step
    return checked


def checked_logs(value: Any) -> Logs:
    """What a step returned for a batch. Raises where it is no `Logs` of tensors."""
    if type(value) is Logs or isinstance(value, Logs):
        for name, figure in value.values.items():
            if not isinstance(figure, Tensor):
                raise LaminaError(
                    f"A step logged {name}={figure!r}, of type {type(figure).__name__}.",
                    "Figures are tensors, so that nobody waits for the device.",
                    f"Leave out .item() or float(), or log torch.tensor({name}).",
                )
        return value
    raise LaminaError(
        f"A step returned {'nothing' if value is None else f'a {type(value).__name__}'} for a batch.",
        "training.Logs was expected: the number of samples, and figures by name.",
        "Return Logs(len(batch), loss=loss).",
    )


class Target:
    """One output of a network: its loss, the loss's weight in the sum, its metrics, and the activation that was cut off."""

    def __init__(
        self, loss: Loss, *, metrics: Sequence[Metric] = (), weight: float = 1.0, cut: str | None = None, name: str = ""
    ) -> None:
        self.loss, self.metrics, self.weight, self.cut, self.name = loss, tuple(metrics), weight, cut, name
        takes_logits = loss.activation is not None and cut in (loss.activation, None)
        self.compute = loss.from_logits if takes_logits else loss
        activation = loss.activation if takes_logits else cut
        self._wants_probs = activation is not None and any(metric.takes == "outputs" for metric in metrics)
        self._activate: Callable[[Tensor], Tensor] = _ACTIVATIONS[activation]
        self._takes_logits = takes_logits
        self.gives_probabilities: bool | None = (
            None  # once the network has been seen to answer; of one that was not cut
        )
        self.output_shape: tuple[int | None, ...] | None = None  # once the network has been seen to answer
        self._finish = None if takes_logits or cut is None else _ACTIVATIONS[cut]

    def see(self, *, probabilities: bool) -> None:
        """What a network was seen to answer with: perhaps probabilities, although no closing softmax or sigmoid was found to cut."""
        self.gives_probabilities = probabilities
        if probabilities:
            self.compute, self._activate, self._takes_logits = self.loss, _identity, False

    @property
    def takes_logits(self) -> bool:
        """Whether the loss is computed from what stands before its activation."""
        return self._takes_logits

    def count(self, targets: Tensor) -> Tensor | None:
        """What the mean loss of a batch divides by; None where it is the number of samples."""
        return self.loss.count(targets)

    def measure(self, raw: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The mean loss of a batch, in the loss's unit. Sample weights multiply, and the sum is divided by the count, as in Keras."""
        outputs = raw if self._finish is None else self._finish(raw)
        if weights is None:
            return self.compute(outputs, targets)
        values = self.compute(outputs, targets, reduction="none") * weights
        count = self.count(targets)
        return values.mean() if count is None else values.sum() / count.clamp(min=1e-12)

    def update_metrics(self, raw: Tensor, targets: Tensor) -> None:
        """Adds one batch to the metrics, which sample weights do not touch, as in Keras."""
        outputs = self._activate(raw) if self._wants_probs else raw
        for metric in self.metrics:
            metric.defer(outputs, targets)


def _identity(value: Tensor) -> Tensor:
    return value


def _softmax(value: Tensor) -> Tensor:
    # Keras's closing softmax acts on the classes, which stand last in (B, K) and second in (B, K, H, W).
    return torch.softmax(value.float(), dim=1 if value.dim() == 4 else -1)


def _sigmoid(value: Tensor) -> Tensor:
    return torch.sigmoid(value.float())


_ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {None: _identity, "softmax": _softmax, "sigmoid": _sigmoid}


class SupervisedStep:
    """Inputs through a network, each output to its loss; the weighted sum of the losses is minimised.

    `view` is the network up to a closing softmax or sigmoid, where `targets` say that it was cut; without it `net` itself.
    `prepare` acts on the device before the network (casting and normalising uint8 images); `penalties` adds weight
    regularisers to the training loss. Of a network that answers with a named tuple `logits` are the output; in training the losses
    of its other fields are added, times `net.auxiliary_weight`.
    """

    def __init__(
        self,
        net: nn.Module,
        update: Update | None,
        *,
        targets: Sequence[Target],
        runtime: Runtime,
        view: nn.Module | None = None,
        prepare: Callable[[Tensor], Tensor] | None = None,
        penalties: Callable[[], Tensor] | None = None,
    ) -> None:
        self.net, self.view, self.targets, self.runtime = net, view or net, tuple(targets), runtime
        self.prepare, self.penalties = prepare, penalties
        self.networks = {"net": net}
        self.updates = {} if update is None else {"net": update}
        self.metrics = {
            f"{target.name}_{metric.name}" if len(self.targets) > 1 else metric.name: metric
            for target in self.targets
            for metric in target.metrics
        }

    def train(self, batch: Batch) -> Logs:
        """One update."""
        update = self.updates["net"]
        inputs, goals, weights = self._place(batch)
        parts: dict[str, Tensor] = {}
        outputs: tuple[Tensor, ...] = ()

        def closure() -> Tensor:
            nonlocal outputs
            with self.runtime.autocast():
                outputs, auxiliary = self._run(inputs)
                loss = self._loss(outputs, goals, weights, parts)
                if auxiliary:
                    loss = self._with_auxiliary(loss, auxiliary, goals, weights, parts)
                return loss if self.penalties is None else loss + self.penalties()

        count = self._count(batch, goals)
        loss = update(closure if update.needs_closure else closure(), count=count)
        if self.metrics:
            with torch.no_grad():
                self._update_metrics(outputs, goals)
        return Logs(count, loss=loss, **parts)

    def evaluate(self, batch: Batch) -> Logs:
        """Loss and metrics of one batch, in float32."""
        inputs, goals, weights = self._place(batch)
        parts: dict[str, Tensor] = {}
        outputs = self._forward(inputs)
        loss = self._loss(outputs, goals, weights, parts)
        if self.penalties is not None:
            loss = loss + self.penalties()
        self._update_metrics(outputs, goals)
        return Logs(self._count(batch, goals), loss=loss, **parts)

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        """The network's outputs for one batch, up to a closing activation that was cut off; in the mode that it is in."""
        return self._forward(self._place(batch)[0])

    def _place(self, batch: Batch) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor | None]:
        self.runtime.begin_step()
        put = self.runtime.put
        goals = tuple([put(value) for value in _tuple(batch.targets)])
        weights = None if batch.weights is None else put(batch.weights)
        return tuple([put(value) for value in _tuple(batch.inputs)]), goals, weights

    def _count(self, batch: Batch, goals: tuple[Tensor, ...]) -> int | Tensor:
        """How many samples the batch's mean speaks for: fewer where the loss ignores some."""
        if len(self.targets) == 1:
            count = self.targets[0].count(goals[0])
            if count is not None:
                return count
        return batch.size

    def _forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self._run(inputs)[0]

    def _run(self, inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Mapping[str, Tensor]]:
        """The network's outputs for inputs on the device, and its auxiliary ones by name."""
        if self.prepare is not None:
            inputs = tuple([self.prepare(value) for value in inputs])
        try:
            outputs, auxiliary = outputs_of(self.view(*inputs))
        except ValueError as error:
            if _ALONE not in str(error):
                raise
            raise ShapeError(
                f"Training met a batch of {len(inputs[0])} whose maps have shrunk to one place: {error}.",
                "BatchNorm needs several values of each channel, so two pictures or larger maps were expected.",
                "Pass another batch_size, so that no single picture is left over for the last batch, or larger pictures.",
            ) from error
        if self.runtime.graphs:  # whose next replay would overwrite what metrics keep
            outputs = tuple([value.clone() for value in outputs])
            auxiliary = {name: value.clone() for name, value in auxiliary.items()}
        return outputs, auxiliary

    def _loss(
        self,
        outputs: tuple[Tensor, ...],
        goals: tuple[Tensor, ...],
        weights: Tensor | None,
        parts: dict[str, Tensor],
    ) -> Tensor:
        if len(self.targets) == 1:
            return self.targets[0].measure(outputs[0], goals[0], weights)
        total: Tensor | None = None
        for target, output, goal in zip(self.targets, outputs, goals, strict=True):
            loss = target.measure(output, goal, weights)
            parts[f"{target.name}_loss"] = loss.detach()
            total = loss * target.weight if total is None else total + loss * target.weight
        assert total is not None
        return total

    def _with_auxiliary(
        self,
        loss: Tensor,
        auxiliary: Mapping[str, Tensor],
        goals: tuple[Tensor, ...],
        weights: Tensor | None,
        parts: dict[str, Tensor],
    ) -> Tensor:
        """The loss plus those of auxiliary outputs, each times the network's `auxiliary_weight` (Szegedy 2014, section 5)."""
        share = getattr(self.net, "auxiliary_weight", None)
        if share is None:
            raise LaminaError(
                f"{type(self.net).__name__} gives logits and {', '.join(auxiliary)}, and has no auxiliary_weight.",
                "The losses of auxiliary outputs are added to that of the logits, with the network's weight.",
                "Set it: net.auxiliary_weight = 0.3, or 0.0 to train the logits alone.",
            )
        (target,) = self.targets
        for name, output in auxiliary.items():
            added = target.measure(output, goals[0], weights)
            parts[f"{name}_loss"] = added.detach()
            loss = loss + share * added
        return loss

    def _update_metrics(self, outputs: tuple[Tensor, ...], goals: tuple[Tensor, ...]) -> None:
        for target, output, goal in zip(self.targets, outputs, goals, strict=True):
            if target.metrics:
                target.update_metrics(output.detach(), goal)


def _tuple(value: Tensors | None) -> tuple[Tensor, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, Tensor) else tuple(value)
