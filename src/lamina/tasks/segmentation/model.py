"""Segmenter: pictures in, a class for every pixel out. A Model with preprocessing, loss, metrics and results pre-wired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import nn

from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.prepared import Encode
from lamina.data.preprocess import Preprocess
from lamina.models import annotated_data, borrowed, file, objective, pictures
from lamina.models.annotated import AnnotatedModel
from lamina.models.annotated_data import Annotated
from lamina.optimizers.schedules import Schedule
from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.segmentation import SegmentationMap
from lamina.tasks.segmentation import targets
from lamina.tasks.segmentation.decode import decode
from lamina.training import Runtime

_USUAL_SIDE, _LARGEST_SIDE = 256, 512  # px: of pictures of many sizes; up to which those of one keep theirs


class Segmenter(AnnotatedModel):
    """The class of each pixel.

    `network` is a name of `networks.names("segmentation")`, which stands on the maps of `backbone` (None: its usual one), or a torch
    module that gives logits (B K H W) of the size of its pictures. `pretrained` brings the backbone's weights (True, a name or
    a path), as for a Classifier. Classes and picture size come from the first data set, unless told.
    """

    task: ClassVar[str] = "segmentation"
    answers: ClassVar[str] = "probs"

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
        """As Model.compile. Losses of pixels are "pixel_crossentropy", "dice", "lovasz", and sums: "pixel_crossentropy+dice"."""
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

    # Data ---------------------------------------------------------------------------------------------------------

    def _encode(self) -> Encode:
        return targets.ClassMaps(len(self.classes or ()))

    def _usual_size(self, dataset: Annotated) -> tuple[int, int]:
        own = annotated_data.one_size(dataset)
        return own if own is not None and max(own) <= _LARGEST_SIDE else (_USUAL_SIDE, _USUAL_SIDE)

    def _annotations(self, x: Any, y: Any) -> AnnotatedArrays:
        maps = targets.as_maps(y)
        if self.classes is None:
            seen = max((int(each[each != IGNORED].max()) for each in maps if bool((each != IGNORED).any())), default=0)
        names = self.classes or tuple(map(str, range(seen + 1)))
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
    ) -> Any:
        """The classes of all pixels of a picture (one SegmentationMap, in its own size), or of several (a list); see Classifier.predict."""
        results = [
            result
            for probs, some in self._shown(x, batch_size, on_error, engine=engine, precision=precision)
            for result in self.results(probs, some.sources, sizes=some.sizes)
        ]
        return results[0] if pictures.is_single(x, self._prepared().channels) else results

    def results(
        self,
        answers: np.ndarray[Any, Any],
        sources: Sequence[Any] = (),
        *,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> list[SegmentationMap]:
        """A map of each picture's probabilities (B K H W), of its own size (height, width) where `sizes` tells it."""
        return decode(answers, self.classes or (), self._prepared(), sources=sources, sizes=sizes)

    def _finish(self) -> nn.Module:
        return nn.Softmax(dim=1)

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
