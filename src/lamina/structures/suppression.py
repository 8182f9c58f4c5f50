"""Non-maximum suppression of a batch as one operator, `lamina::suppress`, that torch.export keeps whole and ONNX has a counterpart of.

Of the boxes of one class in one picture, the best stays, those that overlap it too much go, the best of the rest stays, and so on.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def suppress(
    boxes_xyxy: Float[Tensor, "B N 4"],
    scores: Float[Tensor, "B N"],
    labels: Int64[Tensor, "B N"] | None = None,
    *,
    overlap: float,
    num_classes: int = 1,
) -> Bool[Tensor, "B N"]:
    """Which boxes stay: those that overlap none that stays, of their class in their picture and with a higher score, by more than
    `overlap` (intersection over union).

    Rows with a score of 0 or less are none, and go. Without `labels` all boxes are of one class.
    """
    told = torch.zeros_like(scores, dtype=torch.int64) if labels is None else labels
    stays: Tensor = _suppress(boxes_xyxy.float(), scores.float(), told, overlap, num_classes)
    return stays


@torch.library.custom_op("lamina::suppress", mutates_args=())
def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, num_classes: int) -> Tensor:
    from torchvision.ops import nms  # torchvision takes seconds to import, and most models have no need of it

    kept = torch.zeros_like(scores, dtype=torch.bool)
    for mine, some, theirs, classes in zip(kept, boxes, scores, labels, strict=True):
        real = (theirs > 0).nonzero().flatten()
        if not len(real):
            continue
        corners = some[real].double()  # exact, though classes are moved far apart
        if num_classes > 1:
            apart = corners.max() - corners.min() + 1
            corners = corners + (classes[real] * apart.ceil())[:, None]
        mine[real[nms(corners, theirs[real].double(), overlap)]] = True
    return kept


@_suppress.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, num_classes: int) -> Tensor:
    del boxes, labels, overlap, num_classes
    return torch.empty_like(scores, dtype=torch.bool)
