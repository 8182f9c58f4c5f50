"""The results of many pictures as files in a folder: drawn, and as other programs read them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.core.files import replacing
from lamina.structures.detections import Detections
from lamina.structures.segmentation import SegmentationMap

FORMS = ("drawn", "yolo", "coco", "maps")
_RESULTS, _CLASSES = "results.json", "classes.txt"
_QUALITY = 92  # of JPEG


class ResultFiles:
    """Writes results of pictures into a folder, in some of FORMS; a context, at whose end COCO's file is written.

    drawn: NAME.jpg, the picture with what was found. yolo: NAME.txt, boxes as YOLO has them, and classes.txt. maps: NAME.png, a pixel's
    value is its class. coco: results.json, entries of COCO's results file, `image_id` being the picture's name without its ending (a
    whole number where it is one) and `category_id` the place of the class, from 1. Of pictures of one name the later ones are
    numbered: NAME-2. Raises UnknownNameError for another form, LaminaError for results that have no such form, and where the folder is
    the pictures' own.
    """

    def __init__(self, folder: str | os.PathLike[str], forms: tuple[str, ...] = ("drawn",)) -> None:
        self.folder, self.forms = Path(folder), forms
        for form in forms:
            if form not in FORMS:
                raise UnknownNameError(
                    f"Results are to be written as {form!r}.", f"Forms are {', '.join(FORMS)}.", "Use some of these."
                )
        if self.folder.exists() and not self.folder.is_dir():
            raise LaminaError(
                f"{self.folder} is a file.", "A folder for the results was expected.", "Name another one."
            )
        self.written = 0
        self._names: set[str] = set()
        self._entries: list[dict[str, Any]] = []
        self._classes: tuple[str, ...] = ()

    def __enter__(self) -> ResultFiles:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def add(self, result: Any, source: str | os.PathLike[str]) -> None:
        """Writes what was found in the picture of that path."""
        if Path(source).resolve().parent == self.folder.resolve():
            raise LaminaError(
                f"Results are to be written into {self.folder}, where {Path(source).name} lies.",
                "Another folder was expected: they would replace pictures and labels of the same names.",
                "Name another one.",
            )
        name = self._name(Path(source).stem)
        for form in self.forms:
            if not isinstance(result, Detections | SegmentationMap) or form not in _FORMS_OF[type(result)]:
                known = ", ".join(_FORMS_OF.get(type(result), ())) or "none"
                raise LaminaError(
                    f"A {type(result).__name__} is to be written as {form!r}.", f"Its forms are: {known}.", "Use these."
                )
            getattr(self, f"_add_{form}")(result, name)
        self._classes = result.classes
        self.written += 1

    def _add_drawn(self, result: Any, name: str) -> None:
        with replacing(self.folder / f"{name}.jpg") as path:
            result.draw().save(path, "JPEG", quality=_QUALITY)

    def _add_maps(self, result: SegmentationMap, name: str) -> None:
        result.save(self.folder / f"{name}.png")

    def _add_yolo(self, result: Detections, name: str) -> None:
        with replacing(self.folder / f"{name}.txt") as path:
            path.write_text(result.to_yolo(), encoding="utf-8")

    def _add_coco(self, result: Any, name: str) -> None:
        number = int(name) if name.isdecimal() and name.isascii() else name
        self._entries += result.to_coco(number, category_ids=range(1, len(result.classes) + 1))

    def _name(self, stem: str) -> str:
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}-{number}"
        self._names.add(name)
        return name

    def __exit__(self, *_: object) -> None:
        """Writes what belongs to all, also where something failed: it is of the pictures before."""
        if "coco" in self.forms:
            with replacing(self.folder / _RESULTS) as path:
                path.write_text(json.dumps(self._entries), encoding="utf-8")
        if "yolo" in self.forms and self._classes:
            with replacing(self.folder / _CLASSES) as path:
                path.write_text("\n".join([*self._classes, ""]), encoding="utf-8")


_FORMS_OF: dict[type, tuple[str, ...]] = {
    Detections: ("drawn", "yolo", "coco"),
    SegmentationMap: ("drawn", "maps", "coco"),
}
