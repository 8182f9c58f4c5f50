"""From probabilities to results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from lamina.structures.results import Classification, Labelling

LIKELY = 0.5  # what a label's own probability has to be, where nobody says


def decode(
    probs: np.ndarray[Any, Any],
    classes: Sequence[str],
    sources: Sequence[Any],
    *,
    threshold: float | None = None,
    multi_label: bool = False,
) -> list[Any]:
    """One Classification, or Labelling, for each row of probabilities (N K). `sources` are paths or pictures, or empty."""
    results: list[Any] = []
    for index, row in enumerate(probs):
        source = sources[index] if index < len(sources) else None
        image = source if isinstance(source, Image.Image) else None
        path = None if source is None or image is not None else str(source)
        if multi_label:
            least = LIKELY if threshold is None else threshold
            results.append(Labelling(tuple(classes), row, threshold=least, image=image, path=path))
        else:
            results.append(Classification(tuple(classes), row, image=image, path=path, threshold=threshold or 0.0))
    return results
