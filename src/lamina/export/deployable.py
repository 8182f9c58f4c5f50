"""What leaves the library: a network with what stands before it and behind it, and what is known of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.data.preprocess import Preprocess
from lamina.structures.batch import outputs_of


@dataclass(frozen=True, eq=False)
class Deployable:
    """A network between what makes its input and what makes answers of its outputs.

    `prepare` takes each input as it comes (pictures: uint8 B C H W) to what the network takes, `finish` the network's outputs to
    as many answers as `answers` names (float32: probabilities, numbers in their unit). `example` is a batch of two for each input
    that `inputs` names. `preprocess` makes pictures of that shape on the host; None for a network of other things. `description`
    is what JSON can hold: kind, classes or names, metrics, versions, as in the header of a model file.
    """

    net: nn.Module
    prepare: nn.Module
    finish: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...] = ("images",)
    answers: tuple[str, ...] = ("outputs",)
    preprocess: Preprocess | None = None
    description: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.example) != len(self.inputs) or not self.answers:
            raise LaminaError(
                f"There are {len(self.example)} examples for the inputs {', '.join(self.inputs)}, and {len(self.answers)} answers.",
                "Each input needs one example, and a network gives at least one answer.",
                "Name the inputs and the answers.",
            )

    def module(self) -> Answering:
        """All of it as one module in eval mode, with copies of the weights: nothing that is done to it reaches the network."""
        parts = (copy.deepcopy(part) for part in (self.prepare, self.net, self.finish))
        return Answering(*parts, count=len(self.answers)).eval().requires_grad_(False).cpu()

    def misfit(self, error: Exception) -> LaminaError:
        """The error of a network that does not take what it is given."""
        shapes = [f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" for value in self.example]
        told = next(iter(str(error).splitlines()), "no reason told").rstrip(".")
        return LaminaError(
            f"The network does not take its example, {' and '.join(shapes)} ({type(error).__name__}: {told}).",
            "A batch of two that model.net takes in eval mode was expected.",
            "Pass another example.",
        )


class Answering(nn.Module):
    """Inputs as they come to answers as a person wants them: the whole way on the device."""

    def __init__(self, prepare: nn.Module, net: nn.Module, finish: nn.Module, *, count: int) -> None:
        super().__init__()
        self.prepare, self.net, self.finish, self.count = prepare, net, finish, count

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = outputs_of(self.net(*(self.prepare(value) for value in inputs)))[0]
        answers = tuple(self.finish(output).float() for output in outputs)
        return answers[0] if self.count == 1 else answers


class Cast(nn.Module):
    """Numbers as float32; integers stay for a network that looks them up, but for uint8 images."""

    def __init__(self, *, images_alone: bool = False) -> None:
        super().__init__()
        self.images_alone = images_alone

    def forward(self, value: Tensor) -> Tensor:
        return value if self.images_alone and value.dtype != torch.uint8 else value.to(torch.float32)


def named(names: Sequence[str], count: int, *, stem: str) -> tuple[str, ...]:
    """As many names as are needed: those told, or the stem, or stem_0, stem_1 ..."""
    if len(names) == count:
        return tuple(names)
    return (stem,) if count == 1 else tuple(f"{stem}_{index}" for index in range(count))
