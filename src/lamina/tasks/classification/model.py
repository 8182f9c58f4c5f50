"""Classifier: pictures in, classes out. A Model with preprocessing, loss, metrics and results pre-wired."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import LaminaError, ShapeError
from lamina.data.preprocess import Preprocess
from lamina.models import Model, file
from lamina.models.arrays import Arrays, collect
from lamina.networks.load import book_state
from lamina.structures.results import Classification
from lamina.tasks.classification import inputs
from lamina.tasks.classification.decode import decode
from lamina.training import Runtime
from lamina.training.update import Schedule


class Classifier(Model):
    """One class for each picture.

    `network` is a name of `networks.names()`, a torch module that ends in logits, or a Model made of layers. Its
    classes, channels and picture size come from the data of the first `fit`, or from `classes` and `preprocess`.
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
        schedule: Schedule | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """As Model.compile, with the optimizer, loss and metrics of a classifier unless told otherwise."""
        super().compile(
            optimizer,
            loss,
            list(metrics),
            loss_weights=loss_weights,
            device=device,
            precision=precision,
            schedule=schedule,
            runtime=runtime,
        )

    # The network --------------------------------------------------------------------------------------------------

    def _take(self, network: nn.Module | Model) -> None:
        if isinstance(network, Model):
            self.graph, self._net = network.graph, network.net
        else:
            self._net = network

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
        train, validation = inputs.training_sets(x, y, held, fraction)
        if y is None and not inputs.is_arrays(train):
            self._meet(train)
            if held is None and validation is not None and fraction != 0:
                self.split = {"held_out": fraction or inputs.HELD_OUT, "by": "content hash", "seed": 0}
        return self._collect(train, y, weights), validation

    def _meet(self, dataset: Any) -> None:
        """Takes classes, channels and picture size from the first data set; later ones must have the same classes."""
        if self.classes is None:
            self.classes = tuple(dataset.classes)
        elif tuple(dataset.classes) != self.classes:
            raise LaminaError(
                f"The data has the classes {inputs.listed(dataset.classes)}.",
                f"This classifier knows {inputs.listed(self.classes)}, in this order.",
                "Train a new Classifier for other classes.",
            )
        if self.preprocess is None:
            self._set_preprocess(inputs.fitting_preprocess(dataset))

    def _collect(self, x: Any, y: Any, weights: Any) -> Arrays:
        if y is None:
            dataset = inputs.one_set(x, prefer=("test", "validation", "train"))
            if dataset is not None:
                self._meet(dataset)
                assert self.preprocess is not None
                x = inputs.in_memory(dataset, self.preprocess)
            return collect(x, None, weights=weights)
        images = inputs.as_images(x)
        if self.preprocess is None:
            self._set_preprocess(inputs.preprocess_for(images))
        if self.classes is None:
            self.classes = tuple(str(index) for index in range(int(np.asarray(y).max()) + 1))
        return collect(images, y, weights=weights)

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
                "Pass files or a data set, which are resized, or resize the arrays with classifier.preprocess.stack(images).",
            )

    # Using it -----------------------------------------------------------------------------------------------------

    def predict_probs(self, x: Any, batch_size: int = 256) -> np.ndarray[Any, Any]:
        """The probability of each class (N K, float32) for pictures, files, a folder, arrays or a data set."""
        if self._net is None or self.classes is None or self.preprocess is None:
            raise LaminaError(
                "This classifier has no weights yet.", "It is trained by fit or loaded.", 'Call fit("photos/") first.'
            )
        pictures = inputs.pictures(x, self.preprocess)
        (raw,) = self._answers(pictures, batch_size)
        ends_in_probs = self._make_step().targets[0].cut == "softmax"
        return (raw if ends_in_probs else torch.softmax(raw, dim=-1)).numpy()

    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """The class of a picture (one Classification), or of several (a list): files, a folder, arrays or a data set."""
        probs = self.predict_probs(x, batch_size)
        assert self.classes is not None
        results: list[Classification] = decode(probs, self.classes, inputs.sources(x))
        return results[0] if inputs.is_single(x) else results

    def memorised(self, data: Any) -> Any:
        """The pictures of a data set as this classifier sees them: one uint8 tensor with labels and classes."""
        assert self.preprocess is not None
        return inputs.in_memory(inputs.one_set(data, prefer=("test", "validation", "train")), self.preprocess)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the one file: weights, network, classes, preprocessing, split and last figures."""
        assert self.preprocess is not None
        figures = {} if self.history is None else {k: v[-1] for k, v in self.history.history.items() if v}
        description = {
            "kind": "classifier",
            "network": self._described(),
            "classes": list(self.classes or ()),
            "preprocess": self.preprocess.to_dict(),
            "split": self.split,
            "metrics": figures,
        }
        return file.write(path, self.net, description)

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Classifier:
        """The classifier that `save` wrote; see `lamina.load`."""
        net, graph = file.rebuild(contents, modules or {})
        described = contents.description
        classifier = cls(net, classes=described["classes"], preprocess=Preprocess.from_dict(described["preprocess"]))
        if graph is not None:
            classifier._adopt(graph)
        classifier.name = described["network"].get("name", classifier.name)
        classifier.split = described.get("split", {})
        return classifier
