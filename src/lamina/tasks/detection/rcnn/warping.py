"""Regions of a picture, each stretched to the network's square with some of its surroundings (Girshick 2014, section 2.1, appendix A)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lamina.core.errors import LaminaError, ShapeError


def warped(
    picture: Float[Tensor, "C H W"], boxes_xyxy: Float[Tensor, "N 4"], *, side_px: int = 224, context_px: float = 16.0
) -> Float[Tensor, "N C S S"]:
    """Each box as side_px x side_px pixels, whatever its form, with `context_px` (of these) of what stands around it on each side.

    The box itself fills side_px - 2 context_px pixels. What lies beyond the picture's edge is 0, which is the mean colour where the
    picture was normalised. Larger regions are averaged, smaller ones interpolated. Raises ShapeError for anything else than one
    picture, LaminaError where the context leaves no room for the box.
    """
    from torchvision.ops import roi_align  # torchvision takes seconds to import, and most models have no need of it

    if picture.dim() != 3 or not picture.is_floating_point():
        raise ShapeError(
            f"The picture is {str(picture.dtype).removeprefix('torch.')} of shape {tuple(picture.shape)}.",
            "One normalised picture, float (C H W), was expected.",
            "Normalise it: preprocess.normalize()(picture[None])[0].",
        )
    if not 0 <= 2 * context_px < side_px:
        raise LaminaError(
            f"context_px is {context_px:g} for regions of {side_px} px.",
            "At least 0 and less than half of the side was expected.",
            "The paper has 16 of 227 px.",
        )
    around = surroundings(boxes_xyxy, context_px / (side_px - 2 * context_px)).to(picture)
    rows = torch.cat([around.new_zeros(len(around), 1), around], dim=1)
    taken: Tensor = roi_align(picture[None], rows, side_px, sampling_ratio=-1, aligned=True)
    return taken


def surroundings(boxes_xyxy: Float[Tensor, "N 4"], share: float) -> Float[Tensor, "N 4"]:
    """The boxes with `share` of their width and height added on each side; they may reach beyond the picture."""
    margin = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * share
    return torch.cat([boxes_xyxy[:, :2] - margin, boxes_xyxy[:, 2:] + margin], dim=1)
