"""A model as whatever looks into it needs it: its network, what stands before and behind it, the names of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lamina.core.errors import DataError, LaminaError, ShapeError, unknown_name
from lamina.data import geometry
from lamina.data.geometry import Window
from lamina.data.pictures import Picture, read
from lamina.data.preprocess import Preprocess
from lamina.explain.watching import twin
from lamina.export.checking import DETECTIONS
from lamina.export.deployable import Deployable
from lamina.structures import draw
from lamina.structures.batch import outputs_of


@dataclass(frozen=True)
class Looked:
    """A picture as it came (upright), as the network sees it (uint8 1 C H W), and which part of it that is."""

    shown: Image.Image
    image: Tensor
    window: Window


@dataclass(frozen=True, eq=False)
class Lens:
    """`net` is a twin of the model's network (see `watching.twin`); `prepare` and `finish` stand before and behind it.

    `names` are those of the answers: classes, or numbers where `is_classes` is False; empty where nobody told any.
    """

    net: nn.Module
    prepare: nn.Module
    finish: nn.Module
    preprocess: Preprocess | None
    names: tuple[str, ...]
    is_classes: bool
    is_boxes: bool = False  # answers (B D 6): a box's corners, score, class

    @classmethod
    def of(cls, model: Any, picture: Any = None) -> Lens:
        """The lens of a Model, Classifier, Regressor ..., or of what their `deployable()` gave, which is faster when it is kept.

        Raises LaminaError for anything else, and for a model that has learnt nothing yet.
        """
        deployable = model if isinstance(model, Deployable) else _deployable(model, picture)
        told = deployable.description
        names = tuple(map(str, told.get("classes") or told.get("names") or ()))
        device = next((value.device for value in deployable.net.parameters()), torch.device("cpu"))
        return cls(
            twin(deployable.net),
            deployable.prepare.to(device),
            deployable.finish.to(device),
            deployable.preprocess,
            names,
            is_classes=bool(told.get("classes")),
            is_boxes=deployable.answers == (DETECTIONS,),
        )

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next((value.device for value in self.net.parameters()), torch.device("cpu"))

    def look(self, picture: Picture) -> Looked:
        """One picture: a path, a PIL picture, pixels. Raises DataError or ShapeError for what is none."""
        if isinstance(picture, list | tuple) or (
            isinstance(picture, np.ndarray | Tensor) and picture.ndim not in (2, 3)
        ):
            shape = f" of shape {tuple(picture.shape)}" if isinstance(picture, np.ndarray | Tensor) else ""
            raise ShapeError(
                f"A {type(picture).__name__}{shape} came as picture.",
                "One picture was expected: a path, a PIL picture, or pixels (H W C, C H W, or H W).",
                "Pass them one by one.",
            )
        if self.preprocess is None:
            return self._bare(picture)
        shown = read(picture)
        image = self.preprocess.host(picture)[None]
        return Looked(shown, image, geometry.window(self.preprocess, (shown.height, shown.width)))

    def _bare(self, picture: Any) -> Looked:
        """A picture for a model that prepares none: an array as the network takes it."""
        if not isinstance(picture, np.ndarray | Tensor):
            raise _unprepared(picture)
        image = torch.as_tensor(picture).detach().cpu()
        image = image[None] if image.dim() == 2 else image
        pixels = image
        if image.dtype != torch.uint8:  # to be drawn only
            low, high = float(image.min()), float(image.max())
            low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
            pixels = ((image.float() - low) / max(high - low, 1e-12) * 255).round().to(torch.uint8)
        height, width = image.shape[-2:]
        return Looked(draw.picture(pixels), image[None], Window(0.0, 0.0, float(height), float(width)))

    def prepared(self, images: Tensor) -> Tensor:
        """Pictures as they come (B C H W) as the network takes them, on its device."""
        with torch.no_grad():
            value: Tensor = self.prepare(images.to(self.device))
        return value

    def answers(self, output: Tensor) -> Tensor:
        """Probabilities, or numbers in their unit (B K), float32 in host memory, of the network's output."""
        with torch.no_grad():
            answers: Tensor = self.finish(output.detach()).float().cpu()
        return answers.flatten(2).mean(2) if answers.dim() > 2 else answers

    def answer(self, images: Tensor) -> Tensor:
        """The answers (B K) to pictures as they come (B C H W)."""
        with torch.no_grad():
            return self.answers(first_output(self.net(self.prepared(images))))

    def place(self, label: int | str | None, answers: Tensor) -> int:
        """Which answer is meant: the named one, else the most probable class, of numbers the first.

        Raises UnknownNameError for a name or a number that is none.
        """
        count = answers.shape[-1]
        if label is None:
            return 0 if self.names and not self.is_classes else int(answers.argmax())
        if isinstance(label, str):
            if label not in self.names:
                raise unknown_name(
                    "class" if self.is_classes else "answer", label, self.names or map(str, range(count))
                )
            return self.names.index(label)
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < count:
            raise DataError(
                f"label is {label!r}.",
                f"The network gives {count} answers, 0 to {count - 1}.",
                "Pass one of these, or a class's name.",
            )
        return int(label)

    def name(self, index: int) -> str:
        """What an answer is called."""
        return self.names[index] if index < len(self.names) else f"output {index}"


def first_output(answer: Any) -> Tensor:
    """The first output of a network, which is what it is explained by."""
    return outputs_of(answer)[0][0]


def _deployable(model: Any, picture: Any) -> Deployable:
    if not hasattr(model, "deployable"):
        members: Sequence[Any] = getattr(model, "members", ())
        raise LaminaError(
            f"A {type(model).__name__} came as model.",
            "A Model, Classifier, Regressor ... with one network was expected.",
            "Take one of its members: model.members[0]." if members else "Wrap a torch module: models.Model(net).",
        )
    example: Tensor | None = None
    if not hasattr(model, "preprocess"):
        if isinstance(picture, np.ndarray | Tensor) and picture.ndim in (2, 3):
            one = torch.as_tensor(picture).detach().cpu()
            example = torch.stack([one if one.dim() == 3 else one[None]] * 2)
        elif getattr(model, "graph", None) is None:
            raise _unprepared(picture)
    made: Deployable = model.deployable() if example is None else model.deployable(example)
    return made


def _unprepared(picture: Any) -> DataError:
    return DataError(
        f"A {type(picture).__name__} came as picture.",
        "This model does not prepare pictures: it takes an array (C H W) as its network does.",
        "Prepare it yourself, or use a Classifier, which knows how its pictures are read.",
    )
