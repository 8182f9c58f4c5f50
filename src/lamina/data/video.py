"""Video files: their frames one by one, and new ones written frame by frame. Sound is neither read nor written.

On OpenCV, because its licence and those of the decoders that come with it permit every use; those that come with PyAV hold GPL code.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lamina.core.errors import DataError, LaminaError, MissingExtraError, ShapeError
from lamina.core.files import replacing
from lamina.core.warnings import warn
from lamina.structures import draw
from lamina.structures.draw import Picture

READ = (
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".mts",
    ".m2ts",
    ".ogv",
    ".3gp",
)
# The codecs that are tried. VP9 plays in browsers; MPEG-4's first visual part and Motion JPEG are made thirty times as fast.
WRITTEN = {".mp4": ("vp09", "mp4v"), ".mov": ("mp4v",), ".avi": ("MJPG",)}
_USUAL_RATE = 25.0  # frames a second, of a file that does not say
_SLACK = 0.005  # of the frames: some files only tell about how many they hold
_SILENT = "-8"  # FFmpeg's level; what is wrong is said here, once


def is_video(value: Any) -> bool:
    """Whether it is a Video, or the path of one, told by its ending; no file is looked at."""
    return isinstance(value, Video) or (isinstance(value, str | os.PathLike) and Path(value).suffix.lower() in READ)


class Video:
    """The frames of a video file in order, uint8 (3 H W), turned as the file says; one is in memory at a time.

    `size` is (height, width) in pixels, `rate` in frames a second, `count` how many frames the file tells of, None where it does not.
    Reading begins anew at each `iter()`. A file that breaks off gives the frames that it has, and then a warning;
    `broken` is that text from then on. Raises DataError for a file that is no video, MissingExtraError without OpenCV.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.broken = ""
        with self._opened() as (capture, cv2):
            told, self.rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), float(capture.get(cv2.CAP_PROP_FPS))
            good, first = capture.read()
        if not good:
            raise self._unreadable("not one frame of it can be decoded")
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        self.count = int(told) if 0 < told < 2**40 else None
        if not 0 < self.rate < 1000:
            self.rate = _USUAL_RATE

    @property
    def seconds(self) -> float | None:
        """How long it is, as far as its file tells."""
        return None if self.count is None else self.count / self.rate

    def __repr__(self) -> str:
        frames = "frames" if self.count is None else f"{self.count:,} frames"
        return f"<Video {self.path.name!r}, {frames} of {self.size[1]} x {self.size[0]}, {self.rate:g} a second>"

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "3 H W"]]:
        read, self.broken = 0, ""
        with self._opened() as (capture, cv2):
            while True:
                good, frame = capture.read()
                if not good:
                    break
                read += 1
                yield np.ascontiguousarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).transpose(2, 0, 1))
        if self.count is not None and read < self.count - max(1, int(_SLACK * self.count)):
            self.broken = (
                f"{self.path} is damaged: {read:,} of its {self.count:,} frames ({read / self.rate:.1f} of {self.seconds:.1f} s) "
                "can be read. They were used, and the others were left out. Copy the file again, or repair it."
            )
            warn(self.broken)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        cv2 = _cv2()
        if not self.path.is_file():
            raise DataError(f"There is no file {self.path}.", "A video was expected.", "Check the path.")
        with _silent(cv2):
            capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        try:
            if not capture.isOpened():
                raise self._unreadable(
                    "it is no video, its codec is unknown, or its end, where the index stands, is missing"
                )
            yield capture, cv2
        finally:
            capture.release()

    def _unreadable(self, why: str) -> DataError:
        return DataError(
            f"{self.path} cannot be read as a video: {why}.",
            "A complete file, such as .mp4, .mov, .avi, .mkv or .webm, was expected.",
            "See whether a player shows it; copy it again, or convert it to .mp4.",
        )


class Film:
    """A video file that is written frame by frame; `with Film("out.mp4", rate=25) as film: film.add(picture)`.

    The ending chooses the format, one of WRITTEN. All frames have the size of the first; one pixel is left out of odd sides, which the
    codecs do not know. The file gets its name when the block ends, also by an error or Ctrl-C: what was written by then stays. An existing
    file stays as it was where not one frame was written. Raises LaminaError for another ending, ShapeError for a frame of another size,
    MissingExtraError without OpenCV.
    """

    def __init__(self, path: str | os.PathLike[str], *, rate: float) -> None:
        self.path, self.rate, self.frames = Path(path), float(rate), 0
        if self.path.suffix.lower() not in WRITTEN:
            raise LaminaError(
                f"A video is to be written as {self.path.name}.",
                f"Its ending chooses the format: {', '.join(WRITTEN)}.",
                f"Use {self.path.with_suffix('.mp4').name}.",
            )
        if not 0 < self.rate < 1000:
            raise LaminaError(f"rate is {rate!r}.", "Frames a second, above 0, were expected.", "Pass rate=25.")
        self._cv2 = _cv2()
        self._writer: Any = None
        self._size: tuple[int, int] | None = None
        self._partial: Path | None = None

    def __enter__(self) -> Film:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        suffix = self.path.suffix.lower()  # which chooses the format
        self._partial = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}.tmp{suffix}")
        return self

    def add(self, picture: Picture) -> None:
        """Writes one frame: a Pillow picture, or uint8 (3 H W)."""
        if self._partial is None:
            raise LaminaError(
                "A frame came before the film was begun.", "It is written in a block.", "Use: with Film(...) as film."
            )
        shown = draw.picture(picture).convert("RGB")
        if self._size is None:
            self._size = shown.size
            self._writer = self._begun((max(shown.width & ~1, 2), max(shown.height & ~1, 2)))
        if shown.size != self._size:
            raise ShapeError(
                f"Frame {self.frames + 1} has {shown.width} x {shown.height} pixels.",
                f"All frames have the size of the first, {self._size[0]} x {self._size[1]}.",
                "Resize it.",
            )
        width, height = (max(side & ~1, 2) for side in shown.size)
        pixels = np.asarray(shown.crop((0, 0, width, height)))  # a side of one pixel gets a second one
        self._writer.write(self._cv2.cvtColor(np.ascontiguousarray(pixels), self._cv2.COLOR_RGB2BGR))
        self.frames += 1

    def _begun(self, size: tuple[int, int]) -> Any:
        for codec in WRITTEN[self.path.suffix.lower()]:
            with _silent(self._cv2):
                fourcc = self._cv2.VideoWriter.fourcc(*codec)
                writer = self._cv2.VideoWriter(str(self._partial), self._cv2.CAP_FFMPEG, fourcc, self.rate, size)
            if writer.isOpened():
                return writer
        raise LaminaError(
            f"{self.path} cannot be written: OpenCV has no codec for it here, or no room.",
            "A format that this OpenCV can write was expected.",
            f"Use another ending: {', '.join(WRITTEN)}.",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._partial is not None
        partial, self._partial = self._partial, None
        try:
            if self._writer is not None:
                self._writer.release()
            if self.frames:
                with replacing(self.path) as whole:
                    os.replace(partial, whole)
        finally:
            partial.unlink(missing_ok=True)


def _cv2() -> Any:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _SILENT)
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("Reading and writing video", "video") from None
    return cv2


@contextlib.contextmanager
def _silent(cv2: Any) -> Iterator[None]:
    """Has OpenCV say nothing on its own: an error here says it."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
