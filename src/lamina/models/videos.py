"""A model that looks at a video: its results frame by frame, and the video that shows them. One batch of frames is in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lamina.core import progress
from lamina.core.errors import LaminaError
from lamina.data.video import Film, Video, is_video
from lamina.structures import drawing
from lamina.structures.segmentation import SegmentationMap

FRAMES = 16  # that are answered together
_NAMED = 24  # classes that a legend below each frame names; more would need more room than the picture


@dataclass(frozen=True)
class Filmed:
    """What `film` wrote: the file, how many frames, and what was wrong with the video that was read ("" for nothing)."""

    path: Path
    frames: int
    broken: str

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs."""
        return {"path": str(self.path), "frames": self.frames, "broken": self.broken}

    def __str__(self) -> str:
        return f"{self.path}: {self.frames:,} frame{'s' * (self.frames != 1)}"


@dataclass(frozen=True)
class Frame:
    """What was found in one frame of a video: its number from 0, its time in seconds, the result."""

    path: Path
    number: int
    time_s: float
    result: Any

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: the result, with the video's path, the frame's number and time."""
        return {**self.result.to_dict(), "path": str(self.path), "frame": self.number, "time_s": round(self.time_s, 3)}

    def __str__(self) -> str:
        return f"{self.path} frame {self.number} ({self.time_s:.2f} s): {self.result}"


def frames(model: Any, video: Video, *, asked: Mapping[str, Any] | None = None) -> Iterator[Frame]:
    """What the model finds in each frame; `asked` are arguments of its `predict`."""
    for number, result in enumerate(model.predict(video, **(asked or {}))):
        yield Frame(video.path, number, number / video.rate, result)


def opened(x: Any) -> Video:
    """The video of a path; one that is open as it is."""
    return x if isinstance(x, Video) else Video(x)


def together(some_frames: Iterable[np.ndarray[Any, Any]]) -> Iterator[Sequence[np.ndarray[Any, Any]]]:
    """The frames of a video, FRAMES at a time."""
    some: list[np.ndarray[Any, Any]] = []
    for frame in some_frames:
        some.append(frame)
        if len(some) == FRAMES:
            yield some
            some = []
    if some:
        yield some


def given_back(x: Any, results: Iterator[Any], *, single: bool) -> Any:
    """What `predict` gives: of a video its results as they are made, of one picture one result, of others a list.

    A file that is no video raises before the first result is asked for.
    """
    if is_video(x):
        opened(x)
        return results
    made = list(results)
    return made[0] if single else made


def film(
    model: Any,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    asked: Mapping[str, Any] | None = None,
) -> Filmed:
    """Writes the video with what the model finds drawn into each frame; `asked` are arguments of its `predict`.

    Of a video that breaks off what can be read is written, and so is what is done by a Ctrl-C. Raises LaminaError where source and
    target are one file, and for models whose results draw nothing into a picture.
    """
    if not is_video(source):
        raise LaminaError(
            f"{source} is no video.",
            "The path of one was expected.",
            "Pictures: call predict, and draw() of its results.",
        )
    if Path(source).resolve() == Path(target).resolve():
        raise LaminaError(f"{target} is the video itself.", "Another file was expected.", "Choose another name.")
    video = Video(source)
    with Film(target, rate=video.rate) as made:
        for frame in frames(model, video, asked=asked):
            made.add(drawn(frame.result))
            progress.step(f"frame {made.frames:,}" + ("" if video.count is None else f" of {video.count:,}"))
    return Filmed(Path(target), made.frames, video.broken)


def drawn(result: Any) -> Image.Image:
    """A frame with what was found in it, of one size for all frames of a video; below maps of classes stands which colour is which."""
    if not hasattr(result, "overlay"):
        raise LaminaError(
            f"A {type(result).__name__} was found in a frame.",
            "Something that can be drawn into a picture, such as boxes or a map of classes, was expected.",
            "Write videos with a detector or a segmenter.",
        )
    shown: Image.Image = result.overlay()
    few = isinstance(result, SegmentationMap) and len(result.classes) <= _NAMED
    return drawing.with_legend(shown, result.classes) if few else shown
