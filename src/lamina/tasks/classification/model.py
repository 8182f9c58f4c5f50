"""Classifier: pictures in, classes out. A Model with preprocessing, loss, metrics and results pre-wired."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError, listed
from lamina.data.dataset import FolderDataset
from lamina.data.preprocess import Preprocess
from lamina.models import Model, borrowed, file, objective, pictures
from lamina.models.arrays import Arrays, collect
from lamina.models.model import PREDICT_BATCH
from lamina.models.pictured import Pictured
from lamina.models.streams import Streamed, one_each
from lamina.optimizers.schedules import Schedule
from lamina.structures.results import check_threshold
from lamina.tasks.classification import inputs, views
from lamina.tasks.classification.calibrating import Calibrating, Tempered
from lamina.tasks.classification.decode import check_count, decode, ending
from lamina.training import Runtime, SupervisedStep


class Classifier(Calibrating, Pictured):
    """One class for each picture, or with `multi_label` any number of them.

    `network` is a name of `networks.names()`, a torch module that ends in logits, or a Model made of layers. Its
    classes, channels and picture size come from the data of the first `fit`, or from `classes` and `preprocess`; a Model
    made of layers says its channels and size itself.
    `pretrained` brings weights: True or a name of `networks.weights` (downloaded once), or the path of a file of them, a
    model file of lamina's or the book's `deep_convnet_params.pkl`. They bring classes and preprocessing, so it predicts
    at once. For other classes, told here or by the data of the first `fit`, the class layer is replaced, and that is said.
    Weights for other arguments of a network come with a module: networks.create("mobilenet_v1", arguments={"padding": "same"}).
    """

    answers: ClassVar[str] = "probs"
    _learnt: ClassVar[tuple[str, ...]] = (*Pictured._learnt, "classes", "_lent", "temperature")

    def __init__(
        self,
        network: str | nn.Module | Model = "deepconvnet",
        *,
        pretrained: borrowed.Pretrained | None = None,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__(network, preprocess=preprocess)
        self.classes = None if classes is None else pictures.checked_names("classes", classes)
        self.multi_label = multi_label
        self._lent: tuple[str, ...] | None = None  # what borrowed class layers know, until the classes are settled
        self.compile()
        self._borrows = pretrained is not None and pretrained is not False
        if pretrained is not None and pretrained is not False:
            if isinstance(network, Model):
                raise LaminaError(
                    "pretrained came with a Model made of layers.",
                    "Weights are for a network by name, or for a torch module.",
                    "Open a saved model by lamina.load(path).",
                )
            self._borrow(borrowed.borrow(network, pretrained))
        elif self.classes is not None and self.preprocess is not None:
            self._make_net()
        elif not isinstance(network, str):
            self._take(network)

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = None,
        metrics: Any = (),
        *,
        loss_weights: Any = None,
        device: str = "auto",
        precision: str = "auto",
        schedule: str | Schedule | None = None,
        runtime: Runtime | None = None,
        update: Mapping[str, Any] | None = None,
    ) -> None:
        """As Model.compile, with the optimizer, loss and metrics of a classifier unless told otherwise.

        The loss is sparse_categorical_crossentropy with the accuracy as metric; where a picture has several labels it is
        binary_crossentropy, with the accuracy over all labels and the mean F1 of the classes.
        """
        if loss is None:
            loss = "binary_crossentropy" if self.multi_label else "sparse_categorical_crossentropy"
        if metrics == ():
            metrics = ["accuracy", "f1"] if self.multi_label else ["accuracy"]
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

    # The network --------------------------------------------------------------------------------------------------

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
        if isinstance(self._network, str):
            self._net = self._create(self._network, len(self.classes or ()), negative=self.multi_label)
        else:
            self._take(self._network)

    def _borrow(self, lent: borrowed.Borrowed) -> None:
        """The network with weights that it has learnt elsewhere, and their classes and preprocessing where none were told."""
        assert not isinstance(self._network, Model)
        self._note_lent(lent)
        self._net, known = lent.create(self._network, preprocess=self.preprocess)
        self._check_size(self._net)
        if self.preprocess is not None:
            inputs.warn_scaled_twice(self._net, self.preprocess)
        self._lent = () if lent.is_multi_label != self.multi_label else known  # other logits mean other things
        if self.classes is not None:
            self._settle(self.classes)
        elif self._lent:
            self.classes = self._lent

    def _settle(self, classes: Sequence[str]) -> None:
        """The classes are known: a borrowed network whose class layers know others gets new ones, and that is said.

        Classes that are mere numbers on one side are taken for the others if there are as many.
        """
        assert self._net is not None
        before, after = self._lent or (), tuple(classes)
        unnamed = any(names == tuple(map(str, range(len(names)))) for names in (before, after))
        if after != before and not (unnamed and len(before) == len(after)):
            self._net, self._step = borrowed.with_head(self._net, len(after)), None
            was = (
                f"The class layer for {len(before):,} classes gives way to one" if before else "The class layer is one"
            )
            if self.runtime.world.is_main:
                print(f"{self.name}: {was} with fresh values, for {len(after):,}: {listed(after)}.")
        self.classes, self._lent = after, None

    # Data ---------------------------------------------------------------------------------------------------------

    def _sets(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Arrays, Any]:
        """Training and validation samples. Without validation data a tenth is held out by the pictures' content."""
        train, validation, weights = self._divided(x, y, weights, held, fraction)
        if y is not None:  # arrays are not resized behind their owner's back
            return collect(train, None, weights=weights), validation
        return self._gathered(train, weights, unreadable="replace"), validation

    def _divided(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Any, Any, Any]:
        """Data sets for training and validation (None where there is none), and the weights of the former."""
        train, validation = self._named(x, y, held)
        split: dict[str, Any] = {"trained_on": inputs.signature(train), **getattr(train, "cut", {})}
        if validation is None and fraction != 0:
            fraction = inputs.HELD_OUT if fraction is None else fraction
            split = {"held_out": fraction, "of": len(train), "by": "content hash", "seed": inputs.SEED}
            train, validation, weights = inputs.hold_out(train, fraction, weights)
        self._begin(train)
        self._note(train, split)
        self.temperature = 1.0  # that of other weights
        return train, validation, weights

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

    def _named(self, x: Any, y: Any, held: Any) -> tuple[Any, Any]:
        """Data sets for training and validation (None where nobody brings it), with classes."""
        known = self.classes if self._lent is None else None  # those of borrowed weights do not name somebody's labels
        return inputs.training_sets(x, y, held, known, multi_label=self.multi_label)

    def _parts(self, x: Any, y: Any, held: Any, fraction: float | None) -> tuple[Any, Any]:
        train, validation, _ = self._divided(x, y, None, held, fraction)
        if isinstance(validation, tuple | list):
            validation = inputs.labelled(validation[0], validation[1], train.classes, multi_label=self.multi_label)
        elif validation is not None:
            validation = inputs.checked_set(validation)
        if y is not None:  # arrays are not resized behind their owner's back
            self._check(Arrays((train.images,)))
        self._build(Arrays(()))
        self._suit_classes()
        preprocess = self._prepared()
        parts = [part for part in (train, validation) if part is not None]
        if all(not isinstance(part, FolderDataset) or part.fits_in_memory(preprocess) for part in parts):
            parts = [pictures.in_memory(part, preprocess) for part in parts]
        return parts[0], parts[1] if len(parts) > 1 else None

    def _begin(self, train: Any) -> None:
        """Meets the data of training, which settles what class layers a borrowed network has."""
        if self._lent is not None:
            self._settle(train.classes)
        if self.multi_label:
            self._let_negative()
        self._meet(train)

    def _meet(self, dataset: Any) -> None:
        """Takes classes, channels and picture size from the first data set; later ones must have the same classes."""
        inputs.check_labels(dataset, self.classes, multi_label=self.multi_label)
        if self.preprocess is None:
            shape, side = inputs.declared_shape(self.graph), inputs.usual_side(self._network)
            fitting = inputs.fitting_preprocess(dataset, self._net, shape=shape, side=side)
            self._set_preprocess(fitting)
            if inputs.is_resized(dataset, shape) and self.runtime.world.is_main:
                print(f"{self.name}: {inputs.told_size(fitting)}", file=sys.stderr)
        self.classes = tuple(dataset.classes)

    def _suit_classes(self) -> None:
        """A module that was brought along for other classes gets a new class layer, as borrowed weights do."""
        preprocess = self._prepared()
        blank = torch.zeros(1, preprocess.channels, *preprocess.size, dtype=torch.uint8)
        answer = self._answers(blank, 1)[0]
        if self.graph is None and answer.dim() == 2 and answer.shape[1] != len(self.classes or ()):
            self._lent = tuple(map(str, range(answer.shape[1])))
            self._settle(self.classes or ())
            answer = self._answers(blank, 1)[0]
        check_count(answer.shape, self.classes)

    def _collect(self, x: Any, y: Any, weights: Any) -> Arrays:
        if self._net is None:
            raise self._untrained()
        if y is None and pictures.is_arrays(x):
            return collect(x, None, weights=weights)
        dataset = self._labelled(x, y) if y is not None else self.measured(x)[1]
        self._meet(dataset)
        return self._gathered(dataset, weights) if y is None else collect(dataset, None, weights=weights)

    def _labelled(self, x: Any, y: Any) -> Any:
        return inputs.labelled(x, y, self.classes, multi_label=self.multi_label)

    def _in_order(self, data: Any, batch_size: int) -> Any:
        if not isinstance(data, Arrays):
            pictures.refuse_batches(type(self).__name__, data)
        return super()._in_order(data, batch_size)

    def _build(self, data: Arrays) -> None:
        if self._net is None:
            self._make_net()
            self._step = None

    def _ready(self, data: Arrays) -> SupervisedStep:
        step = super()._ready(data)
        check_count(step.targets[0].output_shape or (), self.classes)
        return step

    # Using it -----------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = PREDICT_BATCH,
        verbose: str | int = 0,
        sample_weight: Any = None,
        *,
        tta: Any = None,
    ) -> dict[str, float]:
        """As Model.evaluate; with `tta` (see `predict`) the figures of the answers averaged over several views."""
        if tta is None:
            return super().evaluate(x, y, batch_size, verbose, sample_weight)
        return views.evaluated(self, x, y, tta=tta, batch_size=batch_size, sample_weight=sample_weight)

    def predict_probs(
        self, x: Any, batch_size: int = 256, *, tta: Any = None, engine: str = "auto", precision: str = "float32"
    ) -> np.ndarray[Any, Any]:
        """The probability of each class (N K, float32) for pictures, files, a folder, arrays or a data set; see `predict`."""
        return views.seen(self, x, tta=tta, batch_size=batch_size, engine=engine, precision=precision)[0]

    def predict(
        self,
        x: Any,
        batch_size: int = 256,
        verbose: str | int = 0,
        *,
        threshold: float | None = None,
        on_error: pictures.OnError = "raise",
        tta: Any = None,
        engine: str = "auto",
        precision: str = "float32",
    ) -> Any:
        """The class of a picture (one Classification), or of several (a list): files, a folder, arrays or a data set.

        Below the `threshold`, a probability, the answer is "none of these". With several labels a picture it is a Labelling
        with those of at least the threshold (None: 0.5).

        An array (3, H, W) is one picture to a classifier of colour pictures, and three to one of grey ones. Unreadable
        files among several raise a DataError that names all of them; with on_error="skip" they are left out and named in
        one warning, and each result's `path` says which file it is of. `tta` averages over several views of each picture:
        "ten-crop", "multi-scale", "flip", "shift", views of lamina.models.tta, or an augmentation.
        `engine` and `precision` say what answers: see Pictured.engines.
        """
        if threshold is not None:
            check_threshold(threshold)
        how: dict[str, Any] = {"tta": tta, "engine": engine, "precision": precision}
        probs, sources = views.seen(self, x, batch_size=batch_size, on_error=on_error, **how)
        results = decode(probs, self.classes or (), sources, threshold=threshold, multi_label=self.multi_label)
        return results[0] if pictures.is_single(x, self._prepared().channels) else results

    def _probs(self, batch: Tensor, batch_size: int) -> np.ndarray[Any, Any]:
        (raw,) = self._answers(batch, batch_size)
        check_count(raw.shape, self.classes)
        return np.asarray(self._ending(raw)(raw).numpy())

    def _ending(self, raw: Tensor) -> nn.Module:
        last = ending(self._make_step().targets[0], raw, multi_label=self.multi_label, probe=self._probe)
        return last if self.temperature == 1 else Tempered(last, self.temperature, multi_label=self.multi_label)

    def measured(self, data: Any) -> tuple[str, Any]:
        """The name and the pictures of the part to measure on: test, else validation, else what `fit` held out, else train.

        A single data set is taken whole. `evaluate` and the report go by this, so they do not measure what was trained on.
        """
        name, part = inputs.measured(data, self.split)
        return name, inputs.checked_set(part)

    def memorised(self, data: Any) -> Any:
        """The pictures of a data set (see `measured`) as this classifier sees them: one uint8 tensor with labels and classes."""
        return pictures.in_memory(self.measured(data)[1], self._prepared())

    def _prepared(self) -> Preprocess:
        """The preprocessing of a classifier that has met its data."""
        if self.preprocess is not None and self.classes is not None:
            return self.preprocess
        if self._net is None or self._lent is None:
            raise self._untrained()
        what = "what their classes are" if self.classes is None else "how pictures are to be prepared"
        raise LaminaError(
            f"The weights of this classifier do not tell {what}.",
            "It needs classes, a size, a mean and a std to answer.",
            "Pass classes=[...] and preprocess=lamina.Preprocess(...), or call fit, which takes them from the data.",
        )

    def _untrained(self) -> LaminaError:
        return LaminaError(
            "This classifier has no weights yet.",
            "Its classes, its preprocessing and its weights come from training or from a file.",
            'Call fit("photos/") first, or open a file with lamina.load.',
        )

    def _finish(self) -> nn.Module:
        preprocess = self._prepared()
        blank = torch.zeros(2, preprocess.channels, *preprocess.size, dtype=torch.uint8)
        return self._ending(self._answers(blank, 2)[0])

    def results(
        self, answers: np.ndarray[Any, Any], sources: Sequence[Any] = (), *, threshold: float | None = None
    ) -> list[Any]:
        """A Classification of each row of probabilities (B K), or a Labelling; see `predict`."""
        return decode(answers, self.classes or (), sources, threshold=threshold, multi_label=self.multi_label)

    def _description(self) -> dict[str, Any]:
        """Network, classes, preprocessing, split and last figures as they are now."""
        return {
            "kind": "classifier",
            "compiled": objective.tell(self._compiled or {}),
            "network": self._described(),
            "classes": list(self.classes or ()),
            **({"multi_label": True} if self.multi_label else {}),
            **self._told_temperature(),
            "preprocess": self._prepared().to_dict(),
            **self._facts(),
        }

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Classifier:
        """The classifier that `save` wrote; see `lamina.load`."""
        net, graph = file.rebuild(contents, modules or {})
        described = contents.description
        classifier = cls(net, multi_label=described.get("multi_label", False))
        classifier.classes = tuple(described["classes"])
        classifier._set_preprocess(Preprocess.from_dict(described["preprocess"]))
        if graph is not None:
            classifier._adopt(graph)
        classifier.name = described["network"].get("name", classifier.name)
        classifier._recall(described)
        classifier._take_temperature(described)
        if described.get("compiled"):
            classifier.compile(**objective.recall(described["compiled"]))
        return classifier
