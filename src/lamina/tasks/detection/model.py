"""Detector: pictures in, boxes with classes and scores out. A Model with preprocessing, losses, metrics and results pre-wired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina import optimizers
from lamina.core.errors import LaminaError, listed, unknown_name
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.prepared import Encode, Prepared
from lamina.data.preprocess import Preprocess
from lamina.export.deployable import Deployable
from lamina.metrics.coco import NUMBERS, CocoScores
from lamina.models import borrowed, feed, file, fitting, objective, pictures, videos
from lamina.models.annotated import AnnotatedModel
from lamina.models.annotated_data import Annotated, Described
from lamina.models.answering import Engines
from lamina.optimizers.schedules import Schedule
from lamina.structures.detections import Detections
from lamina.tasks.detection import boxed, decode, targets
from lamina.tasks.detection.decode import Detecting, Suppression
from lamina.tasks.detection.step import DetectionStep, Listener
from lamina.training import Loop, Runtime, SupervisedStep, Update, transfer

_OPTIMIZER = optimizers.AdamW(3e-4)  # heads on many places: the usual 1e-3 makes their loss leap
_SIDE = 320  # px of the network's input where nobody says
_CONTIGUOUS = ("faster_rcnn", "FasterRCNN")


class Detector(AnnotatedModel):
    """What stands where.

    `network` is a name of `networks.names("detection")`, which stands on the maps of `backbone` (None: its usual one), or a torch
    module of one of these classes. `pretrained` brings the backbone's weights (True, a name or a path), as for a Classifier.
    Classes come from the first data set, unless told; pictures are made 320 x 320 px ("pad"), unless `preprocess` says otherwise.
    """

    task: ClassVar[str] = "detection"
    answers: ClassVar[str] = "detections"
    _networks: ClassVar[str] = "detection"

    def __init__(
        self,
        network: str | nn.Module = "retinanet",
        *,
        backbone: str | None = None,
        pretrained: borrowed.Pretrained | None = None,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        given: dict[str, Any] = {"backbone": backbone, "pretrained": pretrained, "classes": classes}
        super().__init__(network, preprocess=preprocess, arguments=arguments, **given)
        self._suppression = Suppression()
        self._keeps_statistics = False  # of the backbone
        self.compile()

    def compile(
        self,
        optimizer: Any = _OPTIMIZER,
        loss: None = None,
        metrics: Any = ("AP", "AP50"),
        *,
        loss_weights: Mapping[str, float] | None = None,
        device: str = "auto",
        precision: str = "auto",
        schedule: str | Schedule | None = None,
        runtime: Runtime | None = None,
        update: Mapping[str, Any] | None = None,
    ) -> None:
        """As Model.compile. The losses are those of the network's paper; `loss_weights` multiplies its parts: {"box": 2.0}.

        `metrics` are names of COCO's twelve numbers, which are worked out in validation: "AP", "AP50", "AP75", "APsmall" ...
        """
        if loss is not None:
            raise LaminaError(
                f"compile came with loss={loss!r}.",
                "A detection network is trained by the losses of its paper.",
                'Leave it out; loss_weights={"box": 2.0} weighs the parts.',
            )
        names = [metrics] if isinstance(metrics, str) else list(metrics or ())
        for name in names:
            if name not in NUMBERS:
                raise unknown_name("number of COCO's", str(name), NUMBERS)
        optimizers.get(optimizer)
        optimizers.schedules.get(schedule)
        self._runtime = runtime or _runtime(self._network, device, precision)
        self._compiled = {
            "optimizer": optimizer,
            "loss": None,
            "metrics": names,
            "loss_weights": None if loss_weights is None else dict(loss_weights),
            "schedule": schedule,
            "update": fitting.tricks(update),
        }
        self._step = None
        self._is_shared |= fitting.hands_out_weights(optimizer, update)

    @property
    def suppression(self) -> Suppression:
        """Which of the boxes of a picture are its answer: assign a Suppression to change it."""
        return self._suppression

    @suppression.setter
    def suppression(self, suppression: Suppression) -> None:
        self._suppression, self._engines = suppression, Engines()
        if self._step is not None:
            self._detection_step().suppression = suppression

    # Data ---------------------------------------------------------------------------------------------------------

    def _encode(self) -> Encode:
        return targets.Objects(1, len(self.classes or ()))

    def _sets(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Described, Any]:
        data, validation = super()._sets(x, y, weights, held, fraction)
        train = data.dataset.dataset
        boxed.require_boxes(train, data.dataset.encode.most)
        if validation is not None:
            boxed.tell_unlearnt(train, validation)
        return data, validation

    def _prepare_set(self, dataset: Annotated) -> Prepared:
        most = boxed.examined(dataset)
        most *= targets.pictures_in(getattr(dataset, "change", None))
        return targets.Framed(dataset, self._prepared(), targets.Objects(most, len(self.classes or ())))

    def _usual_size(self, dataset: Annotated) -> tuple[int, int]:
        return _SIDE, _SIDE

    def _annotations(self, x: Any, y: Any) -> AnnotatedArrays:
        return boxed.as_data(x, y, self.classes)

    def _goals(self, step: SupervisedStep, targets_: Tensor) -> Tensor:
        return targets.trimmed(targets_)

    def _check(self, data: Any) -> None:
        """Pictures are read as the preprocessing makes them."""

    def _ready(self, data: Any) -> SupervisedStep:
        return self._make_step()

    # Training -----------------------------------------------------------------------------------------------------

    def _make_step(self) -> SupervisedStep:
        if self._step is None or objective.is_outdated(self._step, self._own_net):
            told, net, runtime = self._compiled or {}, self._own_net, self.runtime
            _check_count(net, self.classes or ())
            runtime.place(net)
            runtime.compile(net)
            trainable = any(parameter.requires_grad for parameter in net.parameters())
            schedule = optimizers.schedules.get(told["schedule"])
            update = (
                Update(net, told["optimizer"], runtime=runtime, schedule=schedule, **told["update"])
                if trainable
                else None
            )
            self._step = DetectionStep(
                net,
                update,
                classes=self.classes or (),
                preprocess=self._prepared(),
                suppression=self._suppression,
                metrics=told["metrics"],
                weights=told["loss_weights"] or {},
                runtime=runtime,
                prepare=self._prepare(),
            )
        return self._step

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = 256,
        verbose: str | int = 0,
        sample_weight: Any = None,
    ) -> dict[str, float]:
        """The losses, and COCO's twelve numbers in the pictures' own pixels: AP, AP50, AP75 ..., 0 to 1. `scores` tells more."""
        figures, scores = self._measured(x, y, batch_size)
        return {**figures, **scores.numbers}

    def scores(self, x: Any = None, y: Any = None, batch_size: int = 16) -> CocoScores:
        """COCO's numbers of all and of each class, and curves, in the pictures' own pixels. Print it for a table."""
        return self._measured(x, y, batch_size)[1]

    def _measured(self, x: Any, y: Any, batch_size: int) -> tuple[dict[str, float], CocoScores]:
        data = self._collect(x, y, None)
        batches, step = self._in_order(data, batch_size), self._detection_step()
        kept, step.metrics = step.metrics, {}
        step.listener = listener = Listener(step.classes)
        try:
            with self._averaged():
                figures = Loop(step).evaluate(listener.hearing(batches))
        finally:
            step.metrics, step.listener = kept, None
            feed.release(batches)
        sizes, found = listener.joined(self.runtime.world)
        dataset = data.dataset.dataset
        as_annotated = len(sizes) == len(dataset) and getattr(dataset, "change", None) is None  # and all could be read
        return figures, boxed.scored(dataset, sizes, found, step.classes) if as_annotated else listener.boxes.scores()

    def freeze(self, up_to: str | None = None, *, statistics: bool = True) -> None:
        """Trains only what comes behind the layer `up_to`, or only what stands on the backbone; see training.transfer.freeze."""
        super().freeze("trunk" if up_to is None else up_to, statistics=statistics)
        self._keep_statistics(self._net)

    def freeze_statistics(self) -> None:
        """Keeps the means and variances of the backbone's BatchNorms as they are while it trains; `unfreeze` lets them go.

        It may come before `fit`, and is for batches of fewer than 8 pictures or so, which tell them too roughly. Larger batches train
        better without, and where weights move far from those that the statistics were taken with, maps may die.
        """
        self._keeps_statistics = True
        self._keep_statistics(self._net)

    def unfreeze(self) -> None:
        """Trains all of the network again, and lets its BatchNorms follow the pictures."""
        self._keeps_statistics = False
        if self._net is not None:
            super().unfreeze()

    def _keep_statistics(self, net: nn.Module | None) -> None:
        if self._keeps_statistics and net is not None:
            transfer.freeze_statistics(net.get_submodule("trunk"))

    def _made(self) -> nn.Module:
        net = super()._made()
        self._keep_statistics(net)
        return net

    def _detection_step(self) -> DetectionStep:
        step = self._make_step()
        assert isinstance(step, DetectionStep)
        return step

    # Using it -----------------------------------------------------------------------------------------------------

    def predict(
        self,
        x: Any,
        batch_size: int = 16,
        verbose: str | int = 0,
        *,
        threshold: float = 0.5,
        on_error: pictures.OnError = "raise",
        engine: str = "auto",
        precision: str = "float32",
    ) -> Any:
        """What stands in a picture with a score of `threshold` or more (one Detections, in its own pixels), or in several (a list).

        Of a video file an iterator of what is found in its frames, which are read meanwhile. See Classifier.predict.
        """
        found = (
            result
            for answers, some in self._shown(x, batch_size, on_error, engine=engine, precision=precision)
            for result in self.results(answers, some.sources, sizes=some.sizes, threshold=threshold)
        )
        return videos.given_back(x, found, single=pictures.is_single(x, self._prepared().channels))

    def results(
        self,
        answers: np.ndarray[Any, Any],
        sources: Sequence[Any] = (),
        *,
        sizes: Sequence[tuple[int, int]] = (),
        threshold: float = 0.0,
    ) -> list[Detections]:
        """What stands in each picture by its answers (B D 6), in its own pixels where `sizes` tells its (height, width)."""
        told: dict[str, Any] = {"sources": sources, "sizes": sizes, "threshold": threshold}
        return decode.results(answers, self.classes or (), self._prepared(), **told)

    def _deployable(self, example: Any = None) -> Deployable:
        """The network with the suppression behind it: uint8 pictures (B C H W) to detections (B D 6); see tasks.detection.decode."""
        plain = super()._deployable(example)
        net = Detecting(self._own_net, self._suppression, len(self.classes or ()))
        net.training = self._own_net.training  # train() would go on to the network, and let frozen BatchNorms go
        return Deployable(
            net,
            plain.prepare,
            plain.finish,
            plain.example,
            answers=plain.answers,
            preprocess=plain.preprocess,
            description=plain.description,
        )

    def _finish(self) -> nn.Module:
        return nn.Identity()

    def _description(self) -> dict[str, Any]:
        """Network, classes, preprocessing, suppression, split and last figures as they are now."""
        return {
            "kind": "detector",
            "compiled": objective.tell(self._compiled or {}),
            "network": self._described(),
            "classes": list(self.classes or ()),
            "preprocess": self._prepared().to_dict(),
            "suppression": asdict(self._suppression),
            "statistics": "frozen" if self._keeps_statistics else "followed",
            **self._facts(),
        }

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Detector:
        """The detector that `save` wrote; see `lamina.load`."""
        net, _ = file.rebuild(contents, modules or {})
        described = contents.description
        prepared = Preprocess.from_dict(described["preprocess"])
        detector = cls(net, classes=described["classes"], preprocess=prepared)
        detector.name = described["network"].get("name", detector.name)
        detector._suppression = Suppression(**described["suppression"])
        if described.get("statistics") == "frozen":
            detector.freeze_statistics()
        detector._recall(described)
        if described.get("compiled"):
            detector.compile(**objective.recall(described["compiled"]))
        return detector


def _check_count(net: nn.Module, classes: Sequence[str]) -> None:
    """Raises LaminaError where the network was made for another number of classes than are named."""
    count = getattr(net, "num_classes", len(classes))
    if count != len(classes):
        raise LaminaError(
            f"The network tells {count} classes apart, and there are {len(classes)}: {listed(classes)}.",
            "Both are the same number.",
            f"Build it with num_classes={len(classes)}, or name as many classes by classes=[...].",
        )


def _runtime(network: Any, device: str, precision: str) -> Runtime:
    """The usual Runtime; for Faster R-CNN in contiguous memory on a processor with no more than AVX2.

    There 3x3 convolutions of 256 channels are gone back through 1.6 times as fast so, and a step takes 0.79 of the CPU time; inference
    the same. SSDlite's step would take 1.33 times as long.
    """
    made = Runtime(device, precision=precision)
    name = network if isinstance(network, str) else type(network).__name__
    narrow = made.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    if name in _CONTIGUOUS and narrow and made.precision == "float32":
        made.channels_last = False
    return made
