"""Where the model of a run lies."""

from __future__ import annotations

import os
from pathlib import Path

from lamina.core.errors import FileFormatError

OF_RUN = ("best.safetensors", "last.safetensors")  # models in a run's folder, the one to take first


def located(path: str | os.PathLike[str]) -> Path:
    """The file itself; of a run's folder the best model, or the last where no validation said which is best.

    Raises FileFormatError where there is neither.
    """
    source = Path(path)
    if source.is_file():
        return source
    if not source.is_dir():
        raise FileFormatError(
            f"There is no file {source}.", "A model file written by save was expected.", "Check the path."
        )
    models = [source / name for name in OF_RUN if (source / name).is_file()]
    if models:
        return models[0]
    others = sorted(path.name for path in source.glob("*.safetensors"))
    raise FileFormatError(
        f"{source} is a folder without {' or '.join(OF_RUN)}.",
        "A model file, or the folder of a run that has trained for an epoch, was expected.",
        f"Name the file in it: {source / others[0]}." if others else "Train first: lamina train DATA --output FOLDER.",
    )
