"""Segmenter: pictures in, a class for every pixel out. A Model with preprocessing, loss, metrics and results pre-wired."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina import losses
from lamina.core.errors import DataError, LaminaError, listed
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.augment import ProgressiveResize
from lamina.data.prepared import Encode
from lamina.data.preprocess import Preprocess
from lamina.data.video import is_video
from lamina.metrics import MeanIoU, Metric, SegmentationScores
from lamina.models import annotated_data, borrowed, feed, file, objective, pictures, videos
from lamina.models.annotated import AnnotatedModel
from lamina.models.annotated_data import Annotated, Described
from lamina.optimizers.schedules import Schedule
from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.batch import outputs_of
from lamina.structures.segmentation import SegmentationMap
from lamina.tasks.segmentation import decode, targets, tiling, weighing
from lamina.tasks.segmentation.measuring import OwnPixels, OwnPixelsStep
from lamina.training import Callback, History, Loop, Runtime, SupervisedStep
from lamina.training.runtime import evaluating

_USUAL_SIDE, _LARGEST_SIDE = 256, 512  # px: of pictures of many sizes; up to which those of one keep theirs


class Segmenter(AnnotatedModel):
    """The class of each pixel.

    `network` is a name of `networks.names("segmentation")`, which stands on the maps of `backbone` (None: its usual one), or a torch
    module that gives logits (B K H W) of the size of its pictures. `pretrained` brings the backbone's weights (True, a name or
    a path), as for a Classifier. Classes and picture size come from the first data set, unless told.
    """

    task: ClassVar[str] = "segmentation"
    _networks: ClassVar[str] = "segmentation"
    answers: ClassVar[str] = "probs"
    _learnt: ClassVar[tuple[str, ...]] = (*AnnotatedModel._learnt, "_compiled")  # into which fit writes weights

    def __init__(
        self,
        network: str | nn.Module = "unet",
        *,
        backbone: str | None = None,
        pretrained: borrowed.Pretrained | None = None,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        given: dict[str, Any] = {"backbone": backbone, "pretrained": pretrained, "classes": classes}
        super().__init__(network, preprocess=preprocess, arguments=arguments, **given)
        self._balance: str | None = None
        self._ending: tuple[nn.Module | None, nn.Module] = (None, nn.Identity())  # of which network, and what it is
        self.compile()

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = "pixel_crossentropy",
        metrics: Any = ("mean_iou", "pixel_accuracy"),
        *,
        loss_weights: Any = None,
        device: str = "auto",
        precision: str = "auto",
        schedule: str | Schedule | None = None,
        runtime: Runtime | None = None,
        update: Mapping[str, Any] | None = None,
    ) -> None:
        """As Model.compile. Losses of pixels are "pixel_crossentropy", "dice", "lovasz", "focal", sums: "pixel_crossentropy+dice".

        Pixels labelled 255 count nowhere; a function or module of your own, given labels as int64, sees to it itself. Raises
        LaminaError for a loss that cannot ignore a label.
        """
        if loss is not None:
            ignoring = losses.ignoring(loss, IGNORED)
            loss = loss if ignoring == losses.get(loss) else ignoring
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
        batch_size: int = 8,
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
        augment: Any = None,
        resize: ProgressiveResize | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        log_every: int | None = None,
    ) -> History:
        """Trains on a path, a data set or its name, or pictures x and maps of classes y (N H W); see Classifier.fit.

        `balance="median_frequency"` multiplies the pixel_crossentropy of each pixel by the median frequency of the classes over that
        of its own, counted in the training maps (SegNet, section 3.1), "sqrt_median_frequency" by the square root of that; the loss
        stays so, in validation and in the file. `augment` changes single pictures and their maps: "usual", names, or
        lamina.data.augment.sample. Validation is in the network's pixels, `evaluate` in those of the pictures.
        """
        weighing.check(balance)
        if class_weight:
            raise LaminaError(
                "class_weight came.",
                "A picture holds pixels of many classes.",
                'Pass balance="median_frequency", or compile(loss=lamina.losses.PixelCrossentropy(class_weights=...)).',
            )
        self._balance = balance
        beside: dict[str, Any] = {"sample_weight": sample_weight, "sample_by": sample_by, "resize": resize}
        kept: dict[str, Any] = {
            "run": run,
            "resume": resume,
            "checkpoint_every": checkpoint_every,
            "log_every": log_every,
        }
        try:
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
                initial_epoch=initial_epoch,
                seed=seed,
                augment=augment,
                **beside,
                **kept,
            )
        finally:
            self._balance = None

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = 16,
        verbose: str | int = 0,
        sample_weight: Any = None,
    ) -> dict[str, float]:
        """Loss and metrics, in float32: the metrics in the pictures' own pixels, whatever sizes they have, as `predict` answers.

        The loss is that of training, in the network's pixels. A class that no pixel is of is left out of the means, and said.
        """
        step, samples, _ = self._to_measure(x, y, batch_size, sample_weight)
        with self._averaged():
            figures = Loop(step).evaluate(samples)
        seen = step.seen.tolist()
        if self.runtime.world.size == 1:
            self._tell_absent([name for name, count in zip(self.classes or (), seen, strict=True) if not count])
        return figures

    def _tell_absent(self, absent: Sequence[str], of: str = "") -> None:
        if absent:
            told = f"No {of}pixel is of {listed(absent)}: left out of the means over classes."
            print(f"{self.name}: {told}", file=sys.stderr)

    def scores(self, x: Any = None, y: Any = None, batch_size: int = 16) -> SegmentationScores:
        """IoU and accuracy of each class, their means and the confusion of pixels, in the pictures' own; printing it gives a table.

        Takes what `evaluate` takes. Raises DataError where no pixel has a class.
        """
        counted = MeanIoU()
        step, samples, _ = self._to_measure(x, y, batch_size, None, metrics={counted.name: counted})
        with self._averaged(), evaluating(self._own_net), torch.no_grad():
            for some in samples:
                step.evaluate(some)
        counted.reduce()
        found = counted.scores(self.classes or ())
        if found is None or not found.confusion.any():
            raise DataError(
                "No pixel has a class.", "Maps with classes were expected.", "Check the maps: all is ignored."
            )
        return found

    def _to_measure(
        self, x: Any, y: Any, batch_size: int, weights: Any, metrics: Mapping[str, Metric] | None = None
    ) -> tuple[OwnPixelsStep, OwnPixels, Described]:
        pictures.refuse_batches(type(self).__name__, x)
        data = self._collect(x, y, weights)
        step = self._ready(data)
        samples = OwnPixels(
            data.dataset, min(feed.checked_size(batch_size), self._at_once), shard=self.runtime.world.shard
        )
        told: dict[str, Any] = {
            "finish": nn.Softmax(dim=1) if step.view is not self._own_net else self._finish(),
            "metrics": metrics,
        }
        return OwnPixelsStep(step, self._prepared(), len(self.classes or ()), **told), samples, data

    # Data ---------------------------------------------------------------------------------------------------------

    def _sets(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Described, Any]:
        data, validation = super()._sets(x, y, weights, held, fraction)
        targets.require_classes(data.dataset)
        if validation is not None and self.runtime.world.is_main:
            self._tell_absent(targets.absent(validation), "validation ")
        if self._balance is not None:
            assert self._compiled is not None
            self._compiled = {
                **self._compiled,
                "loss": weighing.weighed(self._compiled["loss"], data.dataset.dataset, self._balance),
            }
            self._step = None
        return data, validation

    def _meet(self, dataset: Annotated) -> None:
        if len(dataset.classes) < 2:
            raise DataError(
                f"The data has one class, {listed(dataset.classes)}.",
                "Pixels are told apart: at least two classes were expected, one of which may be the background.",
                "Give the background a class of its own, or name all classes: Segmenter(classes=[...]).",
            )
        super()._meet(dataset)

    def _encode(self) -> Encode:
        return targets.ClassMaps(len(self.classes or ()))

    def _goals(self, step: SupervisedStep, targets: Tensor) -> Tensor:
        return super()._goals(step, targets.long())  # as torch's losses want them

    def _usual_size(self, dataset: Annotated) -> tuple[int, int]:
        own = annotated_data.one_size(dataset)
        return own if own is not None and max(own) <= _LARGEST_SIDE else (_USUAL_SIDE, _USUAL_SIDE)

    def _annotations(self, x: Any, y: Any) -> AnnotatedArrays:
        maps = targets.as_maps(y)
        if self.classes is None:
            seen = max((int(each[each != IGNORED].max()) for each in maps if bool((each != IGNORED).any())), default=0)
        names = self.classes or tuple(map(str, range(seen + 1)))
        for number, each in enumerate(maps):
            wrong = each[(each >= len(names)) & (each != IGNORED)]
            if len(wrong):
                raise DataError(
                    f"y[{number}] holds the value {int(wrong[0])}.",
                    f"Classes are 0 to {len(names) - 1}, and {IGNORED} is no class.",
                    "Name all classes: Segmenter(classes=[...]), or set other values to 255.",
                )
        pictured: Any = pictures.as_images(x) if pictures.is_arrays(x) and not isinstance(x, list) else list(x)
        return AnnotatedArrays(pictured, [Annotation(class_map=each) for each in maps], names, task=self.task)

    # Using it -----------------------------------------------------------------------------------------------------

    def predict(
        self,
        x: Any,
        batch_size: int = 16,
        verbose: str | int = 0,
        *,
        on_error: pictures.OnError = "raise",
        engine: str = "auto",
        precision: str = "float32",
        tile: int | None = None,
        overlap: int | None = None,
    ) -> Any:
        """The classes of all pixels of a picture (one SegmentationMap, in its own size), or of several (a list); see Classifier.predict.

        Of a video file an iterator of the maps of its frames, which are read meanwhile. With `tile` a picture is not resized: the
        network sees tiles of so many pixels of it, side by side with an `overlap` (a quarter where nobody says), as pictures that are
        larger than memory need; such a map keeps no confidences.
        """
        tiling.check(tile, overlap, engine=engine, precision=precision)
        if tile is not None:
            asked: dict[str, Any] = {"channels": self._prepared().channels, "tile": tile, "overlap": overlap}
            # a processor is no faster with several tiles at once, and they take memory
            answer = partial(self._plain, batch_size=1 if self.runtime.device.type == "cpu" else batch_size)
            if is_video(x):
                found = (tiling.tiled(frame, answer, self.classes or (), **asked) for frame in videos.opened(x))
                return videos.given_back(x, found, single=False)
            each = annotated_data.one_by_one(x, self._prepared(), self.task)
            maps = tiling.each_tiled(each, answer, self.classes or (), on_error=on_error, **asked)
            return maps[0] if pictures.is_single(x, self._prepared().channels) else maps
        results = (
            result
            for probs, some in self._shown(x, batch_size, on_error, engine=engine, precision=precision)
            for result in self.results(probs, some.sources, sizes=some.sizes)
        )
        return videos.given_back(x, results, single=pictures.is_single(x, self._prepared().channels))

    def results(
        self,
        answers: np.ndarray[Any, Any],
        sources: Sequence[Any] = (),
        *,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> list[SegmentationMap]:
        """A map of each picture's probabilities (B K H W), of its own size (height, width) where `sizes` tells it."""
        return decode.decode(answers, self.classes or (), self._prepared(), sources=sources, sizes=sizes)

    def _finish(self) -> nn.Module:
        net, ending = self._ending
        if net is not self._own_net:
            ending = decode.ending(self._own_net, self._seen)
            self._ending = self._own_net, ending
        return ending

    def _seen(self) -> Tensor:
        """What the network gives for blank pictures."""
        preprocess, runtime = self._prepared(), self.runtime
        blank = runtime.put(torch.zeros(2, preprocess.channels, *preprocess.size, dtype=torch.uint8))
        runtime.place(self._own_net)
        with evaluating(self._own_net), torch.inference_mode():
            return outputs_of(self._own_net(self._prepare()(blank)))[0][0]

    def _description(self) -> dict[str, Any]:
        """Network, classes, preprocessing, split and last figures as they are now."""
        return {
            "kind": "segmenter",
            "compiled": objective.tell(self._compiled or {}),
            "network": self._described(),
            "classes": list(self.classes or ()),
            "preprocess": self._prepared().to_dict(),
            **self._facts(),
        }

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Segmenter:
        """The segmenter that `save` wrote; see `lamina.load`."""
        net, _ = file.rebuild(contents, modules or {})
        described = contents.description
        prepared = Preprocess.from_dict(described["preprocess"])
        segmenter = cls(net, classes=described["classes"], preprocess=prepared)
        segmenter.name = described["network"].get("name", segmenter.name)
        segmenter._recall(described)
        if described.get("compiled"):
            segmenter.compile(**objective.recall(described["compiled"]))
        return segmenter
