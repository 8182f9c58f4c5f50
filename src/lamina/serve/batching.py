"""Pictures of many requests, decoded by several threads, gathered into batches, and computed by one.

    request -> [to decode] -> decoding threads -> [ready] -> engine's thread -> the request's event loop, once a batch
                                     ^                            |
                                     '--- [to finish] <-----------'  what is drawn, and answers that are maps

A picture whose client has gone, or whose time is over, is dropped wherever it is met. The number of pictures under way is
bounded, and so is what answers that wait to be finished may weigh; a request that would wait longer than it may is refused.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
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
Size = tuple[int, int]  # height, width in pixels
Finish = Callable[["Picture"], Any]
LARGE_ROW_BYTES = 1 << 16  # an answer above it is a map: it takes time to be told, and memory while it waits for that
WAITING_BYTES = 64 << 20  # of such answers, beside a batch of them
log = logging.getLogger("lamina.serve")


class Group:
    """The pictures of one request. `answers` holds, for each, what the engine's side made of it, or a Refused."""

    def __init__(self, uploads: Sequence[Upload], *, until: float, after: Finish | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.answers: list[Any] = [None] * len(uploads)
        self.left = len(uploads)
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.gone = False
        self.until = until  # of time.monotonic
        self.after = after  # makes what is told of a picture that has its answer, in a decoding thread
        self.pictures = [Picture(self, index, upload) for index, upload in enumerate(uploads)]


class Picture:
    """One picture on its way: `array` as the network takes it, `size` its own, `answer` the network's, until it is told."""

    __slots__ = ("answer", "array", "group", "index", "ready_at", "size", "upload")

    def __init__(self, group: Group, index: int, upload: Upload) -> None:
        self.group, self.index, self.upload = group, index, upload
        self.array: Pixels | None = None
        self.size: Size = (0, 0)
        self.ready_at = 0.0
        self.answer: npt.NDArray[Any] | None = None


class Batcher:
    """The threads between requests and the engine.

    `decode` makes pixels of an upload, with the picture's own size, `compute` rows of a batch (B C H W), and `tell` what a
    request gets for each of some rows, beside those sizes; all run in threads.
    """

    def __init__(
        self,
        decode: Callable[[Upload], tuple[Pixels, Size]],
        compute: Callable[[Pixels], npt.NDArray[Any]],
        tell: Callable[[npt.NDArray[Any], Sequence[Size]], Sequence[Any]],
        *,
        limits: Limits,
        figures: Figures,
        threads: int,
    ) -> None:
        self._decode, self._compute, self._tell = decode, compute, tell
        self.limits, self._figures = limits, figures
        self._threads = threads
        self.batch = limits.batch  # pictures at most; fewer where answers are large
        self._undecoded, self._unfinished = deque[Picture](), deque[Picture]()
        self._work: SimpleQueue[bool] = SimpleQueue()  # True for each of those, False for the end
        self._ready: SimpleQueue[Picture | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._room = threading.Condition()
        self._waiting_bytes = 0  # of answers that are to be finished
        self._pace = Pace()
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
            self._work.put(False)
        self._ready.put(None)
        with self._room:
            self._waiting_bytes = -1 << 60  # nobody waits for room any more
            self._room.notify_all()
        until = time.monotonic() + timeout_s
        for thread in self._running:
            thread.join(max(until - time.monotonic(), 0.0))
        self._running = []

    def submit(self, group: Group) -> None:
        """Takes all pictures of a request, or none: raises Refused where the queue has no room for them, or its time none."""
        count = len(group.pictures)
        with self._lock:
            expected, left = self._pace.seconds(self.under_way + count), group.until - time.monotonic()
            if self.under_way and expected > left:  # better now than when its time is over
                raise Refused(
                    "busy",
                    f"{self.under_way} pictures wait already, and with {count} more that takes some {expected:.0f} s.",
                    f"A request is answered in {self.limits.timeout_s:g} s.",
                    "Try again in a moment.",
                )
            if self.under_way + count > self.limits.queue:
                raise Refused(
                    "busy",
                    f"{self.under_way} pictures wait already.",
                    f"At most {self.limits.queue} do at a time.",
                    "Try again in a moment.",
                )
            if not self.under_way:
                self._pace.begins()
            self.under_way += count
        self._figures.queue.inc(count)
        self._undecoded.extend(group.pictures)
        for _ in group.pictures:
            self._work.put(True)

    def _decode_all(self) -> None:
        torch.get_num_threads()  # which sets this thread up; before it, what the next line says would be forgotten
        torch.set_num_threads(1)  # pictures are decoded beside each other, and not one by many threads
        while self._work.get():
            try:
                picture, work = self._unfinished.popleft(), self._finish_one  # first, for they weigh more
            except IndexError:
                picture, work = self._undecoded.popleft(), self._decode_one
            try:
                work(picture)
            except Refused as refused:
                self._settle([(picture, refused)])
            except Exception as error:
                log.exception("decoding failed")
                self._settle([(picture, _failed("decoding", error))])

    def _decode_one(self, picture: Picture) -> None:
        if self._dropped(picture):
            return
        began = time.monotonic()
        picture.array, picture.size = self._decode(picture.upload)
        if picture.group.after is None:
            picture.upload.content = b""  # 256 of them may wait
        picture.ready_at = time.monotonic()
        self._figures.decode.observe(picture.ready_at - began)
        self._ready.put(picture)

    def _finish_one(self, picture: Picture) -> None:
        """What is told of an answer that was not told with its batch."""
        assert picture.answer is not None
        weight = picture.answer.nbytes
        try:
            if self._dropped(picture):
                return
            after = picture.group.after
            told = self._tell(picture.answer[None], [picture.size])[0] if after is None else after(picture)
        finally:  # before the request goes on: who has its answer finds the room free
            picture.answer = None
            with self._room:
                self._waiting_bytes -= weight
                self._room.notify_all()
        self._settle([(picture, told)])

    def _compute_all(self, prepare: Callable[[], Refused | None]) -> None:
        refused = prepare()
        while refused is not None:
            picture = self._ready.get()
            if picture is None:
                return
            self._settle([(picture, refused)])
        buffer: Pixels | None = None
        while (first := self._ready.get()) is not None:
            gathered = self._gathered(first)
            with self._room:
                self._room.wait_for(lambda: self._waiting_bytes <= WAITING_BYTES)
            batch = [picture for picture in gathered if not self._dropped(picture)]
            arrays = [picture.array for picture in batch if picture.array is not None]
            if not arrays:
                continue
            now = time.monotonic()
            for picture in batch:
                self._figures.wait.observe(now - picture.ready_at)
            try:
                if buffer is None or buffer.shape[1:] != arrays[0].shape:
                    buffer = np.empty((self.batch, *arrays[0].shape), np.uint8)
                for row, array in enumerate(arrays):
                    buffer[row] = array
                told = self._told(batch, self._compute(buffer[: len(batch)]))
            except Exception as error:  # of memory, of the engine: the next batch is computed
                log.exception("the engine failed")
                told = [(picture, _failed("the model", error)) for picture in batch]
            self._figures.batches.observe(len(batch))
            self._figures.compute.observe(time.monotonic() - now)
            self._settle(told)

    def _told(self, batch: Sequence[Picture], rows: npt.NDArray[Any]) -> list[tuple[Picture, Any]]:
        """What pictures get that are told at once; what the others get is made in a decoding thread."""
        if len(rows) != len(batch):
            raise ValueError(f"{len(batch)} pictures came, and the engine gave {len(rows)} answers")
        large = rows[0].nbytes > LARGE_ROW_BYTES
        at_once = [index for index, picture in enumerate(batch) if not large and picture.group.after is None]
        told = self._tell(rows[at_once], [batch[index].size for index in at_once]) if at_once else ()
        answered = [(batch[index], answer) for index, answer in zip(at_once, told, strict=True)]
        for index in sorted(set(range(len(batch))) - set(at_once)):
            batch[index].answer = rows[index].copy()  # without the batch
            with self._room:
                self._waiting_bytes += rows[index].nbytes
            self._unfinished.append(batch[index])
            self._work.put(True)
        return answered

    def _gathered(self, first: Picture) -> list[Picture]:
        """A batch that begins with a picture: what is ready, and what is so within a few milliseconds; none that nobody brings."""
        batch = [first]
        until = time.monotonic() + self.limits.wait_ms / 1000
        while len(batch) < self.batch:
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
            self._pace.note(sum(not isinstance(answer, Refused | None) for _, answer in told))
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


class Pace:
    """How long pictures take while there is always one to be done, by the last few dozen of them."""

    _OF = 64  # pictures, about, that the mean is over

    def __init__(self) -> None:
        self.picture_s = 0.0
        self._since = time.monotonic()
        self._seen = 0

    def begins(self) -> None:
        """Work comes, where there was none."""
        self._since = time.monotonic()

    def note(self, count: int) -> None:
        """So many more were answered."""
        if not count:
            return
        now = time.monotonic()
        self._seen = min(self._seen + count, self._OF)
        self.picture_s += ((now - self._since) / count - self.picture_s) * min(count / self._seen, 1.0)
        self._since = now

    def seconds(self, count: int) -> float:
        """What so many pictures will take; 0 where too few were seen to tell."""
        return self.picture_s * count if self._seen >= self._OF else 0.0


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
