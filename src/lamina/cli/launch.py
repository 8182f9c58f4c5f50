"""Many processes: the same command line again, once for each device, under torch's elastic agent, which is torchrun."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lamina.cli.wording import as_typed
from lamina.core.errors import LaminaError

_STARTED, _RESTARTS, _LOCAL = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "LOCAL_WORLD_SIZE"
_SAID = "LAMINA_SAID"  # the file in which the first of the processes that `start` started says how it was stopped
_NOTHING_YET = "before training began; nothing was saved"


def is_started() -> bool:
    """Whether torchrun, or `start`, started this process as one of several."""
    return _STARTED in os.environ


def start(devices: int, device: str, *, max_restarts: int = 0) -> int:
    """Runs this command line in a process for each of `devices` devices of this machine; returns the exit code.

    Where a process is lost, all are started again up to `max_restarts` times, and go on from the last checkpoint. Of a
    failure the first cause is printed. Raises LaminaError where there are fewer devices.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    kind, there = _devices(device)
    if not 1 <= devices <= there:
        raise LaminaError(*_too_many(devices, kind, there))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(_cores() // devices, 1)))
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")  # see World.join
    for name in list(logging.root.manager.loggerDict):  # each has a level of its own
        if name.startswith(("torch.distributed.elastic", "torch.distributed.run")):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # the cause is printed below, without its table
    agent = ["--standalone", f"--nproc-per-node={devices}", f"--max-restarts={max_restarts}", "-m", "lamina"]
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        os.environ[_SAID] = str(said)
        try:
            run(get_args_parser().parse_args([*agent, *sys.argv[1:]]))  # type: ignore[no-untyped-call]
        except ChildFailedError as failed:
            rank, cause = failed.get_first_failure()
            print(as_typed(_told(rank, cause)), file=sys.stderr)
            return int(cause.exitcode if cause.exitcode > 0 else 128 - cause.exitcode)
        except (SignalException, KeyboardInterrupt) as stopped:  # by then its processes have saved the run
            number = int(getattr(stopped, "sigval", signal.SIGINT))
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            there_is = said.read_text(encoding="utf-8") if said.exists() else f"Stopped by {name} {_NOTHING_YET}."
            print(there_is, file=sys.stderr)
            return 128 + number
    return 0


def say_last(text: str) -> None:
    """Says how a command was stopped: once, by the first of several processes, which leaves it to the one that started them."""
    from_here = int(os.environ.get("RANK", "0")) == 0 or not is_started()
    if from_here and _SAID in os.environ:
        Path(os.environ[_SAID]).write_text(text, encoding="utf-8")
    elif from_here:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def interrupted(where: str) -> Iterator[None]:
    """Has a Ctrl-C that says nothing say where it came."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if str(interrupt):
            raise
        raise KeyboardInterrupt(f"Stopped by Ctrl-C {where}.") from None


def devices_started() -> int | None:
    """The number that `--devices` gave, in a process that `start` started."""
    return int(os.environ.get(_LOCAL, "1")) if is_started() and _SAID in os.environ else None


def join(device: str, devices: int | None) -> bool:
    """Joins the other processes, if this is one of several, of which the first alone prints; returns whether it was started again."""
    if not is_started():
        return False
    from lamina.training.world import World

    local = int(os.environ.get(_LOCAL, "1"))
    if devices not in (None, local):
        raise LaminaError(
            f"--devices {devices} came under a torchrun that starts {local} processes a machine.",
            "One of the two says how many there are.",
            "Leave --devices out where torchrun starts the command.",
        )
    if not World.join(device).is_main:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end of the process)
    return int(os.environ.get(_RESTARTS, "0")) > 0


def recorded(command: Callable[[], Any]) -> Callable[[], Any]:
    """The command; where it is one of several processes, its failure is written down for the agent, which tells the first cause."""
    if not is_started():
        return command
    from torch.distributed.elastic.multiprocessing.errors import record

    return record(command)


def _devices(device: str) -> tuple[str, int]:
    """What `--device` chooses, and how many of it there are; of a processor its cores, or two where it has one, to try it out."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None or device == "cpu":
        return "cpu", max(_cores(), 2)
    return found.type, torch.accelerator.device_count()


def _too_many(devices: int, kind: str, there: int) -> tuple[str, str, str]:
    """What is wrong with --devices: what came, what was expected, what to do."""
    if kind != "cpu":
        has, each = f"{there} {kind} device{'s' * (there > 1)}", "Each process trains on a device of its own."
    else:
        has, each = f"{_cores()} processor core{'s' * (_cores() > 1)}, and no GPU for it", "Each process takes a core."
    came = f"--devices {devices} came, and this machine has {has}."
    return (
        came,
        each,
        f"Pass --devices {there}{' or 1' * (there == 2)}{' or fewer' * (there > 2)}, or leave it out to train in one process.",
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _told(rank: int, cause: Any) -> str:
    """What happened first, and where."""
    data = cause.error_file_data.get("message")
    if not isinstance(data, dict):
        how = (
            f"was ended by signal {-cause.exitcode}" if cause.exitcode < 0 else f"ended with exit code {cause.exitcode}"
        )
        return f"Process {rank} {how}. The others were ended; --resume goes on from the last checkpoint."
    message, trace = str(data.get("message", "")), str(data.get("extraInfo", {}).get("py_callstack", ""))
    kind, _, text = message.partition(": ")
    ours = kind.endswith("Error") and f"lamina.core.errors.{kind}" in trace
    notes = trace.partition(message)[2].strip() if ours else ""
    return f"Process {rank}: " + ("\n".join(filter(None, [text, notes])) if ours else f"\n{trace}")
