"""Classifier: pictures in, classes out. A Model with preprocessing, loss, metrics and results pre-wired."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import LaminaError, ShapeError
from lamina.data.augment import ProgressiveResize
from lamina.data.dataset import FolderDataset
from lamina.data.loader import Augment
from lamina.data.preprocess import Preprocess
from lamina.models import Model, feed, file, objective
from lamina.models.arrays import Arrays, collect
from lamina.models.streams import Streamed, one_each
from lamina.models.summary import Summary
from lamina.networks.load import book_state
from lamina.optimizers.schedules import Schedule
from lamina.structures.results import Classification
from lamina.tasks.classification import inputs, pictures
from lamina.tasks.classification.decode import decode
from lamina.training import Callback, History, Runtime


class Classifier(Model):
    """One class for each picture.

    `network` is a name of `networks.names()`, a torch module that ends in logits, or a Model made of layers. Its
    classes, channels and picture size come from the data of the first `fit`, or from `classes` and `preprocess`; a Model
    made of layers says its channels and size itself.
    `weights` is a parameter file: a model file of lamina's, or the book's `deep_convnet_params.pkl`.
    """

    def __init__(
        self,
        network: str | nn.Module | Model = "deepconvnet",
        *,
        weights: str | os.PathLike[str] | None = None,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__(name=network if isinstance(network, str) else type(network).__name__.lower())
        if isinstance(network, str):
            networks.check_name(network)
        self._network = network
        self.classes = None if classes is None else tuple(classes)
        self.preprocess = preprocess
        self.split: dict[str, Any] = {}
        self.compile()
        if weights is not None:
            self._fill(Path(weights))
        elif self.classes is not None and self.preprocess is not None:
            self._make_net()
        elif not isinstance(network, str):
            self._take(network)

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = "sparse_categorical_crossentropy",
        metrics: Any = ("accuracy",),
        *,
        loss_weights: Any = None,
        device: str = "auto",
        precision: str = "auto",
        schedule: str | Schedule | None = None,
        runtime: Runtime | None = None,
        update: Mapping[str, Any] | None = None,
    ) -> None:
        """As Model.compile, with the optimizer, loss and metrics of a classifier unless told otherwise."""
        super().compile(
            optimizer,
            loss,
            list(metrics) if isinstance(metrics, tuple) else metrics,
            loss_weights=loss_weights,
            device=device,
            precision=precision,
            schedule=schedule,
            runtime=runtime,
            update=update,
        )

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
        augment: Augment | None = None,
        resize: ProgressiveResize | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        log_every: int | None = None,
    ) -> History:
        """As Model.fit, on a folder, a data set or its name, or on uint8 arrays and their labels.

        `validation_split` is held out by the pictures' content: equal ones never land on both sides, and `evaluate` finds them
        again. None means a tenth where neither the data nor `validation_data` brings validation, and 0.0 nothing.
        """
        inputs.refuse_batches(x, validation_data)
        with self._restored_on_failure():
            return super().fit(
                x,
                y,
                batch_size,
                epochs,
                verbose,
                callbacks,
                validation_split,
                validation_data,
                shuffle,
                class_weight,
                sample_weight,
                initial_epoch,
                seed=seed,
                augment=augment,
                resize=resize,
                run=run,
                resume=resume,
                checkpoint_every=checkpoint_every,
                log_every=log_every,
            )

    @contextlib.contextmanager
    def _restored_on_failure(self) -> Iterator[None]:
        """Where something fails before training begins, the classifier is as it was: not half made for wrong data."""
        names, loop = ("classes", "preprocess", "split", "graph", "_net", "_step"), self._loop
        before = {name: getattr(self, name) for name in names}
        try:
            yield
        except Exception:
            if self._loop is loop:
                vars(self).update(before)
            raise

    # The network --------------------------------------------------------------------------------------------------

    @property
    def net(self) -> nn.Module:
        """The plain torch module."""
        if self._net is None:
            raise self._untrained()
        return self._net

    def _take(self, network: nn.Module | Model) -> None:
        if isinstance(network, Model):
            inputs.declared_shape(network.graph)
            self.graph, self._net = network.graph, network.net
        else:
            self._net = network
        if self.preprocess is not None:
            inputs.warn_scaled_twice(self._net, self.preprocess)

    def _make_net(self) -> None:
        """The network for these classes and this preprocessing."""
        assert self.classes is not None
        assert self.preprocess is not None
        if not isinstance(self._network, str):
            self._take(self._network)
            return
        arguments: dict[str, Any] = {}
        if "image_size" in networks.arguments(self._network):
            height, width = self.preprocess.size
            if height != width:
                raise ShapeError(
                    f"The network {self._network!r} was given pictures of {height} x {width} px.",
                    "It takes square ones.",
                    "Pass preprocess=Preprocess(size=(28, 28), ...).",
                )
            arguments["image_size"] = height
        self._net = networks.create(
            self._network, num_classes=len(self.classes), in_channels=self.preprocess.channels, **arguments
        )

    def _fill(self, path: Path) -> None:
        if path.suffix == ".pkl":
            state = book_state(path)
            self.classes = self.classes or tuple(str(digit) for digit in range(10))
            self.preprocess = self.preprocess or Preprocess(channels=1, size=(28, 28), mean=(0.0,), std=(1.0,))
        else:
            contents = file.read(path)
            state = contents.tensors
            self.classes = self.classes or tuple(contents.description.get("classes", ())) or None
            if self.preprocess is None and "preprocess" in contents.description:
                self.preprocess = Preprocess.from_dict(contents.description["preprocess"])
        if self.classes is None or self.preprocess is None:
            raise LaminaError(
                f"{path} does not tell classes and preprocessing.",
                "A classifier needs both.",
                "Pass classes=[...] and preprocess=Preprocess(...).",
            )
        self._make_net()
        file.fill(self.net, state, path)

    def _set_preprocess(self, preprocess: Preprocess) -> None:
        self.preprocess, self._step = preprocess, None

    def _prepare(self) -> Callable[[Tensor], Tensor]:
        if self.preprocess is None:  # a module that was brought along, before the first data
            return super()._prepare()
        return self.preprocess.normalize().to(self.runtime.device)

    # Data ---------------------------------------------------------------------------------------------------------

    def _sets(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Arrays, Any]:
        """Training and validation samples. Without validation data a tenth is held out by the pictures' content."""
        train, validation = inputs.training_sets(x, y, held, self.classes)
        split: dict[str, Any] = {}
        if validation is None and fraction != 0:
            fraction = inputs.HELD_OUT if fraction is None else fraction
            split = {"held_out": fraction, "of": len(train), "by": "content hash", "seed": inputs.SEED}
            train, validation, weights = inputs.hold_out(train, fraction, weights)
        self._meet(train)
        self.split = split
        # Arrays are not resized behind their owner's back.
        if y is not None:
            return collect(train, None, weights=weights), validation
        return self._gathered(train, weights, unreadable="replace"), validation

    def _gathered(self, dataset: Any, weights: Any, *, unreadable: Literal["replace", "skip"] = "skip") -> Arrays:
        """The pictures in memory, or where a folder holds too many, read while they are used: with the same results."""
        preprocess = self._prepared()
        if not isinstance(dataset, FolderDataset):
            return collect(self.memorised(dataset), None, weights=weights)
        # All processes go one way, whatever memory each has left.
        if not all(self.runtime.world.gather(dataset.fits_in_memory(preprocess))):
            return Streamed.of(dataset.prepared(preprocess), weights)
        weights = one_each(weights, len(dataset))
        loaded, used = dataset.loaded(preprocess, on_error=unreadable)
        return collect(loaded, None, weights=None if weights is None else weights[used])

    def _meet(self, dataset: Any) -> None:
        """Takes classes, channels and picture size from the first data set; later ones must have the same classes."""
        if self.classes is not None and tuple(dataset.classes) != self.classes:
            raise LaminaError(
                f"The data has the classes {inputs.listed(dataset.classes)}.",
                f"This classifier knows {inputs.listed(self.classes)}, in this order.",
                "Train a new Classifier for other classes.",
            )
        if self.preprocess is None:
            shape = inputs.declared_shape(self.graph)
            self._set_preprocess(inputs.fitting_preprocess(dataset, self._net, shape=shape))
        self.classes = tuple(dataset.classes)

    def _collect(self, x: Any, y: Any, weights: Any) -> Arrays:
        if self._net is None:
            raise self._untrained()
        if y is None and inputs.is_arrays(x):
            return collect(x, None, weights=weights)
        dataset = inputs.labelled(x, y, self.classes) if y is not None else self.measured(x)[1]
        self._meet(dataset)
        return self._gathered(dataset, weights) if y is None else collect(dataset, None, weights=weights)

    def _in_order(self, data: Any, batch_size: int) -> Any:
        if not isinstance(data, Arrays):
            inputs.refuse_batches(data)
        return super()._in_order(data, batch_size)

    def _build(self, data: Arrays) -> None:
        if self._net is None:
            self._make_net()
            self._step = None

    def _check(self, data: Arrays) -> None:
        assert self.preprocess is not None
        came, wanted = tuple(data.inputs[0].shape[1:]), (self.preprocess.channels, *self.preprocess.size)
        if came != wanted:
            raise ShapeError(
                f"The pictures have the shape {came} (channels, height, width).",
                f"This classifier takes {wanted}.",
                "Pass files or a data set, which are resized, or resize the arrays: "
                f"lamina.Preprocess(channels={wanted[0]}, size={wanted[1:]}).stack(x).",
            )

    # Using it -----------------------------------------------------------------------------------------------------

    def predict_probs(self, x: Any, batch_size: int = 256) -> np.ndarray[Any, Any]:
        """The probability of each class (N K, float32) for pictures, files, a folder, arrays or a data set."""
        return self._probs(pictures.read(x, self._prepared())[0], batch_size)

    def predict(
        self, x: Any, batch_size: int = 256, verbose: str | int = 0, *, on_error: pictures.OnError = "raise"
    ) -> Any:
        """The class of a picture (one Classification), or of several (a list): files, a folder, arrays or a data set.

        An array (3, H, W) is one picture to a classifier of colour pictures, and three to one of grey ones. Unreadable
        files among several raise a DataError that names all of them; with on_error="skip" they are left out and named in
        one warning, and each result's `path` says which file it is of.
        """
        batch, sources = pictures.read(x, self._prepared(), on_error)
        results: list[Classification] = decode(self._probs(batch, batch_size), self.classes or (), sources)
        return results[0] if pictures.is_single(x, self._prepared().channels) else results

    def _probs(self, batch: Tensor, batch_size: int) -> np.ndarray[Any, Any]:
        (raw,) = self._answers(batch, batch_size)
        target = self._make_step().targets[0]
        ends_in_probs = target.cut == "softmax" or feed.are_probabilities(target.loss, raw)
        return (raw if ends_in_probs else torch.softmax(raw, dim=-1)).numpy()

    def measured(self, data: Any) -> tuple[str, Any]:
        """The name and the pictures of the part to measure on: test, else validation, else what `fit` held out, else train.

        A single data set is taken whole. `evaluate` and the report go by this, so they do not measure what was trained on.
        """
        name, part = inputs.measured(data, self.split)
        return name, inputs.checked_set(part)

    def memorised(self, data: Any) -> Any:
        """The pictures of a data set (see `measured`) as this classifier sees them: one uint8 tensor with labels and classes."""
        return inputs.in_memory(self.measured(data)[1], self._prepared())

    def summary(self, input_shape: Sequence[int] | None = None, *, show: bool = True) -> Summary:
        """As Model.summary; the shape of the input is that of the pictures, once they are known."""
        if self._net is None:
            raise self._untrained()
        if input_shape is None and self.graph is None and self.preprocess is not None:
            input_shape = (self.preprocess.channels, *self.preprocess.size)
        return super().summary(input_shape, show=show)

    def _prepared(self) -> Preprocess:
        """The preprocessing of a classifier that has met its data."""
        if self.preprocess is None or self.classes is None:
            raise self._untrained()
        return self.preprocess

    def _untrained(self) -> LaminaError:
        return LaminaError(
            "This classifier has no weights yet.",
            "Its classes, its preprocessing and its weights come from training or from a file.",
            'Call fit("photos/") first, or open a file with lamina.load.',
        )

    def _copied(self) -> Callable[[str | os.PathLike[str]], Path]:
        """Weights, network, classes, preprocessing, split and last figures as they are now; the function writes them."""
        figures = {} if self.history is None else {k: v[-1] for k, v in self.history.history.items() if v}
        description = {
            "kind": "classifier",
            "compiled": objective.tell(self._compiled or {}),
            "network": self._described(),
            "classes": list(self.classes or ()),
            "preprocess": self._prepared().to_dict(),
            "split": self.split,
            "metrics": figures,
        }
        return file.take(self.net, description)

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Classifier:
        """The classifier that `save` wrote; see `lamina.load`."""
        net, graph = file.rebuild(contents, modules or {})
        described = contents.description
        classifier = cls(net)
        classifier.classes = tuple(described["classes"])
        classifier._set_preprocess(Preprocess.from_dict(described["preprocess"]))
        if graph is not None:
            classifier._adopt(graph)
        classifier.name = described["network"].get("name", classifier.name)
        classifier.split = described.get("split", {})
        if described.get("compiled"):
            classifier.compile(**objective.recall(described["compiled"]))
        return classifier
