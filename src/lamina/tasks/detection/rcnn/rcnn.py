"""R-CNN: Regions with CNN features (Girshick, Donahue, Darrell & Malik 2014, arXiv:1311.2524), stage by stage.

    propose     selective search                       a picture -> about 2000 boxes        proposals.py
    look        each warped, through a network         boxes -> features                    warping.py, features.py
    judge       a linear SVM per class                 features -> a score for each class   svm.py
    suppress    per class, at an overlap of 0.3
    refine      a ridge regression per class           features, boxes -> boxes             regression.py

Where the detectors that came after it learn all of this at once, here each stage is trained by itself, on what the one before gave.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import DataError, LaminaError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.pictures import read
from lamina.data.preprocess import Preprocess, pixels
from lamina.metrics.coco import coco_scores
from lamina.metrics.voc import voc_scores
from lamina.models import borrowed
from lamina.structures import boxes as box_arithmetic
from lamina.structures.annotation import Annotation
from lamina.structures.detections import Detections
from lamina.tasks.detection import boxed
from lamina.tasks.detection.rcnn import fine_tuning
from lamina.tasks.detection.rcnn.features import Features, RegionFeatures
from lamina.tasks.detection.rcnn.kept import Kept, key_of
from lamina.tasks.detection.rcnn.proposals import Recall, SelectiveSearch, recall, truth_rows
from lamina.tasks.detection.rcnn.regression import BoxRegressions
from lamina.tasks.detection.rcnn.svm import Lazily, LinearSVMs, Regions
from lamina.tasks.detection.targets import covering
from lamina.training import Runtime

_OVERLAP = 0.3  # of two boxes of a class: the better one stays
_LEAST, _MOST = -1.0, 100  # the margin above which boxes are evaluated; how many of a picture

Result = TypeVar("Result")


def coloured(picture: Any) -> UInt8[Tensor, "3 H W"]:
    """A file, an array or a Pillow picture in three colours, as the backbones take it; of a grey one all are alike."""
    return pixels(read(picture).convert("RGB"))


def met(dataset: Any, known: tuple[str, ...] | None, name: str) -> tuple[str, ...]:
    """The classes of data with boxes, which are those that are known if any are.

    Raises DataError for other data. Warns of boxes that cover nothing.
    """
    if not isinstance(dataset, AnnotatedDataset) or "boxes_xyxy" not in dataset.columns:
        raise DataError(
            f"{name} was given {dataset if isinstance(dataset, AnnotatedDataset) else type(dataset).__name__}.",
            "Pictures with boxes and labels were expected.",
            'Pass data.open("folder").train.',
        )
    if known is not None and known != tuple(dataset.classes):
        raise DataError(
            f"The data has the classes {', '.join(dataset.classes)}.",
            f"This {name} knows {', '.join(known)}, in this order.",
            "For other classes make a new one.",
        )
    boxed.examined(dataset)
    return tuple(dataset.classes)


def true_objects(dataset: AnnotatedDataset, index: int, size: tuple[int, int]) -> Annotation:
    """What stands in a picture of this (height, width), without boxes that cover nothing of it."""
    return covering(dataset.annotation(index, size), size)


def scored(dataset: AnnotatedDataset, found: Sequence[Detections]) -> dict[str, float]:
    """COCO's AP, AP50 and VOC's mean AP, 0 to 1, of what was found in each picture of a data set."""
    pictures = map(read, map(dataset.paths.name, range(len(dataset))))
    truths = [true_objects(dataset, index, (each.height, each.width)) for index, each in enumerate(pictures)]
    scores = coco_scores(truths, found, classes=dataset.classes)
    mean_ap = voc_scores(truths, found, classes=dataset.classes).mean_ap
    return {"AP": scores["AP"], "AP50": scores["AP50"], "mean_ap": mean_ap}


class RCNN:
    """Finds objects by judging every proposal with a network's features.

    `network` is a name of `networks.names()` with `pretrained` weights (as for a Classifier), or a torch module that gives maps.
    `cache` is a folder where proposals and features are kept, so that a run that was stopped goes on; None keeps them in memory.
    `side_px` is the size to which regions are warped, with `context_px` of their surroundings; None: 16 of 227 px, as in the paper.

    `fit` trains all stages; `propose`, `features`, `see`, `fit_svms`, `fit_regressions` and `fine_tune` are the stages. `seconds` says how
    long each has taken, and of how many pictures. Scores of results are margins of the SVMs: above 0 where the class is seen.
    """

    def __init__(
        self,
        network: str | nn.Module = "mobilenet_v2",
        *,
        pretrained: borrowed.Pretrained | None = None,
        proposals: Callable[[Tensor], Tensor] | None = None,
        side_px: int = 224,
        context_px: float | None = None,
        preprocess: Preprocess | None = None,
        cache: str | os.PathLike[str] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        lent = None if pretrained in (None, False) else borrowed.borrow(network, pretrained)
        if preprocess is None:
            preprocess = Preprocess() if lent is None or lent.preprocess is None else lent.preprocess
        if lent is not None:
            net, _ = lent.create(network, preprocess=None)
        else:
            net = network if isinstance(network, nn.Module) else networks.create(network)
        self.search = SelectiveSearch() if proposals is None else proposals
        context_px = side_px * 16 / 227 if context_px is None else context_px
        self.kept = Kept(None if cache is None else Path(cache))
        self._seeing: dict[str, Any] = {"side_px": side_px, "context_px": context_px, "runtime": runtime}
        self.look = RegionFeatures(net, preprocess, kept=self.kept, **self._seeing)
        self.classes: tuple[str, ...] | None = None
        self.svms: LinearSVMs | None = None
        self.regressions: BoxRegressions | None = None
        self.seconds: dict[str, tuple[float, int]] = {}

    # The stages ---------------------------------------------------------------------------------------------------

    def propose(self, picture: UInt8[Tensor, "C H W"]) -> Float[Tensor, "N 4"]:
        """Where something may stand in a picture; from the cache where it was asked before."""
        key = key_of({"proposals": 1, "search": repr(self.search)}, picture)
        return self._timed(
            "propose", self.kept.holds(key), lambda: self.kept.get(key, lambda: self._searched(picture))
        )["boxes"]

    def features(self, picture: UInt8[Tensor, "C H W"], boxes_xyxy: Float[Tensor, "N 4"]) -> Features:
        """What the network sees in boxes of a picture; from the cache where it was asked before."""
        known = self.kept.holds(self.look.key(picture, boxes_xyxy))
        return self._timed("look", known, lambda: self.look(picture, boxes_xyxy))

    def see(self, dataset: AnnotatedDataset, index: int) -> Regions:
        """What one picture has to teach the SVMs: the features of its annotated boxes, and then of its proposals."""
        picture, proposals, truth = self._proposed(dataset, index)
        corners, labels = truth_rows(truth)
        together = torch.cat([corners, proposals])
        overlaps = torch.zeros(len(together), len(dataset.classes))
        if truth.boxes_xyxy is not None and truth.labels is not None:  # crowds too: what is like them is no negative
            shared = box_arithmetic.overlap(together[:, None], truth.boxes_xyxy[None].float())
            overlaps = overlaps.scatter_reduce(1, truth.labels.expand(len(together), -1), shared, "amax")
        which = torch.cat([labels, labels.new_full((len(proposals),), -1)])
        return Regions(self.features(picture, together).deep, overlaps, which)

    def fine_tune(self, dataset: AnnotatedDataset, *, epochs: int = 1, regions: int = 64, rate: float = 1e-3) -> None:
        """Trains the network to tell the classes and background apart in proposals (section 2.3): positive from an overlap of 0.5 on.

        Of each picture at most `regions` take part, a quarter of them positive where there are as many. What the SVMs see changes
        with it: they are to be trained after it.
        """
        self._meet(dataset)
        start = time.perf_counter()
        found = (self._proposed(dataset, index) for index in range(len(dataset)))
        net = fine_tuning.fine_tuned(
            self.look, found, tuple(dataset.classes), epochs=epochs, regions=regions, rate=rate
        )
        self.look = RegionFeatures(net, self.look.preprocess, kept=self.kept, **self._seeing)
        self.svms = self.regressions = None
        self._add("fine_tune", time.perf_counter() - start, len(dataset))

    def fit_svms(self, dataset: AnnotatedDataset, **told: Any) -> LinearSVMs:
        """Trains a linear SVM for each class; `told` are fields of LinearSVMs. All proposals and features are worked out first."""
        self._meet(dataset)
        classes = tuple(dataset.classes)
        for index in range(len(dataset)):
            self.see(dataset, index)
        start = time.perf_counter()
        examples = Lazily(len(dataset), lambda index: self.see(dataset, index))
        self.svms = LinearSVMs(classes, **told).fit(examples)
        self._add("fit_svms", time.perf_counter() - start, len(dataset))
        return self.svms

    def fit_regressions(self, dataset: AnnotatedDataset, **told: Any) -> BoxRegressions:
        """Trains a ridge regression of boxes for each class; `told` are fields of BoxRegressions."""
        self._meet(dataset)
        made = BoxRegressions(tuple(dataset.classes), **told)
        pairs = []
        for index in range(len(dataset)):
            picture, proposals, truth = self._proposed(dataset, index)
            corners, labels = truth_rows(truth)
            features = self.features(picture, torch.cat([corners, proposals])).places[len(corners) :]
            pairs.append(made.pairs(features, proposals, corners, labels))
        start = time.perf_counter()
        self.regressions = made.fit(pairs)
        self._add("fit_regressions", time.perf_counter() - start, len(dataset))
        return self.regressions

    # All of it ----------------------------------------------------------------------------------------------------

    def fit(self, dataset: AnnotatedDataset) -> RCNN:
        """Trains all stages but fine-tuning, which is for `fine_tune`. Raises DataError for anything but pictures with boxes."""
        self.fit_svms(dataset)
        self.fit_regressions(dataset)
        return self

    def predict(self, x: Any, *, threshold: float = 0.0) -> Any:
        """What stands in a picture (Detections), or in several (a list): a file, an array, a Pillow picture, a list of them, a data set.

        `threshold`: the least margin. Raises LaminaError before `fit`.
        """
        if isinstance(x, AnnotatedDataset):
            return [self._found(coloured(name), threshold, name) for name in map(x.paths.name, range(len(x)))]
        if isinstance(x, list | tuple):
            return [self.predict(each, threshold=threshold) for each in x]
        return self._found(coloured(x), threshold, str(x) if isinstance(x, str | os.PathLike) else None)

    def evaluate(self, dataset: AnnotatedDataset) -> dict[str, float]:
        """COCO's AP, AP50 and VOC's mean AP of a data set, 0 to 1, and the recall of the proposals."""
        self._meet(dataset)
        found = self.predict(dataset, threshold=_LEAST)
        return {**scored(dataset, found), **self.recall(dataset).to_dict()}

    def recall(self, dataset: AnnotatedDataset) -> Recall:
        """How much of what is annotated the proposals meet."""
        told = [self._proposed(dataset, index) for index in range(len(dataset))]
        return recall([proposals for _, proposals, _ in told], [truth for _, _, truth in told])

    def timing(self) -> str:
        """How long each stage has taken, of what was not in the cache: ms a picture."""
        return ", ".join(
            f"{name} {1000 * taken / max(count, 1):,.0f} ms" for name, (taken, count) in self.seconds.items()
        )

    def warm(self, dataset: AnnotatedDataset, *, threads: int = 2) -> None:
        """Works out the proposals of all pictures, several at once; without it they are when they are needed."""
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(lambda path: self.propose(coloured(path)), dataset.paths):
                pass

    # Inside -------------------------------------------------------------------------------------------------------

    def _found(self, picture: Tensor, threshold: float, path: str | None) -> Detections:
        from torchvision.ops import nms  # torchvision takes seconds to import, and most models have no need of it

        if self.svms is None or self.classes is None:
            raise LaminaError(
                "This R-CNN has learnt nothing yet.", "Its SVMs are trained by fit.", "Call fit(dataset) first."
            )
        proposals = self.propose(picture)
        seen = self.features(picture, proposals)
        start = time.perf_counter()
        scores = self.svms.scores(seen.deep)
        boxes, labels, margins = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0)]
        for label in range(len(self.classes)):
            rows = torch.nonzero(scores[:, label] >= threshold)[:, 0]
            mine = self._placed(seen.places[rows], proposals[rows], label, picture)
            stays = nms(mine, scores[rows, label], _OVERLAP)
            boxes.append(mine[stays])
            labels.append(torch.full((len(stays),), label))
            margins.append(scores[rows[stays], label])
        all_margins = torch.cat(margins)
        best = all_margins.argsort(descending=True, stable=True)[:_MOST]
        self._add("judge", time.perf_counter() - start, 1)
        told: dict[str, Any] = {"path": path} if path is not None else {"image": picture}
        chosen = torch.cat(boxes)[best].numpy(), torch.cat(labels)[best].numpy(), all_margins[best].numpy()
        return Detections(self.classes, *chosen, **told)

    def _placed(self, places: Tensor, proposals: Tensor, label: int, picture: Tensor) -> Tensor:
        """Boxes as the regression has them, within the picture."""
        if self.regressions is None:
            return proposals
        moved = self.regressions.boxes(places, proposals, label)
        return box_arithmetic.clip(moved, (picture.shape[1], picture.shape[2]))

    def _proposed(self, dataset: AnnotatedDataset, index: int) -> tuple[Tensor, Tensor, Annotation]:
        picture = coloured(dataset.paths.name(index))
        return picture, self.propose(picture), true_objects(dataset, index, (picture.shape[1], picture.shape[2]))

    def _searched(self, picture: Tensor) -> dict[str, Tensor]:
        return {"boxes": self.search(picture)}

    def _meet(self, dataset: AnnotatedDataset) -> None:
        self.classes = met(dataset, None if self.svms is None else self.classes, "R-CNN")

    def _timed(self, stage: str, known: bool, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        made = work()
        if not known:
            self._add(stage, time.perf_counter() - start, 1)
        return made

    def _add(self, stage: str, taken: float, pictures: int) -> None:
        before, count = self.seconds.get(stage, (0.0, 0))
        self.seconds[stage] = before + taken, count + pictures
