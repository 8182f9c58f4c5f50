"""A network on the bench: made anew when asked, with pictures that it takes and its answers to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.testing.fault import ContractError, checking

Size = int | tuple[int, int]
ROWS = 3  # pictures in a batch
_SIZES = (
    (32, 32),
    (48, 40),
    (28, 28),
    (64, 64),
    (96, 80),
    (128, 128),
    (160, 128),
    (224, 224),
    (256, 224),
)  # px, tried in turn


@dataclass
class Case:
    """A network and pictures for it."""

    make: Callable[[], nn.Module]
    net: nn.Module
    sizes: list[tuple[int, int]]
    channels: int

    def images(self, rows: int = ROWS, size: tuple[int, int] | None = None) -> Tensor:
        return torch.randn(rows, self.channels, *(size or self.sizes[0]))

    @torch.no_grad()
    def answers(self, images: Tensor, net: nn.Module | None = None) -> list[Tensor]:
        """Every output in eval mode."""
        return list(outputs_of((net or self.net).eval()(images)).values())


def case_for(make: Callable[[], nn.Module], sizes: Sequence[Size] | None, in_channels: int | None) -> Case:
    """The network and what it is shown; raises ContractError where nothing can be made, or no size is taken."""
    with checking("making", "A network was expected.", "Pass a class, a function without arguments, or a name."):
        net = make()
        if not isinstance(net, nn.Module):
            raise TypeError(f"a {type(net).__name__} was made, which is no torch module")
    if in_channels is None:
        in_channels = next((m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3)
    case = Case(make, net, [], in_channels)
    if sizes:
        case.sizes = [(size, size) if isinstance(size, int) else size for size in sizes]
        return case
    failed: Exception | None = None
    for size in _SIZES:
        try:
            with torch.no_grad():
                net.eval()(case.images(2, size))
        except Exception as error:  # whatever a module raises for a size
            failed = error
        else:
            case.sizes.append(size)
        if len(case.sizes) == 2:
            break
    if not case.sizes:
        told = " ".join(str(failed).split())
        tried = ", ".join(f"{height} x {width}" for height, width in _SIZES)
        raise ContractError(
            "output",
            f"No picture with {in_channels} channels was taken; at last came {type(failed).__name__}: {told.rstrip('.')}.",
            f"One of these sizes was expected to be taken: {tried} px.",
            "Name the sizes and channels: check_network(make, sizes=(300, 332), in_channels=3).",
        ) from failed
    return case


def outputs_of(answer: Any) -> dict[str, Tensor]:
    """The tensors of an answer by the name of their field; those left out are None and not among them."""
    if isinstance(answer, Tensor):
        return {"logits": answer}
    fields = getattr(answer, "_fields", ())
    if "logits" not in fields:
        raise TypeError(
            f"the network gave a {type(answer).__name__}: logits, or a NamedTuple with logits, were expected"
        )
    return {field: value for field, value in zip(fields, answer, strict=True) if value is not None}
