"""Where NaN or infinity comes from: the first tensor of a step that is not finite, by layer and sample. Costs nothing until asked."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lamina.core import random
from lamina.core.errors import LaminaError, listed
from lamina.core.warnings import warn
from lamina.training.callback import Callback
from lamina.training.checkpoint import RunFolder
from lamina.training.step import Step
from lamina.training.untouched import untouched
from lamina.training.world import World

if TYPE_CHECKING:
    from lamina.training.loop import Loop


def first_nonfinite(
    step: Step, batch: Any, *, draws: int | None = None, rows: Sequence[int] | None = None
) -> str | None:
    """What is the first to be NaN or infinite when the step trains on a batch, in three sentences; None where all is finite.

    Looks at the batch, at the parameters, and then at every layer's output and every gradient of a re-run, after which all
    is as it was. `draws` is the key that torch's generators were set from before the step, so that dropout draws the same; `rows`
    are the batch's samples in the data (see `rows_in_hand`), to name those at fault.
    After an update with such gradients the parameters themselves are lost, and are what is found; `Update.guard` and float16
    leave such an update out, and then the layer is. Several processes must call it alike.
    """
    size = _size(batch)
    samples = None if size is None else rows if rows is not None and len(rows) == size else range(size)
    told = _at_hand(step, batch, samples)
    if World.current().most(int(told is not None))[0]:  # the re-run would wait for those who need none
        return told
    return _rerun(step, batch, draws, samples)


def rows_in_hand(loop: Loop) -> list[int] | None:
    """Which samples of the data the batch holds that a loop has last trained on; None where its batches cannot tell."""
    if not hasattr(loop.batches, "rows"):
        return None
    epoch, behind = _place(loop)
    return list(loop.batches.rows(epoch, behind - 1))


def _place(loop: Loop) -> tuple[int, int]:
    """The epoch of the batch in hand, and how many of its batches are done."""
    return (loop.epochs_done, loop.batch) if loop.batch else (loop.epochs_done - 1, loop.ended_after)


class FailOnNaN(Callback):
    """Ends training by an error after an epoch that has made the weights NaN or infinite, and names layer, samples and rate.

    So it does where a checkpoint would hold such weights: what is on the disk is what a run can go on from. A loss alone that was
    not finite, as of an update that float16 left out, is a warning, once. Healthy training costs it a look at each checkpoint.
    """

    def __init__(self) -> None:
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Looks at the mean of the epoch, which one NaN makes NaN."""
        loss = logs.get("loss", 0.0)
        if math.isfinite(loss):
            return
        lost = self._lost()
        if not lost and self._warned:
            return
        told, found = self._found(loss)
        if lost:
            raise self._error(told, found)
        self._warned = True
        if self.loop.world.is_main:
            warn(f"{told}, and the weights are finite. {found}")

    def state_dict(self) -> dict[str, Any]:
        """Nothing; raises where the weights are lost, so that no checkpoint is taken of them."""
        if hasattr(self, "loop") and self._lost():
            raise self._error(*self._found(self.loop.means.compute().get("loss", 0.0)))
        return {}

    def _lost(self) -> bool:
        """Whether weights are not finite, in any process: all must be of one mind."""
        lost = not all(_finite(p) for net in self.loop.step.networks.values() for p in net.parameters())
        return bool(self.loop.world.most(int(lost))[0])

    def _found(self, loss: float) -> tuple[str, str]:
        """Since when, and what `first_nonfinite` says of the first batch with a loss that is not finite."""
        loop = self.loop
        what = "weights became NaN or infinite" if math.isfinite(loss) else f"loss became {loss}"
        told = f"The {what} in epoch {loop.epoch + 1}"
        back = loop.means.since_nonfinite("loss")
        batch, draws, rows = loop.last_batch, loop.last_key, rows_in_hand(loop)
        if back is not None:
            epoch, behind = _place(loop)
            number = behind - back
            told += f", first in its batch {number + 1}"
            if hasattr(loop.batches, "epoch"):
                others = () if loop.world.size == 1 else (loop.world.rank,)
                draws = random.key(loop.seed, loop.steps_done - back, *others)
                batch = next(loop.batches.epoch(epoch, start=number))
                rows = loop.batches.rows(epoch, number) if hasattr(loop.batches, "rows") else None
        found = first_nonfinite(loop.step, batch, draws=draws, rows=rows)
        everybody = loop.world.gather(
            (back is None, found is None, told, found or "All is finite in that batch by now.")
        )
        # Of the processes one that knows the batch, and that has the sample where one has.
        *_, told, found = min(everybody, key=lambda of_one: (*of_one[:2], not of_one[3].startswith("The batch")))
        return told, found

    def _error(self, told: str, found: str) -> LaminaError:
        runs = [callback.kept() for callback in self.loop.callbacks if isinstance(callback, RunFolder)]
        kept = runs[0] if runs else "what was saved before is as it was"
        return LaminaError(f"{told}.", found, f"Training ends here, and {kept}.")


def _at_hand(step: Step, batch: Any, samples: Sequence[int] | None) -> str | None:
    """What can be seen without running anything."""
    for name, tensor in _tensors(batch, ""):
        if not _finite(tensor):
            return _text(
                step,
                f"The batch holds {_kinds(tensor)} in its {name or 'tensor'}{_where(tensor, samples)}.",
                "Look at these samples: a damaged file, a division by a spread of 0 or a missing value makes such numbers.",
            )
    for title, net in step.networks.items():
        for name, parameter in net.named_parameters():
            if not _finite(parameter):
                return _text(
                    step,
                    f"The parameter {title}.{name} holds {_kinds(parameter)}.",
                    "An update before this batch made it so: go back to a checkpoint, lower the learning rate or clip the gradients "
                    "(clip_norm=1.0); update.guard() leaves such an update out and so keeps its batch to be looked at.",
                )
    return None


def _rerun(step: Step, batch: Any, draws: int | None, samples: Sequence[int] | None) -> str | None:
    found: list[tuple[str, str]] = []
    with untouched(step), warnings.catch_warnings(), _watching(step, found, samples):
        warnings.simplefilter("ignore")  # of updates that are left out
        if draws is not None:
            random.reseed(draws)
        with torch.compiler.set_stance("force_eager"):  # compiled networks run no hooks of layers
            try:
                logs = step.train(batch)
            except LaminaError:
                if not found:
                    raise
            else:
                bad = [f"{name} {float(value)}" for name, value in logs.values.items() if not _finite(value)]
                if bad and not any(kind == "output" for kind, _ in found):
                    text = f"All layers' outputs are finite, and what is made of them is not: {', '.join(bad)}."
                    found.insert(0, ("loss", text))
        if not found:
            return None
        kind, came = found[0]
        remedies = {
            "output": "Lower the learning rate, clip the gradients (clip_norm=1.0) or warm up; "
            'in float16, whose numbers end at 65504, train in "bfloat16".',
            "loss": "Look at the loss's logarithms, roots and divisions, and at targets outside their range.",
            "gradient": "Look at what has no slope where it is asked, such as a root, a norm or a quotient at 0, or clip what goes in.",
        }
        return _text(step, came, remedies[kind])


@contextlib.contextmanager
def _watching(step: Step, found: list[tuple[str, str]], samples: Sequence[int] | None) -> Iterator[None]:
    """Notes what is not finite as it comes by: outputs in the order of the forward pass, gradients in that of the backward pass."""
    handles: list[Any] = []

    def grown(title: str, gradient: Tensor) -> None:
        if not _finite(gradient):
            where = f"The gradient with respect to {title} holds {_kinds(gradient)}{_where(gradient, samples)}"
            found.append(("gradient", f"{where}; every output and the gradients after it are finite."))

    def passed(title: str, module: nn.Module, given: Any, output: Any) -> None:
        for _, tensor in _tensors(output, ""):
            if not _finite(tensor):
                before = [value for _, value in _tensors(given, "") if not _finite(value)]
                what = f"{title} ({type(module).__name__})"
                if before:
                    came = f"What goes into {what} holds {_kinds(before[0])}{_where(before[0], samples)}, after no layer's output did."
                else:
                    came = f"The output of {what} holds {_kinds(tensor)}{_where(tensor, samples)}, and what goes in is finite."
                found.append(("output", came))
            if tensor.requires_grad:
                handles.append(tensor.register_hook(partial(grown, f"the output of {title}")))  # type: ignore[no-untyped-call]

    seen: set[int] = set()
    for net_name, net in step.networks.items():
        for name, module in net.named_modules():
            if id(module) not in seen:
                seen.add(id(module))
                handles.append(
                    module.register_forward_hook(partial(passed, f"{net_name}.{name}" if name else net_name))
                )
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                handles.append(parameter.register_hook(partial(grown, f"the parameter {net_name}.{name}")))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _text(step: Step, came: str, remedy: str) -> str:
    rates = {name: update.optimizer.param_groups[0]["lr"] for name, update in step.updates.items()}
    only = len(rates) == 1
    told = ", ".join(f"{float(rate):.4g}" if only else f"{float(rate):.4g} ({name})" for name, rate in rates.items())
    return str(LaminaError(came, f"Training needs finite numbers; the learning rate is {told or 'none'}.", remedy))


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """All floating tensors in nested tuples, lists and dicts, with their place in words."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield name, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _tensors(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple | list):
        fields = getattr(value, "_fields", range(len(value)))
        for key, entry in zip(fields, value, strict=True):
            yield from _tensors(entry, f"{name}.{key}" if name else str(key))


def _size(batch: Any) -> int | None:
    """How many samples a batch has, by its first tensor."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    values = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple | list) else ()
    return next((size for value in values if (size := _size(value)) is not None), None)


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.detach().isfinite().all())


def _kinds(tensor: Tensor) -> str:
    tensor = tensor.detach()
    kinds = {"NaN": bool(tensor.isnan().any()), "infinity": bool(tensor.isinf().any())}
    return " and ".join(kind for kind, there in kinds.items() if there)


def _where(tensor: Tensor, samples: Sequence[int] | None) -> str:
    """The samples at fault, else their positions in the batch; empty where the first axis is none of samples."""
    if samples is None or tensor.dim() == 0 or len(tensor) != len(samples):
        return ""
    bad = (~tensor.detach().isfinite()).flatten(1).any(dim=1) if tensor.dim() > 1 else ~tensor.detach().isfinite()
    positions = bad.nonzero().flatten().tolist()
    if len(positions) == len(samples):
        return f", in all {len(samples)} samples"
    if isinstance(samples, range):
        return f", in the samples at {listed(positions)} of the batch's {len(samples)} (from 0)"
    return f", in the samples {listed([samples[position] for position in positions])} of the data"
