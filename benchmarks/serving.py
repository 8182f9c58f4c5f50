"""The server under load, beside `predict` on the same JPEG files: pictures a CPU-second, latencies, and a soak with every fault.

    python benchmarks/serving.py --rounds 3                 # throughput: MobileNet v2, 64 clients, the bar is 0.8
    python benchmarks/serving.py --minutes 30               # soak: good, broken, huge, slow and aborted requests mixed
    python benchmarks/serving.py --profile server.prof      # where the server's Python time goes

The server is a process of its own, whose CPU time is read from the kernel; `predict` is timed in another, on batches of 32 by the
same engine. The clients' CPU counts for neither. Rounds of both take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from loading import Server, mixed, picture_files, post, request

import lamina
from lamina import networks

CLIENTS, BATCH = 64, 32
PREDICT = """
import json, resource, sys, time
import lamina
model, files, engine = lamina.load(sys.argv[1]), sys.argv[3:], sys.argv[2]
model.predict(files[:32], batch_size=32, engine=engine)
for line in sys.stdin:
    rounds = int(line)
    begun, cpu, longest = time.perf_counter(), time.process_time(), 0.0
    for number in range(rounds):
        at = time.perf_counter()
        start = 32 * number % (len(files) - 31)
        model.predict(files[start : start + 32], batch_size=32, engine=engine)
        longest = max(longest, time.perf_counter() - at)
    print(json.dumps([time.process_time() - cpu, time.perf_counter() - begun, longest]), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side, in turns")
    parser.add_argument("--batches", type=int, default=16, help="batches of 32 in a round")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--form", default="raw", choices=["raw", "form", "json"], help="how pictures are sent")
    parser.add_argument("--minutes", type=float, help="soak for so long, and nothing else")
    parser.add_argument("--profile", help="write a cProfile of the server's main thread here")
    told = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = mobilenet(Path(folder) / "mobilenet_v2.safetensors")
        files = picture_files(Path(folder) / "pictures")
        options = ["--engine", told.engine]
        if told.minutes is not None:
            with Server(model, *options, "--timeout", "10", "--max-mb", "4") as server:
                print(json.dumps(asyncio.run(soak(server, model, files, seconds=60 * told.minutes)), indent=2))
            return
        with Server(model, *options, profile=told.profile) as server:
            throughput(server, model, files, told)


def mobilenet(path: Path) -> Path:
    """A MobileNet v2 of random weights whose answers differ, as a model file."""
    import torch

    torch.manual_seed(0)
    net = networks.create("mobilenet_v2", num_classes=1000)
    with torch.no_grad():
        list(net.parameters())[-2].mul_(300)
    classes = [f"class {number}" for number in range(1000)]
    lamina.Classifier(net, classes=classes, preprocess=lamina.Preprocess(size=(224, 224), crop=0.875)).save(path)
    return path


def throughput(server: Server, model: Path, files: list[Path], told: argparse.Namespace) -> None:
    """Prints pictures a CPU-second of both, and the latencies."""
    command = [sys.executable, "-c", PREDICT, str(model), told.engine, *map(str, files)]
    predict = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert predict.stdin is not None
    assert predict.stdout is not None
    count, ratios, rows = told.batches * BATCH, [], []
    bodies = [request("/predict", *post(told.form, [file.read_bytes()])) for file in files]
    asyncio.run(load(server, bodies, clients=told.clients, count=2 * BATCH))
    for turn in range(told.rounds):
        predict.stdin.write(f"{told.batches}\n")
        predict.stdin.flush()
        alone_cpu, alone_s, _ = json.loads(predict.stdout.readline())
        before = server.cpu_s()
        begun = time.perf_counter()
        latencies = asyncio.run(load(server, bodies, clients=told.clients, count=count))
        wall, cpu = time.perf_counter() - begun, server.cpu_s() - before
        ratios.append(alone_cpu / cpu)
        rows.append((count / alone_cpu, count / cpu, count / alone_s, count / wall, alone_s / told.batches, latencies))
        p50, p99 = statistics.median(latencies), statistics.quantiles(latencies, n=100)[98]
        print(
            f"round {turn + 1}: predict {count / alone_cpu:.1f} a CPU-second ({count / alone_s:.1f} a second), server "
            f"{count / cpu:.1f} ({count / wall:.1f}), ratio {alone_cpu / cpu:.3f}; p50 {1000 * p50:.0f} ms, "
            f"p99 {1000 * p99:.0f} ms = {p99 / (alone_s / told.batches):.1f} batches of predict",
            flush=True,
        )
    predict.stdin.close()
    predict.wait()
    p99s = [statistics.quantiles(row[5], n=100)[98] / row[4] for row in rows]
    print(
        f"\n| MobileNet v2, {told.engine}, {told.form}, {told.clients} clients, n = {told.rounds} | predict | server |"
    )
    print("| --- | --- | --- |")
    print(f"| pictures a CPU-second | {_median(rows, 0):.1f} | {_median(rows, 1):.1f} |")
    print(f"| pictures a second | {_median(rows, 2):.1f} | {_median(rows, 3):.1f} |")
    print(f"| ratio of CPU, median (bar 0.8) | 1 | {statistics.median(ratios):.3f} |")
    print(f"| p99 in batch times, median (bar 10) | 1 | {statistics.median(p99s):.2f} |")


def _median(rows: list[tuple[float, ...]], column: int) -> float:
    return statistics.median(row[column] for row in rows)


async def load(server: Server, bodies: list[bytes], *, clients: int, count: int) -> list[float]:
    """The latencies (s) of `count` good requests by so many clients, each of which waits for its answer."""
    left = iter(range(count))
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await server.connect()
        for number in left:
            begun = time.perf_counter()
            writer.write(bodies[number % len(bodies)])
            status, answer = await server.answer(reader)
            assert status == 200, answer
            latencies.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return latencies


async def soak(
    server: Server, model: Path, files: list[Path], *, seconds: float, clients: int = 16
) -> dict[str, object]:
    """All kinds of requests mixed for so long: counts, wrong answers, and the server's memory after warm-up and at the end."""
    expected = {file: result.label for file, result in zip(files, lamina.load(model).predict(files), strict=True)}
    begun, counts, wrong = time.monotonic(), dict[str, int](), list[str]()
    memory: list[tuple[float, int]] = []

    async def client(number: int) -> None:
        dice = random.Random(number)
        while time.monotonic() - begun < seconds:
            kind, fault = await mixed(server, files, expected, dice)
            counts[kind] = counts.get(kind, 0) + 1
            if fault:
                wrong.append(f"{kind}: {fault}")

    async def watch() -> None:
        while time.monotonic() - begun < seconds:
            memory.append((time.monotonic() - begun, server.memory_bytes()))
            await asyncio.sleep(min(seconds / 60, 5))

    await asyncio.gather(watch(), *(client(number) for number in range(clients)))
    warm = [held for at, held in memory if 0.25 * seconds <= at < 0.5 * seconds]
    late = [held for at, held in memory if at >= 0.75 * seconds]
    return {
        "requests": counts,
        "wrong": len(wrong),
        "first wrong": wrong[:5],
        "warm MB": round(statistics.median(warm) / 1e6, 1),
        "late MB": round(statistics.median(late) / 1e6, 1),
        "growth": round(statistics.median(late) / statistics.median(warm) - 1, 4),
        "alive": server.is_alive(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
