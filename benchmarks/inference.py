"""Images a second of whatever can answer for a ResNet at 224 px: torch plain, laid out and compiled, ONNX Runtime, OpenVINO, `predict`.

    python benchmarks/inference.py                                   prints a table for RESULTS.md; about 30 minutes
    python benchmarks/inference.py --no-compiled --precisions float32
    python benchmarks/inference.py --networks resnet18 --rounds 3 --no-compiled
    LAMINA_DATA=... python benchmarks/inference.py --networks mobilenet_v2 --trained

All are given the same uint8 arrays and give probabilities, but for `predict`, which gives results. In each round the contestants
take turns, every second round in the other order; figures are medians. Before the first round `predict` has answered
`--first` pictures, in which it chooses its engine by itself (see models.answering) and says so on stderr.

The weights are drawn, and the statistics of BatchNorms taken from the pictures, so that pictures have different classes; with
`--trained` they are real ones (of imagenet.WEIGHTS), of which lower precisions keep more.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import imagenet
import numpy as np
import torch
from run import FLAGS, commit, hardware
from torch import nn

import lamina
from lamina import Classifier, Preprocess, networks
from lamina.data.formats.image_folder import picture_files
from lamina.export import remembered, samples
from lamina.export.made_engines import ENGINES, Maker
from lamina.export.samples import Samples

BATCHES = (1, 32)
PREPROCESS = Preprocess(size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
LOGITS_STD = 3.0  # about as far apart as a trained network has them
WARM = 3  # calls of single pictures before the one that is timed


def main() -> None:
    asked = options()
    processor, flags = hardware()
    told = ", ".join(f"{flag} {'yes' if flag in flags else 'no'}" for flag in FLAGS)
    print(f"Commit {commit()}; {processor}, {torch.get_num_threads()} threads, {told}; {platform.system()}.")
    print("Versions: " + ", ".join(f"{name} {number}" for name, number in remembered.versions().items()) + ".\n")
    rates: dict[str, dict[str, float]] = {}
    for network in asked.networks:
        for batch, column in raced(network, asked).items():
            for name, rate in column.items():
                rates.setdefault(name, {})[f"{network}, {batch}"] = rate
    columns = [f"{network}, {batch}" for network in asked.networks for batch in BATCHES]
    print(
        f"Images a second, medians of {asked.rounds} rounds in turn; in brackets the share of the fastest that `predict` may take.\n"
    )
    print(f"| network, batch | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for name, row in rates.items():
        cells = [f"{row[column]:.1f}{share(name, column, rates)}" if column in row else "" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")


def share(name: str, column: str, rates: Mapping[str, Mapping[str, float]]) -> str:
    """What `predict` reaches of the fastest engine among those of its precisions."""
    if not name.startswith("`predict`"):
        return ""
    kinds = {"float32", *(kind for kind in ("bfloat16", "int8") if name.endswith(kind))}
    rivals = [
        row[column]
        for rival, row in rates.items()
        if rival.rpartition(" ")[2] in kinds and "predict" not in rival and column in row
    ]
    return f" ({rates[name][column] / max(rivals):.2f})"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--first", type=int, default=2000, help="pictures that predict answers before")
    parser.add_argument("--trained", action="store_true", help="real weights, of LAMINA_DATA")
    parser.add_argument("--no-compiled", dest="compiled", action="store_false", help="compiling takes minutes")
    return parser.parse_args()


def raced(network: str, asked: argparse.Namespace) -> dict[int, dict[str, float]]:
    """Images a second of each contestant that runs, by batch size."""
    model, images = trained(network) if asked.trained else trained_like(network)
    opened = from_file(model)
    maker = Maker(model.deployable(), Samples((images,), "pictures"), batches=BATCHES)
    contestants: dict[str, Callable[[Any], Any]] = {"torch as it is, float32": plain(maker.deployable.module())}
    wanted = maker.reference
    for kind in asked.precisions:
        for name in [name for name in ENGINES if kind in ENGINES[name] and (name != "compiled" or asked.compiled)]:
            begun = time.perf_counter()
            try:
                engine = maker.make(name, kind)
                took = time.perf_counter() - begun
                answers = wanted.ask(engine)
            except Exception as error:
                print(
                    f"{network}: {name}, {kind} is left out: {type(error).__name__}: {str(error).splitlines()[0]}",
                    flush=True,
                )
                continue
            agreement, difference = wanted.agreement(answers), wanted.difference(wanted.answers, answers)
            told = f"classes agree {100 * (agreement or 0):.1f} %, largest difference {difference:.1g}"
            kept = "" if agreement is not None and agreement >= 0.99 else " (classes change)"
            print(f"{network}: {name}, {kind}: built in {took:.1f} s, {told}", flush=True)
            contestants[f"{name}, {kind}{kept}"] = engine
        many = np.resize(images, (asked.first, *images.shape[1:]))
        begun = time.perf_counter()
        opened.predict(many, precision=kind)
        print(
            f"{network}: the first {asked.first} pictures by predict, {kind}: {time.perf_counter() - begun:.0f} s",
            flush=True,
        )
        contestants[f"`predict`, {kind}"] = lambda x, kind=kind: opened.predict(x, precision=kind)
    return {batch: taking_turns(contestants, images[:batch], asked.rounds) for batch in BATCHES}


def from_file(model: Classifier) -> Classifier:
    """The model as most are used: opened, and its network handed to nobody, so predict need not look for changes of its weights."""
    with tempfile.TemporaryDirectory() as folder:
        opened: Classifier = lamina.load(model.save(Path(folder) / "model.safetensors"))
    return opened


def plain(module: nn.Module) -> Callable[[Any], Any]:
    def answer(images: Any) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(images)).numpy()

    return answer


def taking_turns(contestants: Mapping[str, Callable[[Any], Any]], images: Any, rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run(images)
    for index in range(rounds if len(images) > 1 else 10 * rounds):
        order = list(contestants)
        for name in order if index % 2 else reversed(order):
            for _ in range(
                WARM if len(images) == 1 else 0
            ):  # finds another engine's weights in the caches, and its threads awake
                contestants[name](images)
            begun = time.perf_counter()
            contestants[name](images)
            times[name].append(time.perf_counter() - begun)
    return {name: len(images) / statistics.median(taken) for name, taken in times.items()}


def trained(network: str) -> tuple[Classifier, Any]:
    """A classifier with real weights, and 256 pictures: the staged ones, some of them mirrored."""
    model = imagenet.known(network)
    with tempfile.TemporaryDirectory() as folder:
        pictures = imagenet.staged(Path(folder)).in_memory(model.preprocess).images
    return model, torch.cat([pictures, pictures.flip(3)])[:256].numpy()


def trained_like(network: str) -> tuple[Classifier, Any]:
    """A classifier of 1,000 classes that tells pictures apart, and 256 pictures."""
    torch.manual_seed(0)
    net = networks.create(network, num_classes=1000)
    model = Classifier(net, classes=[f"class {index}" for index in range(1000)], preprocess=PREPROCESS)
    folder = Path(os.environ["LAMINA_DATA"]) / "imagenet-samples" if "LAMINA_DATA" in os.environ else None
    files = picture_files(folder)[:256] if folder is not None and folder.is_dir() else []
    found = PREPROCESS.stack(files) if files else torch.from_numpy(samples.made(model.deployable()).inputs[0])
    images = torch.cat([found, found.flip(3), found.flip(2)])
    images = images.repeat(-(-256 // len(images)), 1, 1, 1)[:256]
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        prepared = PREPROCESS.normalize()(images[:64])
        net.train()(prepared)
        logits = net.eval()(prepared)
        head = [part for part in net.modules() if isinstance(part, nn.Linear)][-1]
        apart = logits - logits.mean(0)
        head.weight.mul_(LOGITS_STD / apart.std())
        head.bias.copy_(-(net(prepared).mean(0) - head.bias))
    return model, images.numpy()


if __name__ == "__main__":
    main()
