"""Processes that work beside this one: each is sent tasks and answers them, in the order in which they came.

Every worker has a pipe of its own and no lock is shared, so one that is killed stops nobody else, and is noticed at once.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize
from typing import Any

import torch

from lamina.core.errors import LaminaError

_LOOK_S = 1.0  # how often an idle worker looks whether the process that started it is still there


def start_method() -> str:
    """ "fork" or "spawn": what `multiprocessing.set_start_method` was told, else the platform's own."""
    return multiprocessing.get_start_method()


class Failure:
    """What came instead of an answer: an error, and where it was raised."""

    def __init__(self, error: BaseException) -> None:
        error.add_note("".join(traceback.format_exception(error)).rstrip())
        try:
            pickle.loads(pickle.dumps(error))
            self.error: BaseException = error
        except Exception:  # an error that cannot travel: its text can
            self.error = RuntimeError("\n".join([f"{type(error).__name__}: {error}", *error.__notes__]))


class Pool:
    """`count` processes that answer tasks by `work(task)`. They end with this object, or with this process, however it ends."""

    def __init__(self, work: Callable[[Any], Any], count: int) -> None:
        context: BaseContext = torch.multiprocessing.get_context(start_method())  # knows how tensors travel
        self._forked = start_method() == "fork"
        pipes = [context.Pipe() for _ in range(count)]
        self._ends: list[Any] = [ours for ours, _ in pipes]
        ends = [end for pipe in pipes for end in pipe]
        self._processes: list[Any] = []
        self._finalize = Finalize(self, _end, args=(self._processes, self._ends), exitpriority=10)
        for number, (_, theirs) in enumerate(pipes):
            # A fork inherits the ends of all pipes: while it holds a sibling's, nobody sees that one's death.
            others = [end for end in ends if end is not theirs] if self._forked else []
            process: Any = context.Process(  # type: ignore[attr-defined]
                target=_serve,
                args=(work, theirs, others, os.getpid() if self._forked else None),
                name=f"lamina-worker-{number}",
                daemon=True,
            )
            with warnings.catch_warnings():
                # Python 3.12 warns of forking beside threads: ours only decode, on one thread, and take no lock of another.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            self._processes.append(process)
        for _, theirs in pipes:
            theirs.close()

    def send(self, worker: int, task: Any) -> None:
        """Gives a task to one worker. Raises LaminaError if it has died.

        Tasks are to be small: where those that wait fill the pipe, this process waits for the worker to take one, and the
        worker, which has an answer, for this process.
        """
        try:
            self._ends[worker].send(task)
        except OSError:
            raise self._died(worker) from None

    @property
    def closed(self) -> bool:
        """Whether the processes were ended."""
        return not self._finalize.still_active()

    def receive(self) -> Any:
        """The next answer of any worker. Raises what was raised in it, and LaminaError where one has died."""
        if self.closed:
            raise LaminaError("The workers were closed.", "Answers come from living ones.", "Begin another epoch.")
        sentinels = {process.sentinel: number for number, process in enumerate(self._processes)}
        ready = wait([*self._ends, *sentinels])
        for number, end in enumerate(self._ends):
            if end in ready:
                try:
                    answer = end.recv()
                except (EOFError, OSError):
                    raise self._died(number) from None
                if isinstance(answer, Failure):
                    raise answer.error
                return answer
        raise self._died(next(sentinels[sentinel] for sentinel in ready if isinstance(sentinel, int)))

    def pids(self) -> list[int]:
        """The numbers of the processes."""
        return [process.pid for process in self._processes]

    def close(self) -> None:
        """Ends the processes at once: they hold nothing that is worth waiting for."""
        self._finalize()

    def _died(self, number: int) -> LaminaError:
        process = self._processes[number]
        process.join(1.0)
        code = process.exitcode
        how = f"was killed ({signal.Signals(-code).name})" if code is not None and code < 0 else f"ended (code {code})"
        remedy = (
            "Mostly the memory ran out: close what else needs it, or let a models.Model train on "
            "data.WorkerBatches(dataset, workers=1); workers=0 uses none."
        )
        if code == 1 and not self._forked:
            remedy = (
                'A script that starts workers has to begin its work under `if __name__ == "__main__":`; '
                "data.WorkerBatches(dataset, workers=0) uses none."
            )
        return LaminaError(
            f"Worker {number + 1} of {len(self._processes)}, which read pictures as process {process.pid}, {how}.",
            "Workers live as long as the training.",
            remedy,
        )


def _end(processes: Sequence[Any], ends: Sequence[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        process.join()
    for end in ends:
        end.close()


def _serve(work: Callable[[Any], Any], end: Connection, others: Sequence[Connection], parent: int | None) -> None:
    for other in others:
        other.close()
    # Ctrl-C and SIGTERM reach the whole group; the training stops between two updates, and needs its workers until then.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # the collector would write to every object that was forked, and so copy its page
    torch.set_num_threads(1)  # the cores are shared among workers; and OpenMP's threads do not survive a fork
    while True:
        try:
            while not end.poll(_LOOK_S):
                if parent not in (
                    None,
                    os.getppid(),
                ):  # another fork may hold the pipe open, so its end is not always seen
                    return
            task = end.recv()
        except (EOFError, OSError):
            return
        try:
            answer = work(task)
        except Exception as error:
            answer = Failure(error)
        try:
            end.send(answer)
        except OSError:
            return
