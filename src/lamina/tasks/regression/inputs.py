"""Pictures and the numbers that belong to them, from what people pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.dataset import ImageDataset
from lamina.data.faults import all_unreadable
from lamina.data.faults import named as listed
from lamina.data.formats import image_folder
from lamina.data.preprocess import Preprocess
from lamina.models import borrowed, pictures
from lamina.networks import contract

SIDE = 64  # px, of pictures of many sizes where nobody says
_SEED = 0  # of the hash by which pictures are held out


@dataclass(frozen=True, eq=False)
class Measured:
    """Pictures in memory (uint8 N C H W) and D numbers for each of them (N D), in the user's unit."""

    images: UInt8[Tensor, "N C H W"]
    labels: Float[Tensor, "N D"]
    unreadable: tuple[int, ...] = ()  # of the pictures that came, those that were left out
    sources: tuple[str, ...] = ()  # the pictures' files, where they came as such

    def __len__(self) -> int:
        return len(self.images)

    def positions(self) -> Tensor:
        """Which of the pictures that came these are."""
        came, missing = len(self) + len(self.unreadable), set(self.unreadable)
        return torch.tensor([index for index in range(came) if index not in missing], dtype=torch.int64)

    def subset(self, rows: Tensor) -> Measured:
        """Those at some positions."""
        sources = tuple(self.sources[row] for row in rows.tolist()) if self.sources else ()
        return Measured(self.images[rows], self.labels[rows], sources=sources)

    def split(self, fraction: float) -> tuple[Tensor, Tensor]:
        """Positions of the rest and of those that are held out, by the pictures' content; equal ones on one side."""
        count = len(self)
        rest, held = ImageDataset(self.images, torch.arange(count), range(count)).split(fraction, seed=_SEED)  # type: ignore[arg-type]
        return rest.labels, held.labels


def measured(x: Any, y: Any, preprocess: Preprocess) -> Measured:
    """Pictures as the network takes them, with their numbers.

    `x` are uint8 arrays, files or PIL pictures, with `y` (N) or (N D); or a folder, with `y` a dict from file names to numbers.
    Unreadable files among several are left out, and named in one warning.
    """
    refuse_bare(x, y)
    if isinstance(x, Measured):
        return x
    if isinstance(y, Mapping):
        x, y = _by_name(x, y)
    targets, named, problems = numbers(y), pictures.files(x), dict[int, DataError]()
    images = None if named is not None else pictures.read(x, preprocess)[0]
    count = len(named or ()) if images is None else len(images)
    if count != len(targets):
        raise DataError(
            f"x has {count:,} pictures and y has {len(targets):,} rows of numbers.",
            "Every picture needs its numbers.",
            "Check how the two were cut.",
        )
    if named is not None:
        images, problems = pictures.readable(named, preprocess)
    assert images is not None
    sources = tuple(str(each) if pictures.is_location(each) else "" for each in named or ())
    if not problems:
        return Measured(images, targets, sources=sources)
    told = {index: error.came for index, error in problems.items()}
    if len(told) == count:
        raise all_unreadable(f"{count:,} pictures", told)
    warn(f"{len(told):,} of {count:,} pictures cannot be read; they are left out:\n{listed(told)}")
    kept = [index for index in range(count) if index not in told]
    return Measured(images, targets[kept], tuple(sorted(told)), tuple(sources[index] for index in kept))


def refuse_bare(x: Any, y: Any) -> None:
    """Raises DataError for pictures without numbers, whatever else is known of them."""
    if y is None and not isinstance(x, Measured):
        raise DataError(
            "The pictures came without numbers.",
            "A Regressor learns from pictures x and numbers y.",
            "Pass fit(x, y): y an array (N) or (N D), or for a folder a dict from file names to numbers.",
        )


def numbers(y: Any) -> Float[Tensor, "N D"]:
    """Targets as float32 (N D). Raises DataError where they are no finite numbers of that shape."""
    try:
        values = torch.as_tensor(np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"y of type {type(y).__name__} holds no numbers ({error}).",
            "An array (N) or (N D) was expected.",
            "Turn texts into numbers first; for classes use lamina.Classifier.",
        ) from error
    if values.dim() == 1:
        values = values[:, None]
    if values.dim() != 2 or values.numel() == 0:
        raise DataError(
            f"y has the shape {tuple(values.shape)}.",
            "(N) or (N D) was expected.",
            "Give each picture a row of numbers.",
        )
    bad = ~torch.isfinite(values).all(dim=1)
    if bad.any():
        raise DataError(
            f"y holds NaN or infinity in {int(bad.sum()):,} of {len(values):,} rows, first in row {int(bad.nonzero()[0])}.",
            "Finite numbers were expected.",
            "Leave out the pictures whose numbers are not known.",
        )
    return values.float()


def fitting_preprocess(x: Any, y: Any, net: nn.Module | None = None) -> Preprocess:
    """Colours as the first pictures have them; their size, if it is one for all of up to 100, else squares of 64 px.

    A module says its channels by its first convolution, and one of timm's the rest too, but for the size of arrays.
    """
    known = None if net is None else borrowed.brought(net)
    if isinstance(y, Mapping):
        x = _by_name(x, y)[0]
    named = pictures.files(x)
    if named is None:
        images = pictures.as_images(x)
        channels, size = int(images.shape[1]), (int(images.shape[2]), int(images.shape[3]))
    else:
        looks = [_look(each) for each in named[:: max(len(named) // 100, 1)]]
        channels = 1 if all(grey for _, grey in looks) else 3
        sizes = {side for side, _ in looks}
        size = sizes.pop() if len(sizes) == 1 and max(max(sizes)) <= 2 * SIDE else (SIDE, SIDE)
    if known is not None:
        return known if named is not None else replace(known, size=size)
    if net is not None:
        channels = contract.suited_channels(net, channels, size)
    return Preprocess(channels=channels, size=size, mean=(0.5,), std=(0.25,))


def _look(picture: Any) -> tuple[tuple[int, int], bool]:
    """Size and whether it is grey, from the header; of an unreadable one, which is named later, a guess."""
    try:
        if isinstance(picture, Image.Image):
            return (picture.height, picture.width), picture.mode in ("1", "L", "I;16", "I", "LA")
        with Image.open(picture) as opened:
            return (opened.height, opened.width), opened.mode in ("1", "L", "I;16", "I", "LA")
    except OSError:
        return (0, 0), False


def _by_name(x: Any, y: Mapping[Any, Any]) -> tuple[list[Path], list[Any]]:
    """The pictures of a folder that the dict names, and their numbers."""
    if not pictures.is_location(x) or not Path(x).is_dir():
        raise DataError(
            "y came as a dict, and x is no folder.",
            "A dict gives the numbers of the pictures in a folder by their names.",
            "Pass y as an array in the order of x.",
        )
    root = Path(x)
    named = {str(name): value for name, value in y.items()}
    missing = [name for name in named if not (root / name).is_file()]
    if missing:
        there = [path.relative_to(root).as_posix() for path in image_folder.picture_files(root)]
        raise DataError(
            f"{len(missing):,} of {len(named):,} names in y are no file in {root}: {', '.join(missing[:5])}.",
            f"The folder holds {len(there):,} pictures, such as {', '.join(there[:3]) or 'none'}.",
            "Name them relative to the folder, with their endings.",
        )
    return [root / name for name in named], list(named.values())
