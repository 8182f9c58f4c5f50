"""The front door: a network with compile, fit, evaluate, predict, summary and save around it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.data.augment import ProgressiveResize
from lamina.data.fingerprint import fingerprint
from lamina.data.loader import Augment
from lamina.layers.symbol import Symbol
from lamina.models import arrays as array
from lamina.models import balancing, feed, file, fitting, objective
from lamina.models.arrays import Arrays
from lamina.models.deploying import Deploying
from lamina.models.finding import Finder
from lamina.models.graph import Graph, apply
from lamina.models.holder import Holder
from lamina.optimizers.schedules import Schedule
from lamina.structures.batch import outputs_of
from lamina.training import Callback, History, Loop, RunFolder, Runtime, SupervisedStep
from lamina.training.averaging import averaged
from lamina.training.batch_size import is_out_of_memory
from lamina.training.progress import reporter
from lamina.training.runtime import evaluating

PREDICT_BATCH = 256  # samples a batch where nobody says; results do not depend on it


class Model(Finder, Deploying, Holder):
    """A network that can be trained, measured, used and saved.

    `Model(net)` takes any torch module, `Model(inputs, outputs)` a graph of layers called on each other. The network is
    `model.net`, a plain torch module; a Model is none itself. Lists of inputs or outputs give a network of several.
    """

    def __init__(
        self, inputs: nn.Module | Symbol | Sequence[Symbol] | None = None, outputs: Any = None, *, name: str = "model"
    ) -> None:
        super().__init__(name)
        if isinstance(inputs, nn.Module):
            if outputs is not None:
                raise LaminaError(
                    f"Model came with the module {type(inputs).__name__} and outputs.",
                    "It takes either one torch module, or inputs and outputs of a layer graph.",
                    "Wrap the module in layers.Torch to use it within a graph.",
                )
            self._net = inputs
        elif inputs is not None:
            self._adopt(Graph.from_symbols(inputs, outputs))
        self.history: History | None = None
        self._loop: Loop | None = None
        self._compiled: dict[str, Any] | None = None
        self._runtime: Runtime | None = None
        self._step: SupervisedStep | None = None
        self._fed: Any = None  # the batches of a fit that is going on
        self._age = (0, 0)  # epochs and steps of all calls of fit: what randomness is keyed by

    def __call__(self, x: Any, *, training: bool = False) -> Any:
        """The network's output for tensors or arrays, with gradients; on symbols, the model joins their graph as a layer.

        As in Keras, dropout and batch statistics act only with `training=True`.
        """
        values = list(x) if isinstance(x, list | tuple) else [x]
        if values and all(isinstance(value, Symbol) for value in values):
            if self.graph is None:
                raise LaminaError(
                    "This model has no layers."
                    if self._net is None
                    else "This model wraps a torch module without a layer graph.",
                    "Only a model made of layers can join a graph as a layer.",
                    "Add layers first." if self._net is None else "Use layers.Torch(model.net)(x).",
                )
            return apply(self, values)
        parameter = next(self.net.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        tensors = [array.to_tensor(value, "x").to(device) for value in values]
        if training:
            return self.net(*tensors)
        with evaluating(self.net):
            return self.net(*tensors)

    # Training -----------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        *,
        loss_weights: Any = None,
        device: str = "auto",
        precision: str = "auto",
        schedule: str | Schedule | None = None,
        runtime: Runtime | None = None,
        update: Mapping[str, Any] | None = None,
    ) -> None:
        """Says how to train and what to report.

        `optimizer`, `loss` and `metrics` by name or object (with several outputs: lists or dicts); functions of your own take
        (outputs, targets), or Keras's (y_true, y_pred) if their parameters are called so. `precision` is that of
        training: "auto" is bfloat16 where the hardware has it, else float32. `schedule` maps progress 0..1 of a `fit` to a
        factor of the learning rate. A `runtime` takes the place of `device` and `precision`. `update` holds further arguments of
        training.Update: accumulate, clip_norm, clip_value, average ("ema", "swa", "wise" or an object), lookahead, groups.
        """
        self._runtime = runtime or Runtime(device, precision=precision)
        self._compiled = {
            "optimizer": optimizer,
            "loss": loss,
            "metrics": metrics,
            "loss_weights": loss_weights,
            "schedule": schedule,
            "update": fitting.tricks(update),
        }
        self._step = None
        self._is_shared |= fitting.hands_out_weights(optimizer, update)
        objective.check_names(self._compiled)
        if self._net is not None:
            self._make_step()

    def _prepare(self) -> Callable[[Tensor], Tensor]:
        """What acts on a batch of inputs on the device, before the network: here the cast to what it takes."""
        return objective.cast_for(self._own_net, self.graph)

    @property
    def runtime(self) -> Runtime:
        """Where and how the model runs: what compile said, or the defaults."""
        self._runtime = self._runtime or Runtime()
        return self._runtime

    def _make_step(self) -> SupervisedStep:
        if self._compiled is None:
            raise LaminaError(
                "This model is not compiled.",
                "fit and evaluate need a loss.",
                "Call compile(optimizer, loss, metrics) first.",
            )
        if self._step is None or objective.is_outdated(self._step, self._own_net):
            self._step = objective.make_step(
                self._own_net, self.graph, self._compiled, runtime=self.runtime, prepare=self._prepare()
            )
        return self._step

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float | None = None,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        *,
        seed: int = 0,
        balance: str | None = None,
        sample_by: Any = None,
        augment: Augment | None = None,
        resize: ProgressiveResize | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        log_every: int | None = None,
    ) -> History:
        """Trains on arrays, tensors, a data set, or an iterable of batches; returns the figures of each epoch.

        A second call continues. `validation_split` holds out that fraction of the samples, the last ones, as in Keras.
        `class_weight` and `sample_weight` multiply the loss. `balance` has rare classes count as much as frequent ones, but not
        in validation: "weights", "effective", "sample", "under" or "over" (see data.balance). `sample_by` (N) draws the samples
        of an epoch with replacement, each as often as its weight asks for. `augment` (one, a list, or names: "flip,crop")
        changes batches of images on the device, `resize` makes them small in early epochs. `verbose`: "auto" or 1 a
        bar on a terminal and a line an epoch elsewhere, 2 a line, 0 nothing. With `run` the training is kept in that folder (see
        RunFolder), every `checkpoint_every` steps too, and figures every `log_every` steps; `resume=True` goes on with it. The
        same seed gives the same run.
        """
        if x is None:
            raise LaminaError("fit came without data.", "It needs x.", "Call fit(x, y) with arrays, or fit(dataset).")
        self._is_shared = True  # by callbacks, who are handed the step
        callbacks = feed.checked_callbacks(callbacks, epochs)
        balancing.check(balance, class_weight=class_weight, sample_by=sample_by)
        if feed.is_batches(x) and y is None:
            beside = {"class_weight": class_weight, "sample_weight": sample_weight, "sample_by": sample_by}
            feed.refuse_with_batches({**beside, "balance": balance, "augment": augment}, validation_split)
            (few, goals), x = feed.peek(x)
            step, held = self._ready(self._collect(few, goals, None)), validation_data
            train = feed.foreign(x, step)
        else:
            beside = array.beside(sample_weight, sample_by)
            data, held = self._sets(x, y, beside, validation_data, validation_split)
            step = self._ready(data)
            weights, drawn = balancing.balanced(data, balance, class_weight)
            feed.refuse_augmenting_channels_last(augment, self.graph)
            feeding: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle, "seed": seed, "augment": augment}
            train = self._batches(data, step, weights=weights, sample_by=drawn, **feeding)
        validation = None if held is None else self._in_order(held, PREDICT_BATCH)
        update = objective.update_of(step)
        callbacks = fitting.asked_callbacks(update, callbacks, run=run, log_every=log_every)
        feed.check_monitors(callbacks, step, validated=validation is not None)
        settings = {"precision": self.runtime.precision, "batch_size": batch_size, "epochs": epochs, "seed": seed}
        few = fitting.told(resize=resize, balance=balance, sample_by=sample_by)
        settings |= {"shuffle": shuffle, "augment": str(augment), **few}
        folder: RunFolder | None = None
        if run is not None:
            folder = RunFolder(
                run,
                config=objective.config(self.name, self._compiled or {}, settings),
                take_model=self._taken,
                data={"train": fingerprint(train), "validation": fingerprint(validation)},
                resume=resume,
                every_steps=checkpoint_every,
                writes=self.runtime.world.is_main,
            )
        loop = Loop(step, seed=seed, callbacks=[*callbacks, *filter(None, [folder]), *reporter(verbose)])
        for callback in loop.callbacks:
            callback.model = self
        loop.epochs_done, loop.steps_done = self._age
        length = epochs - initial_epoch
        fitting.lay(update, train, length)
        self._fed, self.history = train, loop.history  # which a resumed run fills: what is saved tells its figures
        try:
            if folder is not None and folder.checkpoint is not None:
                initial_epoch, epochs = fitting.resumed(folder, loop, epochs)
                fitting.lay(update, train, length, start=update.planned_from)  # to the end that is asked for now
            self._loop = loop  # from here on a failure leaves a model that was trained
            sized = fitting.resized(train, resize, step, epochs=epochs, first=loop.epochs_done - initial_epoch)
            return loop.fit(sized, epochs=epochs, initial_epoch=initial_epoch, validation=validation)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            cause = error.with_traceback(None)  # whose frames hold the tensors
        finally:
            self._age, self._fed = (loop.epochs_done, loop.steps_done), None
            feed.release(train, validation)
        raise fitting.out_of_memory(step, train, str(cause).splitlines()[0]) from cause

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = PREDICT_BATCH,
        verbose: str | int = 0,
        sample_weight: Any = None,
    ) -> dict[str, float]:
        """Loss and metrics on arrays, a data set, or an iterable of batches, in float32. The batch size changes nothing.

        `verbose` is taken as Keras does, and nothing is printed.
        """
        if not (feed.is_batches(x) and y is None):
            x = self._collect(x, y, sample_weight)
        batches = self._in_order(x, batch_size)
        try:
            with self._averaged():
                return Loop(self._make_step()).evaluate(batches)
        finally:
            feed.release(batches)

    def predict(self, x: Any, batch_size: int = PREDICT_BATCH, verbose: str | int = 0) -> Any:
        """The outputs for each sample as a numpy array (a list of them where there are several), in float32.

        The batch size changes nothing beyond float error; large samples are cut smaller. `verbose` is taken as Keras does.
        """
        arrays = [value.numpy() for value in self._answers(x, batch_size)]
        return arrays[0] if len(arrays) == 1 else arrays

    def _answers(self, x: Any, batch_size: int) -> list[Tensor]:
        """Each output for all samples, float32 in host memory."""
        if feed.is_batches(x):
            (first, _), x = feed.peek(x)
            data = self._collect(first, None, None)
            given = (self._collect(feed.inputs_of(item), None, None).inputs for item in feed.complete(x))
        else:
            data = self._collect(x, None, None)
            given = (part.inputs for part in data.cut(feed.answered_at_once(batch_size, data.inputs, self.runtime)))
        self._build(data)
        self._check(data)
        net, prepare, runtime = self.runtime.place(self._own_net), self._prepare(), self.runtime
        batches = []
        with self._averaged(), evaluating(net), torch.inference_mode():
            for inputs in given:
                runtime.begin_step()
                prepared = tuple(prepare(runtime.put(value)) for value in inputs)
                try:
                    output = net(*prepared)
                except (RuntimeError, ValueError, TypeError, IndexError):
                    array.probe(net, tuple(value[:2] for value in prepared))  # names the layer that does not fit
                    raise
                batches.append([value.float().cpu() for value in outputs_of(output)[0]])
        return [torch.cat(parts) for parts in zip(*batches, strict=True)]

    @property
    def stop_training(self) -> bool:
        """Keras's habit: a callback that sets it ends training after the step."""
        return self._loop is not None and self._loop.stop

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        if self._loop is not None:
            self._loop.stop = value

    # Data ---------------------------------------------------------------------------------------------------------

    def _collect(self, x: Any, y: Any, weights: Any) -> Arrays:
        graph = self.graph
        return array.collect(
            x,
            y,
            weights=weights,
            input_names=[] if graph is None else graph.input_names,
            output_names=[] if graph is None else graph.output_names,
        )

    def _build(self, data: Arrays) -> None:
        """Builds a network that waits for the shape of its data; a Model is always built."""

    def _check(self, data: Arrays) -> None:
        if self.graph is not None:
            array.check_inputs(data, self.graph.input_shapes, self.graph.input_names)
        array.warn_unscaled(data, self._own_net)

    def _sets(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Arrays, Any]:
        """What to train on, and what to validate with."""
        data = self._collect(x, y, weights)
        return feed.split_last(data, fraction) if fraction and held is None else (data, held)

    def _ready(self, data: Arrays) -> SupervisedStep:
        """Checks the data against the network and the loss, and builds what is not built: all before the first step."""
        self._build(data)
        step = self._make_step()
        self._check(data)
        array.check_target_count(data, len(step.targets))
        few = [step.runtime.put(value[:2]) for value in data.inputs]
        outputs = array.probe(
            self._own_net, tuple(value if step.prepare is None else step.prepare(value) for value in few)
        )
        array.check_outputs(outputs, len(step.targets))
        for target, output, goal in zip(step.targets, outputs, data.targets, strict=True):
            if target.takes_logits and target.cut is None:
                target.see(probabilities=feed.are_probabilities(target.loss, output))
            target.loss.check((data.samples, *output.shape[1:]), goal)
            target.output_shape = (None, *output.shape[1:])
        return step

    def _in_order(self, data: Any, batch_size: int) -> Any:
        """Batches in order, from arrays, (x, y), (x, y, weights), a data set or an iterable of batches."""
        if not isinstance(data, Arrays):
            pair = isinstance(data, tuple) or (isinstance(data, list) and len(data) in (2, 3))
            x, y, weights = (*data, None, None)[:3] if pair else (data, None, None)
            if y is None and feed.is_batches(x):
                (few, goals), x = feed.peek(x)
                return feed.foreign(x, self._ready(self._collect(few, goals, None)))
            data = self._collect(x, y, weights)
        step = self._ready(data)
        at_once = feed.answered_at_once(batch_size, data.inputs, step.runtime)
        return self._batches(data, step, weights=data.weights, batch_size=at_once)

    def _batches(self, data: Arrays, step: SupervisedStep, **feeding: Any) -> Any:
        """Batches for the step; see feed.array_batches for the arguments."""
        return feed.array_batches(data, step, **feeding)

    # Keeping ------------------------------------------------------------------------------------------------------

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """While a `fit` goes on, the weights that it validates with: averaged ones where it has them."""
        if self._fed is None or self._step is None:
            return contextlib.nullcontext()
        return averaged(self._step, self._fed)

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Model:
        """The model that `save` wrote; see `lamina.load`."""
        net, graph = file.rebuild(contents, modules or {})
        model = cls.__new__(cls)
        Model.__init__(model, net if graph is None else None)
        if graph is not None:
            model._adopt(graph)
        compiled = objective.recall(contents.description.get("compiled") or {})
        if compiled.get("loss") is not None:
            model.compile(**compiled)
        return model


def model_from_json(text: str, *, modules: Mapping[str, Any] | None = None) -> Model:
    """The model that `to_json` told, with new initial values. Nothing outside the literal list of layers is ever made.

    `modules` brings torch modules of your own, by the name that the text gives them.
    """
    model = Model()
    model._adopt(Graph.from_config(json.loads(text), modules=dict(modules or {})))
    return model
