"""Readers, one file a format: what it looks like (`matches`, `LOOKS_FOR`) and what is in it (`open_folder`)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lamina.core.errors import DataError, unknown_name
from lamina.data.dataset import FolderDataset, ImageDataset, Splits
from lamina.data.formats import idx, image_folder

__all__ = ["FORMATS", "open_path"]


class Format(Protocol):
    """What a reader's file offers."""

    LOOKS_FOR: str

    def matches(self, folder: Path) -> bool:
        """Whether the folder looks like this format."""
        ...

    def open_folder(self, folder: Path) -> Splits[ImageDataset | FolderDataset]:
        """The data set in the folder."""
        ...


FORMATS: dict[str, Format] = {"idx": idx, "image_folder": image_folder}


def open_path(path: str | Path, format: str | None = None) -> Splits[ImageDataset | FolderDataset]:
    """The data set in a folder, in the named format or in the first that matches.

    A folder of pictures holds a folder for each class, and all is `train`; or folders train, val (or valid, validation) and
    test (training, testing), which each hold such folders. See `image_folder`.

    Raises DataError that says what was looked for and what was found; UnknownNameError for an unknown format.
    """
    folder = Path(path).expanduser()
    if format is not None and format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if not folder.is_dir():
        raise DataError(
            f"{folder} is {'a file' if folder.exists() else 'not there'}.",
            "The path of a folder was expected.",
            "Pass the folder that holds a folder of pictures for each class."
            if image_folder.is_picture(folder)
            else "Unpack it first, and pass the folder."
            if folder.exists()
            else "Check the spelling; lamina.data.names() lists the data sets that need no path.",
        )
    if format is not None:
        return FORMATS[format].open_folder(folder)
    for reader in FORMATS.values():
        if reader.matches(folder):
            return reader.open_folder(folder)
    loose = any(image_folder.is_picture(entry) for entry in folder.iterdir())
    looked_for = "; ".join(f"{name}: {reader.LOOKS_FOR}" for name, reader in FORMATS.items())
    raise DataError(
        f"{folder} holds {_contents(folder)}.",
        f"No format was recognised. Looked for: {looked_for}.",
        f"Sort the pictures into a folder for each class; if {folder.name} is one of the classes, pass the folder above it."
        if loose
        else "Arrange the files like this, or pass the folder that holds them.",
    )


def _contents(folder: Path) -> str:
    """The first few names in the folder, for a message."""
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")
