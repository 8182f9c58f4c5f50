"""One thread that writes while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Writer:
    """Runs one job at a time in a thread of its own. What a job raises is raised again by the next call of any method.

    The thread is no daemon: a job that was begun is finished, also where the interpreter ends early.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is being done."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, job: Callable[[], None]) -> None:
        """Waits for the job before, then begins this one."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,), name="lamina writer")
        self._thread.start()

    def check(self) -> None:
        """Raises what went wrong in a job that is done; else costs nothing."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Waits until nothing is being done; raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error
