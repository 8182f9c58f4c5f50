"""Where something may stand, whatever it is: selective search (Uijlings 2013), and how much of what stands there it meets.

A picture is cut into small even parts (Felzenszwalb 2004), and again and again the two neighbours that are most alike are joined, by
colour, texture, size and fill; the box of each part that ever was is a proposal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lamina.core.errors import DataError, LaminaError, MissingExtraError, unknown_name
from lamina.data.pictures import read
from lamina.data.preprocess import pixels
from lamina.structures import boxes as box_arithmetic
from lamina.structures.annotation import Annotation

MODES = ("fast", "quality")


@dataclass(frozen=True)
class SelectiveSearch:
    """Proposes regions of a picture by selective search, as R-CNN did (Girshick 2014, section 2.1: its fast mode, 500 px wide).

    `side_px`: the longer side that pictures are given before (the paper: their width); smaller is faster and finds fewer.
    `smallest_px`: boxes of a shorter side are left out. `most`: how many at most; which are left out then is drawn, large ones less
    often, the same ones each time. Raises MissingExtraError without opencv-contrib.
    """

    mode: Literal["fast", "quality"] = "fast"
    side_px: int = 500
    smallest_px: int = 8
    most: int = 2000

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown_name("mode of selective search", self.mode, MODES)
        wrong = {name: told for name, told in asdict(self).items() if name != "mode" and told < 1}
        if wrong:
            raise LaminaError(
                f"SelectiveSearch was given {', '.join(f'{name}={told}' for name, told in wrong.items())}.",
                "At least 1 was expected.",
                "Pass for instance side_px=500, most=2000.",
            )

    def __call__(self, picture: UInt8[Tensor, "C H W"]) -> Float[Tensor, "N 4"]:
        """The boxes, in pixels of the picture, each once: in the order of Uijlings, section 4.3, large ones first but for chance."""
        cv2 = _opencv()
        height, width = picture.shape[1:]
        scale = self.side_px / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        colours = pixels(read(picture).convert("RGB")).flip(0).permute(1, 2, 0).contiguous().numpy()
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(cv2.resize(colours, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
        search.switchToSelectiveSearchQuality() if self.mode == "quality" else search.switchToSelectiveSearchFast()
        rows = np.unique(search.process().reshape(-1, 4), axis=0)  # its own order is never the same twice
        found = torch.from_numpy(rows.astype(np.float64))
        corners = box_arithmetic.convert(found, "xywh", "xyxy")
        corners = corners * corners.new_tensor([width / size[0], height / size[1]] * 2)
        wide = (corners[:, 2:] - corners[:, :2] >= self.smallest_px).all(dim=1)
        return self._ranked(box_arithmetic.clip(corners[wide], (height, width)).float())

    def _ranked(self, corners: Float[Tensor, "N 4"]) -> Float[Tensor, "M 4"]:
        order = box_arithmetic.area_px(corners).argsort(descending=True, stable=True)
        chance = torch.rand(len(corners), generator=torch.Generator().manual_seed(0))
        rank = torch.arange(1, len(corners) + 1) * chance
        return corners[order][rank.argsort(stable=True)][: self.most]


@dataclass(frozen=True)
class Recall:
    """How much of what is annotated some proposals meet: the share of `objects` whose best one overlaps them that far."""

    shares: dict[float, float]  # by the overlap
    best_overlap: float  # of an object and the proposal nearest to it, mean
    objects: int
    proposals: float  # a picture, mean

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs."""
        shares = {f"recall@{overlap:g}": share for overlap, share in self.shares.items()}
        return {**shares, "best_overlap": self.best_overlap, "objects": self.objects, "proposals": self.proposals}

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.1%} at an overlap of {overlap:g}" for overlap, share in self.shares.items())
        return f"{shares} of {self.objects:,} objects met by {self.proposals:,.0f} proposals a picture"


def recall(
    proposals: Sequence[Float[Tensor, "N 4"]],
    truths: Sequence[Annotation],
    *,
    overlaps: Sequence[float] = (0.5, 0.7),
) -> Recall:
    """The recall of the proposals of pictures; crowds, difficult objects and boxes of no size do not count. NaN where there is no object.

    Raises DataError where there are more of one.
    """
    if len(proposals) != len(truths):
        raise DataError(
            f"Proposals of {len(proposals)} pictures came for {len(truths)} annotations.",
            "One of each was expected.",
            "Pass both of the same pictures, in the same order.",
        )
    best = [torch.zeros(0)]
    for found, truth in zip(proposals, truths, strict=True):
        objects = counted(truth)
        shared = box_arithmetic.overlap(objects[:, None], found[None].to(objects))
        best.append(shared.amax(dim=1) if len(found) else torch.zeros(len(objects)))
    all_best = torch.cat(best).double()
    shares = {float(overlap): float((all_best >= overlap).double().mean()) for overlap in overlaps}
    count = sum(map(len, proposals)) / max(len(proposals), 1)
    return Recall(shares, float(all_best.mean()), len(all_best), count)


def counted(truth: Annotation) -> Float[Tensor, "N 4"]:
    """The boxes of what is to be found in a picture: no crowds, nothing difficult, nothing of no size."""
    return truth_rows(truth)[0]


def truth_rows(truth: Annotation) -> tuple[Float[Tensor, "N 4"], Tensor]:
    """Boxes and labels (N) of what is to be found in a picture; without labels all are of class 0."""
    if truth.boxes_xyxy is None:
        return torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    kept = ~box_arithmetic.is_degenerate(truth.boxes_xyxy)
    if truth.crowd is not None:
        kept = kept & ~truth.crowd
    labels = torch.zeros(len(kept), dtype=torch.int64) if truth.labels is None else truth.labels
    return truth.boxes_xyxy[kept].float(), labels[kept]


def _opencv() -> Any:
    try:
        import cv2

        cv2.ximgproc.segmentation  # noqa: B018 - opencv without contrib has none
    except (ImportError, AttributeError) as error:
        raise MissingExtraError("Selective search (opencv-contrib)", "detection") from error
    return cv2
