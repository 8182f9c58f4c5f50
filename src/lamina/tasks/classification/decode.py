"""From probabilities to results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from lamina.structures.results import Classification


def decode(probs: np.ndarray[Any, Any], classes: Sequence[str], sources: Sequence[Any]) -> list[Classification]:
    """One Classification for each row of probabilities (N K). `sources` are paths or pictures, or empty."""
    results = []
    for index, row in enumerate(probs):
        source = sources[index] if index < len(sources) else None
        image = source if isinstance(source, Image.Image) else None
        path = None if source is None or image is not None else str(source)
        results.append(Classification(tuple(classes), row, image=image, path=path))
    return results
