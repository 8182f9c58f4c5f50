"""Runs functions of test files in several gloo processes. One interpreter imports torch, and each process is a fork of it."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch


def load(file: str) -> Any:
    """The module that a test file is."""
    name = f"together_{Path(file).stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def run(order: dict[str, Any], rank: int) -> None:
    """What one process does; its result or its traceback lies in a file afterwards."""
    from lamina.training.world import World

    place = Path(order["folder"]) / str(rank)
    torch.set_num_threads(1)
    try:
        world = World.join(timeout_s=order["timeout_s"])
        result = getattr(load(order["file"]), order["function"])(world, *order["arguments"])
        torch.save(result, place.with_suffix(".pt"))
    except BaseException:
        place.with_suffix(".txt").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Takes orders, a line each."""
    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight]).step()  # the first one imports the compiler, which takes seconds: not in each process
    for line in sys.stdin:
        order = json.loads(line)
        load(order["file"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(order["size"]):
            child = os.fork()
            if child == 0:
                told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": order["size"], "MASTER_PORT": port}
                os.environ |= {name: str(value) for name, value in told.items()} | {"MASTER_ADDR": "127.0.0.1"}
                run(order, rank)
            children.append(child)
        ends = {}
        until = time.monotonic() + order["timeout_s"]
        while len(ends) < len(children):
            done, status = os.waitpid(-1, os.WNOHANG)
            if done:
                ends[done] = os.waitstatus_to_exitcode(status)
                continue
            if time.monotonic() > until:
                for child in set(children) - ends.keys():
                    os.kill(child, 9)
                until = float("inf")
            time.sleep(0.01)
        print(json.dumps([ends[child] for child in children]), flush=True)


if __name__ == "__main__":
    main()
