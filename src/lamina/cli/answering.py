"""What `lamina predict` does: any model on pictures, folders of them and videos."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lamina.cli import opening
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.data.video import is_video
from lamina.models import pictures, videos
from lamina.models.annotated import AnnotatedModel
from lamina.models.model import PREDICT_BATCH
from lamina.models.result_files import ResultFiles
from lamina.structures.results import check_threshold
from lamina.tasks import Classifier, Ensemble, Regressor
from lamina.tasks.detection import Detector

_BY_MEMBER = "The members of an ensemble answer each by itself, in float32."
_AT_ONCE = 16  # pictures whose maps or boxes are in memory


def predict(
    path: Path,
    images: list[str],
    *,
    model: str | None,
    threshold: float | None = None,
    tile: int | None = None,
    output: Path | None = None,
    forms: tuple[str, ...] | None = None,
    how: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, Any]]:
    """Each picture, folders searched, and what the model says of it, or the error that says why it cannot be read.

    `images` are texts: as a Path, an address has lost a slash and is none. Of a video each frame, and None at the end of one that
    broke off. Results of pictures are written into the folder `output` in these forms (see ResultFiles), drawn where nobody says; a
    video as `output` is made of the one that was named, and is the one answer. `how` are the engine and precision of `predict`.
    """
    if threshold is not None:
        check_threshold(threshold)
    if forms is not None and (output is None or is_video(output)):
        raise UnknownNameError(
            f"--write {','.join(forms)} came "
            + ("without --output." if output is None else f"with --output {output}."),
            "It says what is written into a folder.",
            "Name the folder: --output found.",
        )
    opened = opening.open_model(path, model)
    if isinstance(opened, AnnotatedModel):
        told = {**_asked(opened, threshold, tile), **(how or {})}
        yield from _annotated(opened, images, told, output, forms or ("drawn",))
        return
    if not isinstance(opened, Classifier | Ensemble | Regressor):
        raise LaminaError(
            f"{path} holds a {type(opened).__name__}.",
            "predict needs a model of pictures: a classifier, an ensemble, a regressor, a detector or a segmenter.",
            "Train one: lamina train DATA.",
        )
    for given, value, why in (
        ("--threshold", threshold if isinstance(opened, Regressor) else None, "Numbers have no probability."),
        ("--tile", tile, "Segmenters see pictures in tiles."),
        ("--output", output, "Detectors and segmenters draw their results."),
        *(
            (f"--{name}", value if isinstance(opened, Ensemble) else None, _BY_MEMBER)
            for name, value in (how or {}).items()
        ),
    ):
        if value is not None:
            raise UnknownNameError(
                f"{given} {value} came, and {path} holds a {type(opened).__name__}.", why, "Leave it out."
            )
    told = {**(how or {}), **({} if threshold is None else {"threshold": threshold})}
    for image in images:
        yield from _answered(opened, image, told, PREDICT_BATCH)


def _answered(model: Any, image: str, told: Mapping[str, Any], at_once: int) -> Iterator[tuple[str, Any]]:
    """The pictures of a file or folder, each with the model's answer or its error."""
    try:
        named = pictures.files(image) or []
    except DataError as error:
        yield image, error
        return
    engines = getattr(model, "engines", None)  # whether one of them pays is judged by the whole folder
    with contextlib.nullcontext() if engines is None else engines.expecting(len(named)):
        for start in range(0, len(named), at_once):  # a folder may hold more than fits in memory
            some = named[start : start + at_once]
            yield from zip(map(str, some), _answers(model, some, told), strict=True)


def _answers(model: Any, files: list[Any], told: Mapping[str, Any]) -> list[Any]:
    """The answer to each file, or its error: halves are asked again until an unreadable picture stands alone."""
    try:
        return list(model.predict(files, **told))
    except DataError as error:
        if len(files) == 1:
            return [error]
    half = len(files) // 2
    return _answers(model, files[:half], told) + _answers(model, files[half:], told)


def _annotated(
    model: AnnotatedModel, sources: list[str], told: Mapping[str, Any], output: Path | None, forms: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    filmed = [source for source in sources if is_video(source)]
    if output is not None and is_video(output):
        if len(sources) != 1 or not filmed:
            raise UnknownNameError(
                f"--output {output} came with {', '.join(sources[:3])}.",
                "A video is made of one video.",
                "Name one video, or a folder as --output, into which pictures are drawn.",
            )
        made = videos.film(model, sources[0], output, asked=told)
        yield sources[0], made
        if made.broken:
            yield sources[0], None
        return
    if output is not None and filmed:
        raise UnknownNameError(
            f"{filmed[0]} came with --output {output}.",
            "Into a folder pictures are drawn.",
            f"Name a video to write: --output {Path(filmed[0]).stem}-found.mp4.",
        )
    with ResultFiles(output, forms) if output is not None else contextlib.nullcontext() as written:
        for source in sources:
            if source in filmed:
                try:
                    video = videos.opened(source)
                except DataError as error:
                    yield source, error
                    continue
                yield from ((source, frame) for frame in videos.frames(model, video, asked=told))
                if video.broken:  # of which a warning told
                    yield source, None
                continue
            for path, result in _answered(model, source, told, _AT_ONCE):
                if written is not None and not isinstance(result, Exception):
                    written.add(result, path)
                yield path, result


def _asked(model: AnnotatedModel, threshold: float | None, tile: int | None) -> dict[str, Any]:
    """The arguments of the model's `predict`."""
    boxes = isinstance(model, Detector)
    given, wrong, why = (
        ("--tile", tile, "Segmenters see pictures in tiles.")
        if boxes
        else ("--threshold", threshold, "Each pixel has its most probable class.")
    )
    if wrong is not None:
        raise UnknownNameError(f"{given} {wrong} came, and this is a {type(model).__name__}.", why, "Leave it out.")
    asked = {"threshold": threshold, "tile": tile}
    return {name: value for name, value in asked.items() if value is not None}
