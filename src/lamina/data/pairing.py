"""Files that belong together by their names: a picture and its mask, a picture and its other form."""

from __future__ import annotations

import os
from collections.abc import Sequence

from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.columns import Size
from lamina.data.pictures import read
from lamina.data.preprocess import pixels


def stem(name: str, *, ending: str = "") -> str:
    """The last part of a name without its file ending, and without `ending` behind it."""
    return os.path.splitext(name.rpartition("/")[2])[0].removesuffix(ending)


def pairs_by_stem(
    first: Sequence[str], second: Sequence[str], *, ending: str = ""
) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """(pairs in the order of `first`, those of `first` alone, those of `second` alone), by names without folders and endings.

    `ending` stands behind the names of `second`: "_mask". Raises DataError where two of `second` fit one.
    """
    partners: dict[str, str] = {}
    for name in second:
        other = partners.setdefault(stem(name, ending=ending), name)
        if other != name:
            raise DataError(
                f"Both {other} and {name} would belong to one picture.",
                "One file for each picture was expected.",
                "Move one away.",
            )
    pairs, alone, taken = [], [], set()
    for name in first:
        partner = partners.get(stem(name))
        if partner is None:
            alone.append(name)
        else:
            pairs.append((name, partner))
            taken.add(partner)
    return pairs, alone, [name for name in second if name not in taken]


def picture_beside(path: str, size: Size) -> UInt8[Tensor, "C H W"]:  # noqa: ARG001 - a column hands it
    """The picture that belongs to another, in its own size."""
    return pixels(read(path))
