"""A model of pictures in which something stands: its data, its batches and its answers. What and where is its task's."""

from __future__ import annotations

import functools
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import DataError, LaminaError, listed
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.prepared import Encode, Prepared, check_whole
from lamina.data.preprocess import Preprocess
from lamina.data.workers import WorkerBatches
from lamina.models import annotated_data, borrowed, pictures
from lamina.models.annotated_data import Annotated, Described, Shown
from lamina.models.arrays import per_sample
from lamina.models.pictured import Pictured
from lamina.structures.annotation import Annotation
from lamina.structures.batch import Batch
from lamina.training.runtime import evaluating
from lamina.training.step import SupervisedStep

if TYPE_CHECKING:
    from lamina.data.augment.sample import SampleTransforms

USUAL = "usual"  # the augmentation that usually helps
_FEW = 32  # pictures in memory: an epoch of them is read in the time that workers take to start
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures
_OF_TORCHVISION = {"boxes": "boxes_xyxy", "iscrowd": "crowd", "area": "area_px"}
_TENSORS = ("labels", "boxes_xyxy", "masks", "keypoints", "crowd", "area_px", "class_map", "other")
_AS_THEY_ARE = ("attributes", "captions")


class AnnotatedModel(Pictured):
    """A network and the preprocessing of its pictures, trained on pictures with annotations (data.AnnotatedDataset).

    Pictures are used whole, in one size, and read by workers while they are used; a few in memory, without. `augment` of `fit`
    acts on single pictures with all that stands in them: "usual", names ("flip,crop,mosaic"), or
    lamina.data.augment.sample.SampleTransforms.
    """

    task: ClassVar[str]
    _learnt: ClassVar[tuple[str, ...]] = (*Pictured._learnt, "classes")
    _at_once: ClassVar[int] = 16  # pictures that are evaluated together

    def __init__(
        self,
        network: str | nn.Module,
        *,
        backbone: str | None = None,
        pretrained: borrowed.Pretrained | None = None,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(network, preprocess=preprocess)
        self.classes = None if classes is None else pictures.checked_names("classes", classes)
        if preprocess is not None:
            check_whole(preprocess)
        self._lent: borrowed.Borrowed | None = None
        self._arguments = dict(arguments or {})
        if isinstance(network, str):
            self._backbone = networks.backbone(network) if backbone is None else backbone
            networks.check_name(self._backbone)
            if pretrained is not None and pretrained is not False:
                self._lent = borrowed.borrow(self._backbone, pretrained)
                self.began_with = self._lent.told()
            return
        told = {"backbone": backbone, "pretrained": pretrained or None, "arguments": arguments}
        given = [name for name, value in told.items() if value is not None]
        if given:
            raise LaminaError(
                f"{type(self).__name__} was given a torch module and {', '.join(given)}.",
                "They are for networks by name.",
                f"Leave {' and '.join(given)} out.",
            )
        self._net = network

    # What a task says ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _encode(self) -> Encode:
        """From what is known of a picture, in the network's pixels, to the tensor that the loss compares; a picklable object."""

    @abstractmethod
    def _usual_size(self, dataset: Annotated) -> tuple[int, int]:
        """The (height, width) that pictures are given where nobody says."""

    @abstractmethod
    def _annotations(self, x: Any, y: Any) -> AnnotatedArrays:
        """The data set of pictures x and what is known of them, y, as `fit(x, y)` was given them."""

    def _goals(self, step: SupervisedStep, targets: Tensor) -> Tensor:
        """Targets of a batch as the step's loss takes them."""
        (target,) = step.targets
        return target.loss.prepare(targets, target.output_shape)

    # Data ---------------------------------------------------------------------------------------------------------

    def _sets(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Described, Any]:
        given = per_sample(weights)
        if given.weights is not None:
            raise LaminaError(
                "sample_weight came.",
                f"For {self.task} the loss is one of the parts of a picture, and pictures have no weights.",
                "Pass sample_by=weights, which draws some pictures more often.",
            )
        if y is not None:
            x = self._annotations(x, y)
        pair = held if isinstance(held, tuple | list) and len(held) == 2 else None
        train, validation = annotated_data.training_sets(x, None if pair else held, self.task)
        self._meet(train)
        if pair is not None:  # of which the classes are known by now
            validation = self._annotations(*pair)
        split: dict[str, Any] = {"trained_on": annotated_data.signature(train), **train.cut}
        if validation is None and fraction != 0:
            if given.odds is not None:
                raise LaminaError(
                    "sample_by came, and no validation data.",
                    "A tenth of the pictures would be held out, and the weights are those of all.",
                    "Pass validation_data, or validation_split=0.0.",
                )
            fraction = annotated_data.HELD_OUT if fraction is None else fraction
            split = {"held_out": fraction, "of": len(train), "by": "content hash", "seed": annotated_data.SEED}
            train, validation = train.split(fraction, seed=annotated_data.SEED)
        self._note(train, split)
        return Described.of(self._prepare_set(train), given.odds), validation

    def _meet(self, dataset: Annotated) -> None:
        """Takes classes and preprocessing from the first data set, and makes the network; later ones must have the same classes."""
        if self.classes is not None and tuple(dataset.classes) != self.classes:
            raise LaminaError(
                f"The data has the classes {listed(dataset.classes)}.",
                f"This {type(self).__name__.lower()} knows {listed(self.classes)}, in this order.",
                "For other classes make a new one.",
            )
        self.classes = tuple(dataset.classes)
        if self.preprocess is None:
            self._set_preprocess(self._usual_preprocess(dataset))
        if self._net is None:
            self._net, self._step = self._made(), None

    def _usual_preprocess(self, dataset: Annotated) -> Preprocess:
        """Whole pictures in the usual size, with the mean and std that the pretrained backbone wants."""
        preprocess = whole(self._usual_size(dataset), like=None if self._lent is None else self._lent.preprocess)
        if self.runtime.world.is_main:
            height, width = preprocess.size
            print(
                f"{self.name}: Pictures are made {height} x {width} px. preprocess=lamina.Preprocess(size=..., resize='pad') "
                "(--size) says another size.",
                file=sys.stderr,
            )
        return preprocess

    def _made(self) -> nn.Module:
        """The network by its name, for the classes that are known."""
        assert isinstance(self._network, str)
        preprocess = self._prepared()
        if self._lent is not None:
            under, _ = self._lent.create(self._backbone, preprocess=preprocess)
        else:
            under = networks.create(self._backbone, in_channels=preprocess.channels)
        arguments = {"num_classes": len(self.classes or ()), **self._arguments}
        return networks.create_on(self._network, under, arguments=arguments)

    def _prepare_set(self, dataset: Annotated) -> Prepared:
        return Prepared(dataset, self._prepared(), self._encode())

    def _collect(self, x: Any, y: Any, weights: Any) -> Described:
        if self._net is None:
            raise self._untrained()
        dataset = self._annotations(x, y) if y is not None else self.measured(x)[1]
        self._meet(dataset)
        return Described.of(self._prepare_set(dataset))

    def measured(self, data: Any) -> tuple[str, Annotated]:
        """The name and the pictures of the part to measure on: test, else validation, else what `fit` held out, else train."""
        return annotated_data.measured(data, self.split, self.task)

    def _in_order(self, data: Any, batch_size: int) -> Any:
        if not isinstance(data, Described):
            pictures.refuse_batches(type(self).__name__, data)
        return super()._in_order(data, min(batch_size, self._at_once))

    def _batches(self, data: Any, step: SupervisedStep, *, augment: Any = None, **feeding: Any) -> WorkerBatches:
        put = step.runtime.put
        dataset = data.dataset.augmented(self._augmentation(augment, data.dataset.dataset))
        few = isinstance(dataset.dataset, AnnotatedArrays) and len(dataset) <= _FEW
        batches = WorkerBatches(dataset, workers=0 if few else "auto", pin_memory=step.runtime.pins, **feeding)

        def adapt(batch: Batch) -> Batch:
            assert isinstance(batch.inputs, Tensor)
            assert isinstance(batch.targets, Tensor)
            return Batch(put(batch.inputs), put(self._goals(step, batch.targets)))

        return batches.adapted(functools.partial(step.runtime.ahead, adapt), shard=step.runtime.world.shard)

    def _augmentation(self, augment: Any, dataset: Annotated) -> SampleTransforms | None:
        """What changes single pictures in training, from what `fit` was given."""
        from lamina.data.augment import sample  # torchvision's transforms take seconds to import

        size = self._prepared().size
        listed = augment if isinstance(augment, list | tuple) else [augment]
        of_batches = [type(one).__name__ for one in listed if hasattr(one, "draws")]
        if of_batches:
            raise LaminaError(
                f"augment holds {', '.join(of_batches)} of lamina.data.augment, which change batches of pictures.",
                f"For {self.task} what stands in a picture moves with it: transforms of single pictures were expected.",
                'Pass "usual", names such as "flip,crop", or those of lamina.data.augment.sample.',
            )
        if augment is None or isinstance(augment, sample.SampleTransforms):
            return augment
        if augment == USUAL:
            return sample.augmentation(self.task, size=size)
        if isinstance(augment, str) or (isinstance(augment, Sequence) and all(isinstance(one, str) for one in augment)):
            return sample.named(augment, dataset=dataset, size=size)  # type: ignore[arg-type]
        return sample.SampleTransforms(augment if isinstance(augment, Sequence) else [augment])

    def _parts(self, x: Any, y: Any, held: Any, fraction: float | None) -> tuple[Any, Any]:
        raise LaminaError(
            f"fine_tune was called for {self.task}.",
            "It trains a class layer first; here what comes behind the pretrained layers is new as a whole.",
            "Call fit: pretrained=... begins from weights, and the optimizer's groups can give them lower rates.",
        )

    # Using it -----------------------------------------------------------------------------------------------------

    def _shown(
        self, x: Any, batch_size: int, on_error: pictures.OnError, *, engine: str, precision: str
    ) -> Iterator[tuple[np.ndarray[Any, Any], Shown]]:
        """The network's answers to pictures of any kind, some at a time, with what names them and their own sizes."""
        if self._net is None:
            raise self._untrained()
        for some in annotated_data.shown(x, self._prepared(), self.task, on_error):
            yield self.answer(some.images, batch_size, engine=engine, precision=precision), some

    def answer(
        self, images: Tensor, batch_size: int = 16, *, engine: str = "auto", precision: str = "float32"
    ) -> np.ndarray[Any, Any]:
        """What a deployed network answers (N ...) to pictures as the preprocessing makes them (uint8 N C H W); see `engines`."""
        asked: dict[str, Any] = {"batch_size": batch_size, "engine": engine, "precision": precision}
        return self.engines.answer(self, images, lambda some: self._plain(some, batch_size), **asked)

    def _plain(self, images: Tensor, batch_size: int) -> np.ndarray[Any, Any]:
        """The same by the network in torch."""
        deployable = self._deployable()
        runtime, net = self.runtime, deployable.net
        prepare, finish = deployable.prepare.to(runtime.device), deployable.finish.to(runtime.device)
        runtime.place(net)
        answers = []
        with self._averaged(), evaluating(net), torch.inference_mode():
            for some in torch.split(images, batch_size):
                answers.append(finish(net(prepare(runtime.put(some)))).float().cpu())
        return np.asarray(torch.cat(answers).numpy())

    def _prepared(self) -> Preprocess:
        if self.preprocess is None or self.classes is None:
            raise self._untrained()
        return self.preprocess

    def _untrained(self) -> LaminaError:
        kind = type(self).__name__.lower()
        return LaminaError(
            f"This {kind} has no weights yet.",
            "Its classes, its preprocessing and its weights come from training or from a file.",
            'Call fit("data/") first, or open a file with lamina.load.',
        )


def whole(size: tuple[int, int], *, like: Preprocess | None = None) -> Preprocess:
    """The usual preprocessing: whole pictures within (height, width) px, with the mean and std of `like`, or of ImageNet's pictures."""
    mean, std = (_MEAN, _STD) if like is None else (like.mean, like.std)
    return Preprocess(size=size, resize="pad", mean=mean, std=std)


def annotation(told: Annotation | Mapping[str, Any]) -> Annotation:
    """What is known of one picture: an Annotation as it is, or a dict with fields of one, as torchvision's detectors take it.

    What else the dict holds becomes `extras`; what is None is left out. Raises DataError for no array.
    """
    if isinstance(told, Annotation):
        return told
    known, extras = dict[str, Any](), dict[str, Any]()
    for name, value in told.items():
        field = _OF_TORCHVISION.get(name, name)
        if value is None:
            continue
        if field in _TENSORS:
            known[field] = _tensor(name, value)
        elif field in _AS_THEY_ARE:
            known[field] = value
        else:
            extras |= value if field == "extras" else {name: value}
    if "boxes_xyxy" in known and not known["boxes_xyxy"].numel():
        known["boxes_xyxy"] = known["boxes_xyxy"].reshape(-1, 4)
    if "labels" in known and not known["labels"].numel():
        known["labels"] = known["labels"].long()  # an empty list tells no type
    return Annotation(**known, extras=extras)


def _tensor(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} of an annotation came as {type(value).__name__}, which is no array ({error}).",
            "Numbers of each object, in a tensor, an array or lists of one length, were expected.",
            'Pass for example {"boxes": [[10, 10, 40, 40]], "labels": [0]}.',
        ) from error
