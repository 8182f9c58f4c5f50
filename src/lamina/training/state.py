"""The file that a run goes on from: nested state in safetensors, with JSON in the header, and a hash over all of it.

__metadata__
    format      "lamina checkpoint"
    version     "1"
    checkpoint  JSON: the state as core/tree.py tells it, tensors by name
    sha256      of the version, the JSON, and every tensor's name, type, shape and bytes
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lamina.core import sealed
from lamina.core.errors import FileFormatError
from lamina.core.files import replacing
from lamina.core.tree import Flat, unflatten

FORMAT = "lamina checkpoint"
VERSION = "1"


def write(path: Path, state: Flat, *, previous: Path | None = None) -> None:
    """Writes a state that was taken apart; the file that was there becomes `previous` once the new one is on the disk.

    Raises OSError where it cannot be written; what was there before is untouched then.
    """
    text = json.dumps(state.plain, allow_nan=False)
    told = {"format": FORMAT, "version": VERSION, "checkpoint": text}
    told["sha256"] = sealed.digest(VERSION, text, state.tensors)
    with replacing(path, previous=previous) as temporary:
        sealed.write(temporary, state.tensors, told)


def read(path: Path) -> dict[str, Any]:
    """The state that `write` wrote, its tensors in host memory. Raises FileFormatError where it is damaged or foreign."""
    data = path.read_bytes()
    header = sealed.header_of(data)
    if header is None:
        raise _damaged(path, "its header cannot be read" if data else "it is empty")
    version, text = header.get("version", ""), header.get("checkpoint", "")
    if header.get("format") == FORMAT and version != VERSION and version.isdecimal() and int(version) > int(VERSION):
        raise FileFormatError(
            f"{path} has the format version {version}.",
            f"This version of lamina reads {VERSION}.",
            "Update lamina: pip install -U lamina.",
        )
    try:
        tensors = sealed.tensors_of(data)
        if header.get("format") != FORMAT or sealed.digest(version, text, tensors) != header.get("sha256"):
            raise _damaged(path, "its content does not give the hash that its header holds")
        state = unflatten(Flat(json.loads(text), tensors))
    except FileFormatError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if not isinstance(state, dict):
        raise _damaged(path, f"it holds a {type(state).__name__}")
    return state


def _damaged(path: Path, why: str) -> FileFormatError:
    return FileFormatError(
        f"{path} cannot be read: {why}.",
        "A checkpoint that lamina wrote was expected; this one is damaged, cut short, or of another program.",
        "Remove it to start the run anew; best.safetensors and last.safetensors beside it are whole models.",
    )
