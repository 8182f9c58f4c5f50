"""The same files as a folder, a zip and a tar: readers must not know the difference."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

KINDS = ("folder", "zip", "tar")


def pack(folder: Path, kind: str) -> Path:
    """The folder itself, or a zip or a tar of what is in it."""
    if kind == "folder":
        return folder
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    target = folder.with_name(f"{folder.name}_packed.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, path.relative_to(folder).as_posix())
    else:
        with tarfile.open(target, "w:gz" if kind == "tar.gz" else "w") as tar:
            for path in files:
                tar.add(path, path.relative_to(folder).as_posix())
    return target


@pytest.fixture(params=KINDS)
def packed(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """`packed(folder)` is the folder, a zip of it and a tar of it, in turn."""
    return lambda folder: pack(folder, request.param)
