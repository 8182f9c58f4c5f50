"""The texts in an exported file (ONNX, torch program, plain weights), read without a library and without its weights."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from lamina.core import onnx_texts

FORMATS = {".onnx": "ONNX", ".pt2": "torch program", ".safetensors": "weights for plain torch"}
PROGRAM_FILE = "lamina.json"  # in the zip archive that a .pt2 is
_LONGEST = 1 << 26  # bytes of a header or of texts; more is damage


def read(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts by name; empty in a file that holds none of lamina's. The ending says how it is read.

    Raises OSError for a file that cannot be read, ValueError for one that is damaged or of another format.
    """
    source = Path(path)
    if source.suffix == ".pt2":
        return _of_program(source)
    texts = _of_weights(source) if source.suffix == ".safetensors" else onnx_texts.read(source)
    # A model file says "lamina" too, and "format" is torch's word in a .safetensors.
    return texts if "lamina export" in (texts.get("format"), *texts) else {}


def _of_program(source: Path) -> dict[str, str]:
    try:
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if entry.filename.rpartition("/")[2] == PROGRAM_FILE and entry.file_size < _LONGEST:
                    return _strings(json.loads(archive.read(entry)))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ValueError(str(error) or "it is no zip archive") from error
    return {}


def _of_weights(source: Path) -> dict[str, str]:
    with source.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length < _LONGEST:
            raise ValueError("it has no header of safetensors")
        header = json.loads(stream.read(length))
    return _strings(header.get("__metadata__", {}) if isinstance(header, dict) else {})


def _strings(told: object) -> dict[str, str]:
    if not isinstance(told, dict):
        raise ValueError("its texts are none")
    return {str(name): str(text) for name, text in told.items()}
