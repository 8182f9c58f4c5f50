"""Where in a picture an answer comes from, for the page: Grad-CAM as rows of numbers with the box that they lie in."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from lamina.data.pictures import read_bytes
from lamina.serve import pictures
from lamina.serve.incoming import Upload

if TYPE_CHECKING:
    from lamina.serve.service import Service

_DRAWN_PX = 640


def heat_of(service: Service, upload: Upload, *, label: str | None, draws: bool) -> dict[str, Any]:
    """The heat of one picture for a class (None: the most probable): rows of 0..1, and their box in the picture's pixels.

    Raises Refused for what is no picture, LaminaError for a network without maps or a class that there is not.
    """
    from lamina.explain.saliency import grad_cam

    content = upload.data()
    pictures.check(content, upload.name, service.limits)
    heat = grad_cam(service.deployable, read_bytes(content, upload.name), label=label)
    window = heat.window
    box = [window.left, window.top, window.left + window.width, window.top + window.height]
    told = {
        "map": [[round(float(value), 4) for value in row] for row in heat.grid],
        "box_xyxy": [float(value) for value in box],
        "label": heat.label,
        "answer": float(heat.answer),
        "layer": heat.layer,
    }
    if draws:
        written = io.BytesIO()
        heat.overlay(side_px=_DRAWN_PX).save(written, "PNG")
        told["drawn"] = base64.b64encode(written.getvalue()).decode()
    return told


def can_explain(service: Service) -> bool:
    """Whether the network has maps to look at: tried on a black picture."""
    from PIL import Image

    from lamina.core.errors import LaminaError
    from lamina.explain.saliency import grad_cam

    if service.without_heat() is not None:
        return False
    height, width = service.preprocess.size
    try:
        grad_cam(service.deployable, Image.new("RGB", (width, height)))
    except (LaminaError, RuntimeError):
        return False
    return True
