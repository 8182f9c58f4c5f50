"""Where in a picture an answer comes from, for the page: Grad-CAM as rows of numbers with the box that they lie in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import io
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lamina.data.pictures import read_bytes
from lamina.serve import pictures
from lamina.serve.incoming import Upload
from lamina.serve.limits import Limits
from lamina.serve.refusals import Refused

if TYPE_CHECKING:
    from lamina.serve.service import Service

_DRAWN_PX = 640


class Explainer:
    """Makes one heat at a time, for each takes all threads; no more requests wait than can be answered in their time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(1, "lamina-explain")
        self.waiting = 0  # heats that are asked for, with the one that is made
        self.one_s = 0.0  # that the last one took
        self._since = math.inf  # when the one that is made was begun

    async def heat(self, service: Service, upload: Upload, *, until: float, **how: Any) -> dict[str, Any]:
        """What `heat_of` gives. Raises Refused where too many wait already, TimeoutError at `until` (of time.monotonic)."""
        now = time.monotonic()
        left = until - now
        expected = max(self.one_s, now - self._since) * (self.waiting + 1)
        if self.waiting and (self.waiting >= self._limits.queue or expected > left):
            raise Refused(
                "busy",
                f"{self.waiting} pictures wait to be explained, and with one more that takes some {expected:.0f} s.",
                f"At most {self._limits.queue} wait, and a request is answered in {self._limits.timeout_s:g} s.",
                "Try again in a moment.",
            )
        loop = asyncio.get_running_loop()
        made = self._pool.submit(self._timed, service, upload, **how)
        self.waiting += 1
        # Not when the request ends: where that is late or given up, the thread goes on with its heat.
        made.add_done_callback(functools.partial(self._done, loop))
        async with asyncio.timeout(max(left, 0.001)):
            return await asyncio.wrap_future(made)

    def stop(self) -> None:
        """Ends the thread; what waits is not answered."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _timed(self, service: Service, upload: Upload, **how: Any) -> dict[str, Any]:
        self._since = began = time.monotonic()
        try:
            told = heat_of(service, upload, **how)
            self.one_s = time.monotonic() - began
            return told
        finally:
            self._since = math.inf

    def _done(self, loop: asyncio.AbstractEventLoop, _: Future[dict[str, Any]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self.waiting -= 1


def heat_of(service: Service, upload: Upload, *, label: str | None, draws: bool) -> dict[str, Any]:
    """The heat of one picture for a class (None: the most probable): rows of 0..1, and their box in the picture's pixels.

    Raises Refused for what is no picture, LaminaError for a network without maps or a class that there is not.
    """
    from lamina.explain.saliency import grad_cam

    content = upload.data()
    pictures.check(content, upload.name, service.limits)
    heat = grad_cam(service.deployable, read_bytes(content, upload.name), label=label)
    window = heat.window
    box = [window.left, window.top, window.left + window.width, window.top + window.height]
    told = {
        "map": [[round(float(value), 4) for value in row] for row in heat.grid],
        "box_xyxy": [float(value) for value in box],
        "label": heat.label,
        "answer": float(heat.answer),
        "layer": heat.layer,
    }
    if draws:
        written = io.BytesIO()
        heat.overlay(side_px=_DRAWN_PX).save(written, "PNG")
        told["drawn"] = base64.b64encode(written.getvalue()).decode()
    return told


def can_explain(service: Service) -> bool:
    """Whether the network has maps to look at: tried on a black picture."""
    from PIL import Image

    from lamina.core.errors import LaminaError
    from lamina.explain.saliency import grad_cam

    if service.without_heat() is not None:
        return False
    height, width = service.preprocess.size
    began = time.monotonic()
    try:
        grad_cam(service.deployable, Image.new("RGB", (width, height)))
    except (LaminaError, RuntimeError):
        return False
    service.explainer.one_s = time.monotonic() - began
    return True
