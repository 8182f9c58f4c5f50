"""A run that is killed at any moment, also while it saves, and goes on ends bit-equal to one that never was."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lamina.core.errors import FileFormatError
from lamina.training import state

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")

KINDS = ("supervised", "gan", "loader")


class Server:
    """Trains in children that it forks; see killable.py."""

    def __init__(self, log: Path) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("killable.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **threads},
        )

    def train(
        self,
        kind: str,
        folder: Path,
        *,
        every_steps: int | None = None,
        kill_after: float | None = None,
        kill_at: int | None = None,
    ) -> dict[str, Any]:
        """How a training ended: its seconds, and the signal that ended it (0 where it came to its end)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"kind": kind, "folder": str(folder), "every_steps": every_steps}
        self._process.stdin.write(json.dumps({**request, "kill_after": kill_after, "kill_at": kill_at}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert answer["code"] in (0, -9), Path(self._log.name).read_text()
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self._log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server") / "log.txt")
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], float]]:
    """The outcome of each kind of training that nobody kills and that takes no checkpoint within an epoch, and its seconds."""
    found = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("whole") / kind
        seconds = server.train(kind, folder)["seconds"]
        print(f"{kind}: {seconds:.2f} s where nobody kills it")
        found[kind] = (outcome(folder), seconds)
    return found


def outcome(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return told


def place(folder: Path) -> str:
    """Which checkpoints a killed run has left."""
    words = []
    for name in ("last.ckpt", "previous.ckpt"):
        path = folder / name
        if path.exists():
            try:
                words.append(f"{name} at step {state.read(path)['loop']['position']['steps_done']}")
            except FileFormatError:
                words.append(f"{name} damaged")
    return ", ".join(words) or "no checkpoint yet"


def kill_and_resume(
    server: Server, kind: str, folder: Path, whole: tuple[dict[str, Any], float], draw: random.Random, *, kills: int
) -> int:
    """Kills a run up to that many times, then lets it end and compares; returns how many kills there were."""
    wanted, seconds = whole
    every_steps, done = draw.choice((1, 2, 3)), 0
    while done < kills:
        at = (
            {"kill_at": draw.randrange(1, 300)} if draw.random() < 0.5 else {"kill_after": draw.uniform(0, 2 * seconds)}
        )
        ended = server.train(kind, folder, every_steps=every_steps, **at)
        if not ended["signal"]:
            break
        done += 1
        how = f"moment {at['kill_at']} of writing" if "kill_at" in at else f"{ended['seconds']:.3f} s"
        print(f"{kind}: killed after {how}; {place(folder)}", flush=True)
    server.train(kind, folder, every_steps=every_steps)
    came = outcome(folder)
    assert came["history"] == wanted["history"]
    assert came == wanted
    print(
        f"{kind}: {done} kills, bit-equal: {len(came['weights'])} tensors, {came['results.csv']} results.csv",
        flush=True,
    )
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_twice_ends_bit_equal(server, whole, tmp_path, kind):
    kill_and_resume(server, kind, tmp_path / "run", whole[kind], random.Random(f"quick {kind}"), kills=2)


# The moments of a save: half of the file written (1), its sync (2, 3), the one before renamed (4, 5), it renamed (6, 7),
# the folder's sync (8, 9). config.yaml comes first and has no half; the first checkpoint, at step 36, has none before it; the
# second ends the epoch.
CONFIG, FIRST = 6, 13


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        (CONFIG + 1, "no checkpoint yet"),
        (FIRST + 1, "last.ckpt at step 36"),
        (FIRST + 5, "previous.ckpt at step 36"),
        (FIRST + 7, "last.ckpt at step 37, previous.ckpt at step 36"),
        (FIRST + 9 + 1, "last.ckpt at step 37, previous.ckpt at step 36"),  # in last.safetensors
        (FIRST + 9 + 7 + 5, "last.ckpt at step 37, previous.ckpt at step 36"),  # in best.safetensors
    ],
)
def test_any_moment_of_a_save_may_be_the_last(server, whole, tmp_path, moment, left):
    folder = tmp_path / "run"
    assert server.train("gan", folder, every_steps=36, kill_at=moment)["signal"] == 9
    assert place(folder) == left
    server.train("gan", folder, every_steps=36)
    assert outcome(folder) == whole["gan"][0]
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_fifty_random_kills_end_bit_equal(server, whole, tmp_path, capsys):
    draw, kills, runs = random.Random(50), 0, 0
    with capsys.disabled():
        print()
        while kills < 50:
            kind = KINDS[runs % len(KINDS)]
            runs += 1
            kills += kill_and_resume(
                server, kind, tmp_path / f"{runs}", whole[kind], draw, kills=min(draw.randint(3, 6), 60 - kills)
            )
        print(f"{kills} kills in {runs} runs, each of them bit-equal to one that was never killed.")
