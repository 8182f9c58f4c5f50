"""Our networks beside torchvision's and timm's of the same name: inference, a training step, and a training step of `fit`.

    python benchmarks/networks.py                                        prints a table for RESULTS.md; about 20 minutes
    python benchmarks/networks.py --networks resnet18 vgg11 --rounds 9
    python benchmarks/networks.py --size 64 --batch 8 --rounds 3         a trial run

Columns, each the peer's time over ours (above 1: ours is faster), the median of the rounds' ratios; within a round the
contestants take turns, and every second round in the other order:

inference, training   all in the peer's own settings: float32, channels first, torch.optim.SGD with momentum, one plain loop for all
fit                   `Model.fit` with this library's defaults (Runtime() as it is) beside torchvision's network in that plain loop,
                      which runs in a process of its own, where no setting of ours reaches it

torchvision's network starts with the same weights as ours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lamina import models, networks, optimizers
from lamina.training import Callback

NETWORKS = ("alexnet", "vgg11", "googlenet", "resnet18", "resnet50", "squeezenet1_1", "mobilenet_v2", "densenet121")
OF_TIMM = {"mobilenet_v2": "mobilenetv2_100"} | {
    name: name for name in ("vgg11", "vgg16", "resnet18", "resnet34", "resnet50", "resnet101", "densenet121")
}
RATE, MOMENTUM = 1e-4, 0.9


class Setting(NamedTuple):
    name: str
    rounds: int
    steps: int
    size: int
    batch: int
    threads: int

    def pictures(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, self.size, self.size, generator=generator)
        return images, torch.randint(0, 1000, (self.batch,), generator=generator)


def ours(name: str) -> nn.Module:
    torch.manual_seed(0)
    extra = {"auxiliary": False} if "auxiliary" in networks.arguments(name) else {}
    return networks.create(name, num_classes=1000, arguments=extra)


def theirs(name: str) -> nn.Module:
    extra: dict[str, Any] = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, **extra)


def timms(name: str) -> nn.Module | None:
    if name not in OF_TIMM:
        return None
    try:
        return networks.create(f"timm/{OF_TIMM[name]}", num_classes=1000)
    except ImportError:
        return None


def inference(net: nn.Module, setting: Setting) -> Callable[[], None]:
    images, _ = setting.pictures()

    def run() -> None:
        net.eval()
        with torch.inference_mode():
            for _ in range(setting.steps):
                net(images)

    return run


def plain_loop(net: nn.Module, setting: Setting) -> Callable[[], None]:
    images, labels = setting.pictures()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)

    def run() -> None:
        net.train()
        for _ in range(setting.steps):
            optimizer.zero_grad()
            answer = net(images)  # ours of GoogLeNet is a named tuple
            F.cross_entropy(getattr(answer, "logits", answer), labels).backward()
            optimizer.step()

    return run


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def taking_turns(contestants: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The median over the rounds of each contestant's time over that of "ours"; ours is given in ms a round."""
    for run in contestants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for index in range(rounds):
        order = list(contestants)
        for name in order if index % 2 else reversed(order):
            times[name].append(seconds(contestants[name]))
    ratios = {
        name: statistics.median(t / o for t, o in zip(taken, times["ours"], strict=True))
        for name, taken in times.items()
    }
    return ratios | {"ours": 1000 * statistics.median(times["ours"])}


def in_their_settings(setting: Setting) -> dict[str, dict[str, float]]:
    torch.set_num_threads(setting.threads)
    figures = {}
    for what, maker in (("inference", inference), ("training", plain_loop)):
        net, peer, other = ours(setting.name), theirs(setting.name), timms(setting.name)
        peer.load_state_dict(net.state_dict())
        nets = {"ours": net, "torchvision": peer} | ({} if other is None else {"timm": other})
        figures[what] = taking_turns({name: maker(made, setting) for name, made in nets.items()}, setting.rounds)
    return figures


def peer_process(setting: Setting, pipe: Connection) -> None:
    """Runs a round of the plain loop each time it is asked, and answers with its seconds."""
    torch.set_num_threads(setting.threads)
    net = theirs(setting.name)
    net.load_state_dict(ours(setting.name).state_dict())
    run = plain_loop(net, setting)
    while pipe.recv():
        pipe.send(seconds(run))


class Turns(Callback):
    """Times each epoch of `fit`, and then a round of the plain loop in the other process."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.ratios: list[float] = []
        self.mark = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.mark = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        own = time.perf_counter() - self.mark
        self.pipe.send(True)
        self.ratios.append(self.pipe.recv() / own)


def in_our_settings(setting: Setting) -> tuple[str, float]:
    torch.set_num_threads(setting.threads)
    context = multiprocessing.get_context("spawn")
    pipe, other_end = context.Pipe()
    peer = context.Process(target=peer_process, args=(setting, other_end), daemon=True)
    peer.start()
    images, labels = setting.pictures()
    model = models.Model(ours(setting.name))
    model.compile(
        optimizers.SGD(learning_rate=RATE, momentum=MOMENTUM), loss="sparse_categorical_crossentropy", metrics=[]
    )
    turns = Turns(pipe)
    x, y = images.repeat(setting.steps, 1, 1, 1), labels.repeat(setting.steps)
    model.fit(x, y, batch_size=setting.batch, epochs=setting.rounds + 1, verbose=0, callbacks=[turns])
    pipe.send(False)
    peer.join()
    return repr(model.runtime), statistics.median(turns.ratios[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="names that torchvision has too")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps of a contestant in a round")
    parser.add_argument("--size", type=int, default=128, help="px a side")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    rows, runtime = [], ""
    for name in asked.networks:
        setting = Setting(name, asked.rounds, asked.steps, asked.size, asked.batch, asked.threads)
        with multiprocessing.get_context("spawn").Pool(1) as apart:  # Runtime changes the process that makes one
            figures = apart.apply(in_their_settings, (setting,))
        runtime, fit = in_our_settings(setting)
        cells = [f"{figures[what]['ours'] / asked.steps:.0f}" for what in figures]
        cells += [
            f"{figures[what][peer]:.2f}" if peer in figures[what] else "-"
            for peer in ("torchvision", "timm")
            for what in figures
        ]
        rows.append(f"| {name} | {' | '.join(cells)} | {fit:.2f} |")
        print(rows[-1], flush=True)
    print(
        f"\nTorch {torch.__version__}, torchvision {torchvision.__version__}, {platform.machine()}, {asked.threads} threads;"
        f" {asked.size} px, batch {asked.batch}, {asked.rounds} rounds of {asked.steps} steps; fit: {runtime}.\n"
    )
    print(
        "| network | inference, ms | training, ms | torchvision: inference | training | timm: inference | training | fit |"
    )
    print("| --- |" + " ---: |" * 7)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
