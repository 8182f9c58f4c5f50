"""Ours beside its peers: seconds per training epoch of DeepConvNet on MNIST, batch 128, Adam, two cores.

    python benchmarks/run.py                                   7 pairs with every peer, and the loop's own overhead
    python benchmarks/run.py --pairs 3 --peers plain_torch
    python benchmarks/run.py --pairs 0 --accuracy-epochs 12    only the accuracy that each reaches

A pair is one run of ours and one of the peer, one right after the other, each in a fresh process: A B A B ... Of the
`--epochs` epochs of a run the first is not counted. An epoch may be shortened to `--steps` steps, so that a pair is done
before the machine changes its mind, and its time is stretched to the 469 steps of a whole epoch; what a peer does once an
epoch is stretched with it (of Keras on TensorFlow 0.3 to 0.4 s, which 40 steps make 4 s), so `--steps 0`, whole epochs, is
what counts. The ratio of a pair is the peer's time over ours; the table has the median, the least and the greatest.
Appended to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from environments import HERE, KEPT, PEERS, interpreter

OURS = "lamina_fit"
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

# (peer, its precision, ours): the best form of a peer is the one to beat, so bfloat16 too where the processor has it.
PAIRINGS = [
    ("plain_torch", "float32", "default"),
    ("hand_written", "float32", "float32"),
    ("keras_tensorflow", "float32", "default"),
    ("keras_torch", "float32", "default"),
    ("keras_jax", "float32", "default"),
    ("lightning_trainer", "float32", "default"),
    ("fastai_learner", "float32", "default"),
]
PAIRINGS_IN_BFLOAT16 = [
    ("hand_written", "bfloat16", "default"),
    ("keras_tensorflow", "bfloat16", "default"),
    ("lightning_trainer", "bfloat16", "default"),
]


def main() -> None:
    asked = options()
    export_digits()
    processor, flags = hardware()
    pairings = PAIRINGS + (PAIRINGS_IN_BFLOAT16 if {"avx512_bf16", "amx_bf16"} & set(flags) else [])
    pairings = [pairing for pairing in pairings if not asked.peers or pairing[0] in asked.peers]
    for peer, *_ in pairings:
        interpreter(peer)
    if asked.install:
        return
    told_flags = ", ".join(f"{flag} {'yes' if flag in flags else 'no'}" for flag in FLAGS)
    versions: dict[str, str] = {}
    lines = [
        f"\n## {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}\n",
        f"{processor}, two cores, {told_flags}; {platform.system()}, Python {platform.python_version()}.",
    ]
    if asked.pairs:
        lines += pair_table(pairings, asked, versions)
    if asked.accuracy_epochs:
        lines += accuracy_table(pairings, asked, versions)
    if asked.overhead:
        print("loop overhead ...", flush=True)
        told = subprocess.run([sys.executable, str(HERE / "overhead.py")], check=True, capture_output=True, text=True)
        lines += ["", told.stdout.strip()]
    lines += ["", "Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + "."]
    with (HERE / "RESULTS.md").open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    print("\n".join(lines))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=0, help="steps of a shortened epoch; 0 for whole ones")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a run; the first is not counted")
    parser.add_argument("--peers", nargs="+", choices=sorted({peer for peer, *_ in PAIRINGS}))
    parser.add_argument("--accuracy-epochs", type=int, default=0, metavar="N", help="also train N whole epochs each")
    parser.add_argument("--no-overhead", dest="overhead", action="store_false")
    parser.add_argument("--install", action="store_true", help="only make the environments and export the digits")
    return parser.parse_args()


def pair_table(pairings: list[tuple[str, str, str]], asked: argparse.Namespace, versions: dict[str, str]) -> list[str]:
    lines = [
        f"Seconds per epoch after the first, medians of {asked.pairs} interleaved pairs "
        + (f"({asked.steps} steps stretched to 469); " if asked.steps else "(whole epochs); ")
        + "the ratio is the peer's time over ours.\n",
        "| peer | precision | peer, s | ours, s | ratio | least | greatest |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    arguments = ["--epochs", str(asked.epochs), *(["--steps", str(asked.steps)] if asked.steps else [])]
    for peer, precision, our_precision in pairings:
        ours: list[float] = []
        theirs: list[float] = []
        for pair in range(asked.pairs):
            ours.append(measure(OURS, our_precision, arguments, versions)["seconds_per_epoch"])
            theirs.append(measure(peer, precision, arguments, versions)["seconds_per_epoch"])
            print(f"{peer} {precision}, pair {pair + 1}: {theirs[-1]:.2f} s, ours {ours[-1]:.2f} s", flush=True)
        ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
        lines.append(
            f"| {peer} | {precision} | {statistics.median(theirs):.2f} | {statistics.median(ours):.2f} "
            f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |"
        )
    return lines


def accuracy_table(
    pairings: list[tuple[str, str, str]], asked: argparse.Namespace, versions: dict[str, str]
) -> list[str]:
    lines = [
        f"\nTest accuracy after {asked.accuracy_epochs} epochs, one seed.\n",
        "| who | precision | accuracy | s per epoch |",
        "| --- | --- | ---: | ---: |",
    ]
    arguments = ["--epochs", str(asked.accuracy_epochs), "--accuracy"]
    for peer, precision in [(OURS, "default"), *((peer, precision) for peer, precision, _ in pairings)]:
        told = measure(peer, precision, arguments, versions)
        lines.append(f"| {peer} | {precision} | {told['accuracy']:.2%} | {told['seconds_per_epoch']:.2f} |")
        print(lines[-1], flush=True)
    return lines


def measure(peer: str, precision: str, arguments: list[str], versions: dict[str, str]) -> dict[str, Any]:
    """One run of a peer in a fresh process of its own environment."""
    command = [str(interpreter(peer)), str(PEERS / f"{peer}.py"), "--precision", precision, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ran.returncode:
        sys.exit(f"{' '.join(command)}\n{ran.stdout}{ran.stderr}")
    told: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    versions.update(told["versions"])
    return told


def export_digits() -> None:
    """The package's MNIST as .npy, which every peer can read without the package."""
    folder = KEPT / "data"
    if (folder / "done").exists():
        return
    import numpy as np

    from lamina import data

    splits = data.load("mnist")
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in (("train", splits.train), ("test", splits.test)):
        np.save(folder / f"x_{name}.npy", split.images[:, 0].numpy())
        np.save(folder / f"y_{name}.npy", split.labels.numpy())
    (folder / "done").touch()


def hardware() -> tuple[str, list[str]]:
    """The processor's name, and which of FLAGS it has."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine(), []
    fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
    known = {key.strip(): value.strip() for key, value in fields.items()}
    return known.get("model name", platform.machine()), [
        flag for flag in FLAGS if flag in known.get("flags", "").split()
    ]


def commit() -> str:
    """The short hash, with a plus sign where files have changed since."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
