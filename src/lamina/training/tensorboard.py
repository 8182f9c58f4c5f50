"""What TensorBoard shows of a training: curves, the first pictures as the network gets them, and the network's graph."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lamina.core.errors import LaminaError, MissingExtraError
from lamina.core.warnings import warn
from lamina.structures.batch import Batch
from lamina.training.batches import batches_of
from lamina.training.callback import Callback
from lamina.training.curves import Stretch, learning_rates, require_steps
from lamina.training.loop import Loop
from lamina.training.runtime import evaluating
from lamina.training.world import is_spread


class TensorBoard(Callback):
    """Writes every figure for TensorBoard, those of training and of validation into one chart (epoch_loss), and the learning rate.

    With a number as `update_freq` also every so many steps the means over those steps (batch_loss), each time waiting for the
    device. `images` is how many pictures of the first batch are shown, augmented as the network gets them (0: none);
    `write_graph` shows the first network. Both need batches that can be begun anew, such as arrays.
    """

    main_only = True

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        *,
        write_graph: bool = True,
        update_freq: Literal["epoch"] | int = "epoch",
        images: int = 16,
    ) -> None:
        if update_freq != "epoch":
            require_steps("TensorBoard", 'update_freq (where it is not "epoch")', update_freq)
        if images < 0:
            raise LaminaError(
                f"TensorBoard: images is {images}.", "A number of pictures was expected.", "Pass 0 for none."
            )
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("The TensorBoard callback", "tensorboard") from error
        self.log_dir, self.write_graph, self.update_freq, self.images = Path(log_dir), write_graph, update_freq, images
        self._open: Callable[..., Any] = SummaryWriter
        self._writers: dict[str, Any] = {}
        self._stretch = Stretch()
        self._begun = self._goes_on = False
        self._next: tuple[int, int] | None = None  # the epoch and the step that a run which goes on writes first

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Shows the first pictures and the graph, once; a network that cannot be drawn is no reason not to train it."""
        if self._goes_on:
            loop, self._goes_on = self.loop, False
            self._next = (loop.epoch + (loop.batch == 0), loop.steps_done + 1)
        if self._begun or not (self.images or self.write_graph):
            return
        self._begun = True
        inputs = _first_inputs(self.loop)
        if not inputs:
            return
        if self.images and inputs[0].dim() == 4:
            self._writer("train").add_images("inputs", shown(inputs[0][: self.images]), self.loop.epochs_done)
        if self.write_graph:
            self._draw(inputs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Writes the figures of the last steps, if it is time."""
        if self.update_freq != "epoch" and self.loop.steps_done % self.update_freq == 0:
            for name, value in (self._stretch.figures(self.loop) | learning_rates(self.loop)).items():
                self._writer("train").add_scalar(f"batch_{name}", value, self.loop.steps_done)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes the figures of the epoch."""
        for name, value in {**learning_rates(self.loop), **logs}.items():
            part = "validation" if name.startswith("val_") else "train"
            self._writer(part).add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers, self._next = {}, None

    def state_dict(self) -> dict[str, Any]:
        """Whether pictures and graph are written."""
        return {"begun": self._begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave; the run goes on, so what a killed one wrote after its checkpoint is hidden."""
        self._begun, self._goes_on = state.get("begun", True), True

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            by_steps = part == "train" and self.update_freq != "epoch"
            step = None if self._next is None else self._next[by_steps]
            self._writers[part] = self._open(str(self.log_dir / part), purge_step=step)
        return self._writers[part]

    def _draw(self, inputs: tuple[Tensor, ...]) -> None:
        step: Any = self.loop.step
        net = next(iter(self.loop.step.networks.values()))
        if is_spread(net):  # it runs in all processes at once, and this is one of them
            warn("TensorBoard shows no graph of a network that is spread over processes. Pass write_graph=False.")
            return
        put = step.runtime.put if hasattr(step, "runtime") else _as_it_is
        prepare = getattr(step, "prepare", None) or _as_it_is
        few = tuple(prepare(put(value[:2])) for value in inputs)
        try:
            # The writer sets modes too, but gives the same one back to all layers, also to frozen ones.
            with evaluating(net), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the tracer that TensorBoard's writer uses is deprecated
                with contextlib.redirect_stdout(None):  # and prints before it raises
                    self._writer("train").add_graph(net, few)
        except Exception as error:
            warn(
                f"TensorBoard shows no graph, for the network could not be traced ({str(error).splitlines()[0]}). "
                "A network that runs on two samples of the first batch was expected. Pass write_graph=False."
            )


def shown(images: Tensor) -> Tensor:
    """Pictures (B C H W) as uint8 of 1 or 3 channels: 0..255 as they are, 0..1 times 255, anything else from least to most."""
    images = images.detach().float().cpu()
    images = images if images.shape[1] in (1, 3) else images[:, :1]
    low, high = (float(value) for value in images.aminmax())
    if low < 0 or high > 255.5:
        images = (images - low) / max(high - low, 1e-12) * 255
    elif high <= 1:
        images = images * 255
    return images.round().clamp(0, 255).to(torch.uint8)


def _first_inputs(loop: Loop) -> tuple[Tensor, ...]:
    """The inputs of the batch that training begins with; none where taking it would take it away."""
    batches: Iterable[Any] = loop.batches
    if not hasattr(batches, "epoch") and not hasattr(batches, "__len__"):
        return ()
    with contextlib.closing(batches_of(batches, loop.epochs_done, seed=loop.seed, start=loop.batch)) as iterator:  # type: ignore[type-var]
        batch = next(iterator, None)
    if not isinstance(batch, Batch):
        return ()
    return batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)


def _as_it_is(value: Tensor) -> Tensor:
    return value
