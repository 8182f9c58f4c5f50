"""Fast R-CNN (Girshick 2015) on the proposals of R-CNN: one pass for a picture, classes and boxes learnt at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.geometry import window
from lamina.data.prepared import fitted
from lamina.data.preprocess import Preprocess
from lamina.metrics.metric import Metric
from lamina.models import borrowed
from lamina.networks.fast_rcnn import FastRCNN
from lamina.networks.trunk import Trunk
from lamina.structures.batch import Batch, Logs
from lamina.structures.detections import Detections
from lamina.tasks.detection import decode, regions, targets
from lamina.tasks.detection.decode import Suppression
from lamina.tasks.detection.rcnn.rcnn import RCNN, coloured, met, scored, true_objects
from lamina.training import Loop, Runtime, Update
from lamina.training.runtime import evaluating

_LEAST = Suppression(overlap=0.3, least_score=0.01)  # the paper's suppression, section 3.2


class FastRegionStep:
    """Pictures, their proposals and targets (B 1+M 6) through a Fast R-CNN: cross-entropy and smooth L1 of drawn regions (equation 1)."""

    def __init__(self, net: FastRCNN, update: Update, *, runtime: Runtime, prepare: nn.Module) -> None:
        self.net, self.runtime, self.prepare = net, runtime, prepare
        self.networks: dict[str, nn.Module] = {"net": net}
        self.updates, self.metrics = {"net": update}, dict[str, Metric]()

    def train(self, batch: Batch) -> Logs:
        """One update."""
        with self.runtime.autocast():
            losses = self._losses(batch)
        loss = self.updates["net"](torch.stack(list(losses.values())).sum(), count=batch.size)
        return Logs(batch.size, loss=loss, **{f"{name}_loss": value.detach() for name, value in losses.items()})

    def evaluate(self, batch: Batch) -> Logs:
        """The losses alone."""
        losses = self._losses(batch)
        return Logs(batch.size, loss=torch.stack(list(losses.values())).sum())

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        images, proposals = (self.runtime.put(each) for each in batch.inputs)
        assert isinstance(batch.targets, Tensor)
        truths = targets.Truths.of(self.runtime.put(batch.targets))
        known = (proposals[..., 2:] > proposals[..., :2]).all(-1)
        drawn, match, taken = regions.drawn_regions(proposals, known, truths, training=self.net.training)
        judged = self.net.judge(self.net.maps(self.prepare(images)), drawn)
        return regions.judging_losses(judged, drawn, match, taken, truths)


class FastRCNNDetector:
    """Trains a Fast R-CNN on what `proposing` proposes, an RCNN whose proposals and cache are used; its SVMs are not.

    `network` is a name of `networks.names()` with `pretrained` weights, or a torch module that gives maps. Pictures are made
    `side_px` a side, padded. `arguments` are those of networks.fast_rcnn.FastRCNN. `seconds`: of `fit`, and of `judge` without proposing.
    """

    def __init__(
        self,
        proposing: RCNN,
        network: str | nn.Module = "mobilenet_v2",
        *,
        pretrained: borrowed.Pretrained | None = None,
        side_px: int = 320,
        arguments: dict[str, Any] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        lent = None if pretrained in (None, False) else borrowed.borrow(network, pretrained)
        told = proposing.look.preprocess if lent is None or lent.preprocess is None else lent.preprocess
        self.preprocess = Preprocess(size=(side_px, side_px), resize="pad", mean=told.mean, std=told.std)
        if lent is not None:
            under, _ = lent.create(network, preprocess=None)
        else:
            under = network if isinstance(network, nn.Module) else networks.create(network)
        self.proposing, self._under, self._arguments = proposing, under, dict(arguments or {})
        self.runtime = Runtime() if runtime is None else runtime
        self.net: FastRCNN | None = None
        self.classes: tuple[str, ...] = ()
        self.seconds: dict[str, tuple[float, int]] = {}

    def fit(
        self,
        dataset: AnnotatedDataset,
        *,
        epochs: int = 10,
        batch_size: int = 4,
        optimizer: Any = "adam",
        seed: int = 0,
    ) -> dict[str, list[float]]:
        """Trains on a data set; gives the losses of each epoch. Pictures are mirrored in every second epoch, as the paper does."""
        self.classes = met(dataset, None if self.net is None else self.classes, "Fast R-CNN")
        if self.net is None:
            self.net = FastRCNN(Trunk(self._under), len(self.classes), **self._arguments)
        net = self.net
        self.runtime.place(net)
        start = time.perf_counter()
        step = FastRegionStep(
            net,
            Update(net, optimizer, runtime=self.runtime),
            runtime=self.runtime,
            prepare=self.preprocess.normalize().to(self.runtime.device),
        )
        batches = _Batches([self._sample(dataset, index) for index in range(len(dataset))], batch_size, seed)
        history = Loop(step, seed=seed).fit(batches, epochs=epochs).history
        self.seconds["fit"] = time.perf_counter() - start, len(dataset) * epochs
        return history

    def predict(self, x: Any, *, threshold: float = 0.5) -> Any:
        """What stands in a picture (Detections), or in several (a list): a file, an array, a Pillow picture, a list of them, a data set."""
        if isinstance(x, AnnotatedDataset):
            return [self._found(coloured(name), threshold, name) for name in map(x.paths.name, range(len(x)))]
        if isinstance(x, list | tuple):
            return [self.predict(each, threshold=threshold) for each in x]
        return self._found(coloured(x), threshold, str(x) if isinstance(x, str | os.PathLike) else None)

    def evaluate(self, dataset: AnnotatedDataset) -> dict[str, float]:
        """COCO's AP, AP50 and VOC's mean AP of a data set, 0 to 1."""
        met(dataset, None if self.net is None else self.classes, "Fast R-CNN")
        return scored(dataset, self.predict(dataset, threshold=0.0))

    def _found(self, picture: Tensor, threshold: float, path: str | None) -> Detections:
        if self.net is None:
            raise LaminaError(
                "This Fast R-CNN has learnt nothing yet.", "It is trained by fit.", "Call fit(dataset) first."
            )
        proposals, size = self.proposing.propose(picture), (int(picture.shape[1]), int(picture.shape[2]))
        start = time.perf_counter()
        self.runtime.place(self.net)
        prepare = self.preprocess.normalize().to(self.runtime.device)
        images = prepare(self.runtime.put(self.preprocess.host(picture)[None]))
        with evaluating(self.net), torch.inference_mode():
            said = self.net(images, self.runtime.put(in_input(proposals, self.preprocess, size)[None]))
            answer = decode.decoded(self.net, said, self.preprocess.size, _LEAST, len(self.classes)).cpu().numpy()
        taken, count = self.seconds.get("judge", (0.0, 0))
        self.seconds["judge"] = taken + time.perf_counter() - start, count + 1
        sources = [picture if path is None else path]
        told: dict[str, Any] = {"sources": sources, "sizes": [size], "threshold": threshold}
        return decode.results(answer, self.classes, self.preprocess, **told)[0]

    def _sample(self, dataset: AnnotatedDataset, index: int) -> tuple[Tensor, Tensor, Tensor]:
        picture = coloured(dataset.paths.name(index))
        size = (int(picture.shape[1]), int(picture.shape[2]))
        proposals = in_input(self.proposing.propose(picture), self.preprocess, size)
        image, known = fitted(picture, true_objects(dataset, index, size), self.preprocess)
        return image, proposals, targets.Objects(max(len(known), 1), len(self.classes))(known)


class _Batches:
    """Batches of samples held in memory, shuffled anew in each epoch and mirrored in every second one."""

    def __init__(self, samples: Sequence[tuple[Tensor, Tensor, Tensor]], batch_size: int, seed: int) -> None:
        self.held, self.batch_size, self.seed = samples, batch_size, seed

    def __len__(self) -> int:
        return -(-len(self.held) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from number `start` on."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.held), generator=generator)
        for rows in order.split(self.batch_size)[start:]:  # type: ignore[no-untyped-call]
            samples = [self.held[row] for row in rows.tolist()]
            images = torch.stack([image for image, _, _ in samples])
            proposals, goals = (
                nn.utils.rnn.pad_sequence([sample[place] for sample in samples], batch_first=True) for place in (1, 2)
            )
            for goal, (_, _, own) in zip(goals, samples, strict=True):
                goal[len(own) :, 4] = targets.NOTHING
            if epoch % 2:
                images, proposals, goals = images.flip(3), proposals.clone(), goals.clone()
                for rows_ in (proposals, goals):
                    real = rows_[..., 2] > rows_[..., 0]
                    left, right = images.shape[3] - rows_[..., 2], images.shape[3] - rows_[..., 0]
                    rows_[..., 0], rows_[..., 2] = left * real, right * real
            yield Batch((images, proposals), goals)


def in_input(boxes_xyxy: Float[Tensor, "N 4"], preprocess: Preprocess, size: tuple[int, int]) -> Float[Tensor, "N 4"]:
    """Boxes of a picture of this (height, width) in the pixels of the network's input."""
    seen, (height, width) = window(preprocess, size), preprocess.size
    shift = boxes_xyxy.new_tensor([seen.left, seen.top] * 2)
    return (boxes_xyxy - shift) * boxes_xyxy.new_tensor([width / seen.width, height / seen.height] * 2)
