"""Pictures of many requests, decoded by several threads, gathered into batches, and computed by one.

    request -> [to decode] -> decoding threads -> [ready] -> engine's thread -> the request's event loop, once a batch

A picture whose client has gone, or whose time is over, is dropped wherever it is met. The number of pictures under way is
bounded, and so are both queues.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lamina.serve.incoming import Upload
from lamina.serve.limits import Limits
from lamina.serve.metrics import Figures
from lamina.serve.refusals import Refused

Pixels = npt.NDArray[np.uint8]
log = logging.getLogger("lamina.serve")


class Group:
    """The pictures of one request. `answers` holds, for each, what the engine's side made of it, or a Refused."""

    def __init__(
        self, uploads: Sequence[Upload], *, until: float, after: Callable[[Upload, Any], Any] | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.answers: list[Any] = [None] * len(uploads)
        self.left = len(uploads)
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.gone = False
        self.until = until  # of time.monotonic
        self.after = after  # made of the picture and its answer, in a decoding thread
        self.pictures = [Picture(self, index, upload) for index, upload in enumerate(uploads)]


class Picture:
    """One picture on its way."""

    __slots__ = ("answer", "array", "group", "index", "ready_at", "upload")

    def __init__(self, group: Group, index: int, upload: Upload) -> None:
        self.group, self.index, self.upload = group, index, upload
        self.array: Pixels | None = None
        self.ready_at = 0.0
        self.answer: Any = None


class Batcher:
    """The threads between requests and the engine.

    `decode` makes pixels of an upload, `compute` rows of a batch (B C H W), and `tell` what a request gets for each of some rows;
    all run in threads.
    """

    def __init__(
        self,
        decode: Callable[[Upload], Pixels],
        compute: Callable[[Pixels], npt.NDArray[Any]],
        tell: Callable[[npt.NDArray[Any]], Sequence[Any]],
        *,
        limits: Limits,
        figures: Figures,
        threads: int,
    ) -> None:
        self._decode, self._compute, self._tell = decode, compute, tell
        self.limits, self._figures = limits, figures
        self._threads = threads
        self._undecoded: SimpleQueue[Picture | None] = SimpleQueue()
        self._ready: SimpleQueue[Picture | None] = SimpleQueue()
        self._lock = threading.Lock()
        self.under_way = 0  # pictures
        self.arriving = 0  # requests that are being read: what they bring is worth waiting for
        self._running: list[threading.Thread] = []

    def start(self, prepare: Callable[[], Refused | None]) -> None:
        """Starts the threads; the engine's begins with `prepare`, and where that refuses, all pictures are refused so."""
        self._running = [
            threading.Thread(target=self._decode_all, name=f"lamina-decode-{number}", daemon=True)
            for number in range(self._threads)
        ]
        self._running.append(
            threading.Thread(target=self._compute_all, args=(prepare,), name="lamina-engine", daemon=True)
        )
        for thread in self._running:
            thread.start()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """Ends the threads. What is still under way is not answered."""
        for _ in range(self._threads):
            self._undecoded.put(None)
        self._ready.put(None)
        until = time.monotonic() + timeout_s
        for thread in self._running:
            thread.join(max(until - time.monotonic(), 0.0))
        self._running = []

    def submit(self, group: Group) -> None:
        """Takes all pictures of a request, or none: raises Refused where the queue has no room for them."""
        count = len(group.pictures)
        with self._lock:
            if self.under_way + count > self.limits.queue:
                raise Refused(
                    "busy",
                    f"{self.under_way} pictures wait already.",
                    f"At most {self.limits.queue} do at a time.",
                    "Try again in a moment.",
                )
            self.under_way += count
        self._figures.queue.inc(count)
        for picture in group.pictures:
            self._undecoded.put(picture)

    def _decode_all(self) -> None:
        torch.get_num_threads()  # which sets this thread up; before it, what the next line says would be forgotten
        torch.set_num_threads(1)  # pictures are decoded beside each other, and not one by many threads
        while (picture := self._undecoded.get()) is not None:
            try:
                self._decode_one(picture)
            except Refused as refused:
                self._settle([(picture, refused)])
            except Exception as error:
                log.exception("decoding failed")
                self._settle([(picture, _failed("decoding", error))])

    def _decode_one(self, picture: Picture) -> None:
        if self._dropped(picture):
            return
        group = picture.group
        if picture.answer is not None:
            assert group.after is not None
            self._settle([(picture, group.after(picture.upload, picture.answer))])
            return
        began = time.monotonic()
        picture.array = self._decode(picture.upload)
        if group.after is None:
            picture.upload.content = b""  # 256 of them may wait
        picture.ready_at = time.monotonic()
        self._figures.decode.observe(picture.ready_at - began)
        self._ready.put(picture)

    def _compute_all(self, prepare: Callable[[], Refused | None]) -> None:
        refused = prepare()
        while refused is not None:
            picture = self._ready.get()
            if picture is None:
                return
            self._settle([(picture, refused)])
        buffer: Pixels | None = None
        while (first := self._ready.get()) is not None:
            batch = [picture for picture in self._gathered(first) if not self._dropped(picture)]
            arrays = [picture.array for picture in batch if picture.array is not None]
            if not arrays:
                continue
            now = time.monotonic()
            for picture in batch:
                self._figures.wait.observe(now - picture.ready_at)
            try:
                if buffer is None or buffer.shape[1:] != arrays[0].shape:
                    buffer = np.empty((self.limits.batch, *arrays[0].shape), np.uint8)
                for row, array in enumerate(arrays):
                    buffer[row] = array
                answers = self._answers(batch, self._compute(buffer[: len(batch)]))
            except Exception as error:  # of memory, of the engine: the next batch is computed
                log.exception("the engine failed")
                answers = [_failed("the model", error)] * len(batch)
            self._figures.batches.observe(len(batch))
            self._figures.compute.observe(time.monotonic() - now)
            self._hand_back(batch, answers)

    def _answers(self, batch: Sequence[Picture], rows: npt.NDArray[Any]) -> list[Any]:
        """What each picture gets: of those that something is made of later, the bare row."""
        answers: list[Any] = list(rows)
        if len(answers) != len(batch):
            raise ValueError(f"{len(batch)} pictures came, and the engine gave {len(answers)} answers")
        plain = [index for index, picture in enumerate(batch) if picture.group.after is None]
        for index, answer in zip(plain, self._tell(rows[plain]) if plain else (), strict=True):
            answers[index] = answer
        return answers

    def _gathered(self, first: Picture) -> list[Picture]:
        """A batch that begins with a picture: what is ready, and what is so within a few milliseconds; none that nobody brings."""
        batch = [first]
        until = time.monotonic() + self.limits.wait_ms / 1000
        while len(batch) < self.limits.batch:
            try:
                picture = self._ready.get_nowait()
            except Empty:
                left = until - time.monotonic()
                if left <= 0 or self.under_way + self.arriving <= len(batch):
                    break
                try:
                    picture = self._ready.get(timeout=left)
                except Empty:
                    break
            if picture is None:  # the end, which the caller is to see
                self._ready.put(None)
                break
            batch.append(picture)
        return batch

    def _hand_back(self, batch: Sequence[Picture], answers: Sequence[Any]) -> None:
        """Gives answers to their requests, or where something is made of them first, to a decoding thread."""
        told = []
        for picture, answer in zip(batch, answers, strict=True):
            if picture.group.after is None or isinstance(answer, Refused):
                told.append((picture, answer))
            else:
                picture.answer = answer
                self._undecoded.put(picture)
        self._settle(told)

    def _dropped(self, picture: Picture) -> bool:
        """Whether nobody waits for a picture any more; it is settled then."""
        group = picture.group
        if group.gone:
            self._figures.abandoned.inc()
            self._settle([(picture, None)])
        elif time.monotonic() > group.until:
            self._settle([(picture, late(self.limits))])
        else:
            return False
        return True

    def _settle(self, told: Sequence[tuple[Picture, Any]]) -> None:
        """Notes answers; requests that have all of theirs go on."""
        finished: dict[asyncio.AbstractEventLoop, list[Group]] = {}
        with self._lock:
            self.under_way -= len(told)
            for picture, answer in told:
                group = picture.group
                group.answers[picture.index] = answer
                group.left -= 1
                if not group.left:
                    finished.setdefault(group.loop, []).append(group)
        for picture, _ in told:
            picture.array, picture.upload.content = None, b""
        self._figures.queue.dec(len(told))
        for loop, groups in finished.items():
            try:
                loop.call_soon_threadsafe(_finish, groups)
            except RuntimeError:  # the loop was closed: the server has ended
                return


def _finish(groups: Sequence[Group]) -> None:
    for group in groups:
        if not group.done.done():
            group.done.set_result(None)


def late(limits: Limits) -> Refused:
    """The error of a picture whose time was over before it was its turn."""
    return Refused(
        "timeout",
        f"The request was not answered in {limits.timeout_s:g} s.",
        "The server has more to do than it can in that time, or the request was slow to come.",
        "Try again later, or send fewer pictures at once.",
    )


def _failed(where: str, error: Exception) -> Refused:
    return Refused(
        "failed",
        f"{where.capitalize()} failed on this picture ({type(error).__name__}).",
        "The server's log has the reason.",
        "Tell whoever runs the server.",
    )
