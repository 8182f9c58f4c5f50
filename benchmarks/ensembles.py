"""What ten crops and ensembles gain, beside the single model. No test set is read.

    LAMINA_DATA=... python benchmarks/ensembles.py
    LAMINA_DATA=... python benchmarks/ensembles.py --parts crops --views ten-crop
    LAMINA_DATA=... python benchmarks/ensembles.py --parts seeds,snapshots --epochs 2 --seeds 5

crops      SqueezeNet 1.1, MobileNet v2 and v1 with real ImageNet weights on the 200 staged pictures (which are training pictures
           of ImageNet: gains are smaller than on others), each by one view and several; and the three as an ensemble
seeds      FastConvNets that differ in their seed, on MNIST: all but the last 10,000 of the training digits to learn from, of
           which a tenth is held out for the weights; the last 10,000 to measure on
snapshots  one run of as many epochs on the same digits in cycles of a cosine, its snapshots, and the same length in one cycle

Prints tables in Markdown, for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
import zipfile
from pathlib import Path

import torch

import lamina
from lamina import data, networks
from lamina.callbacks import Snapshots
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.splits import Splits
from lamina.models.comparison import Comparison
from lamina.networks import load
from lamina.optimizers.schedules import Cosine, CosineRestarts

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TENSORFLOW = {"mean": (128 / 255,), "std": (128 / 255,)}
WEIGHTS = {
    "squeezenet1_1": ("squeezenet1_1_imagenet.npz", IMAGENET, {}),
    "mobilenet_v2": ("mobilenet_v2_1.0_224_imagenet.npz", TENSORFLOW, {"padding": "same"}),
    "mobilenet_v1": ("mobilenet_v1_1.0_224_imagenet.npz", TENSORFLOW, {"padding": "same"}),
}


def staged(folder: Path) -> FolderDataset:
    """The 200 pictures, one of every fifth class of ImageNet."""
    with zipfile.ZipFile(Path(os.environ["LAMINA_DATA"]) / "imagenet-samples" / "imagenet_samples_200.zip") as archive:
        archive.extractall(folder)
    with next(folder.rglob("index.csv")).open(encoding="utf-8") as stream:
        labels = {row["ImageId"]: int(row["ClassIndex"]) for row in csv.DictReader(stream)}
    paths = sorted(folder.rglob("*.JPEG"))
    numbers = [labels.get(path.stem, labels.get(path.name, -1)) for path in paths]
    return FolderDataset(paths, torch.tensor(numbers), [str(index) for index in range(1000)], root=folder)


def known(name: str) -> lamina.Classifier:
    """A classifier of ImageNet's 1,000 classes with weights of LAMINA_DATA."""
    file, scale, arguments = WEIGHTS[name]
    net = networks.create(name, num_classes=1000, arguments=arguments)
    found = load.pretrained(name, Path(os.environ["LAMINA_DATA"]) / "weights" / file)
    assert found is not None
    found.fill(net)
    preprocess = lamina.Preprocess(size=(224, 224), crop=0.875, **scale)
    made = lamina.Classifier(net, classes=[str(index) for index in range(1000)], preprocess=preprocess)
    made.compile(metrics=["accuracy", "top5"])
    made.name = name
    return made


def crops(views: list[str]) -> None:
    """The gain of several views, and of three networks together."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = staged(Path(folder))
        print("\n| network | views | loss | top-1 % | top-5 % | gain, points | pictures/s |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        members = [known(name) for name in WEIGHTS]
        for member in members:
            single = None
            for view in ["one", *views]:
                start = time.perf_counter()
                told = member.evaluate(pictures, tta=None if view == "one" else view)
                speed = len(pictures) / (time.perf_counter() - start)
                single = single or told
                print(_row(member.name, view, told, single, speed), flush=True)
        for average in ("probs", "logits"):
            ensemble = lamina.Ensemble(members, average=average)
            print(f"\n{ensemble.compare(pictures)}", flush=True)


def _row(name: str, view: str, told: dict[str, float], single: dict[str, float], speed: float) -> str:
    gain = 100 * (told["accuracy"] - single["accuracy"])
    figures = f"{told['loss']:.3f} | {100 * told['accuracy']:.1f} | {100 * told['top5']:.1f}"
    return f"| {name} | {view} | {figures} | {'' if told is single else f'{gain:+.1f}'} | {speed:.0f} |"


def digits(count: int) -> tuple[ImageDataset, ImageDataset]:
    """(to learn from, to measure on), both of MNIST's training digits."""
    train = data.load("mnist").train
    return train.subset(range(min(count, 50_000))), train.subset(range(50_000, 60_000))


def trained(seed: int, epochs: int, learn: ImageDataset, schedule: object, callbacks: list) -> lamina.Classifier:
    """A FastConvNet."""
    torch.manual_seed(seed)
    made = lamina.Classifier("fastconvnet")
    made.compile(lamina.optimizers.AdamW(learning_rate=0.004), schedule=schedule)
    made.fit(learn, epochs=epochs, batch_size=128, seed=seed, callbacks=callbacks, verbose=0)
    made.name = f"seed {seed}"
    return made


def seeds(count: int, epochs: int, pictures: int) -> None:
    """Networks that differ in their seed: equal and learned weights."""
    learn, measure = digits(pictures)
    members = [trained(seed, epochs, learn, Cosine(warmup=0.2), []) for seed in range(count)]
    for average in ("probs", "logits"):
        ensemble = lamina.Ensemble(members, average=average)
        print(f"\n{average}, equal weights, {epochs} epochs each\n{ensemble.compare(measure)}", flush=True)
        ensemble.learn_weights(Splits(learn, None))
        print(f"\n{average}, learned weights\n{ensemble.compare(measure)}", flush=True)


def snapshots(count: int, epochs: int, pictures: int) -> None:
    """One run in cycles beside one of the same length in one cycle."""
    learn, measure = digits(pictures)
    with tempfile.TemporaryDirectory() as folder:
        kept = Snapshots(folder, every=epochs)
        trained(0, epochs * count, learn, CosineRestarts(first=epochs, multiply=1), [kept])
        table = lamina.Ensemble(folder).compare(measure)
        single = trained(0, epochs * count, learn, Cosine(), []).evaluate(measure)
    whole = Comparison(["one cycle of the same length", "ensemble of snapshots"], [single, table.figures[-1]])
    print(f"\n{count} cycles of {epochs} epochs\n{table}\n\n{whole}", flush=True)


def main() -> None:
    """Runs the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="crops,seeds,snapshots")
    parser.add_argument("--views", default="flip,ten-crop,multi-scale")
    parser.add_argument("--seeds", type=int, default=3, help="members, and cycles")
    parser.add_argument("--epochs", type=int, default=3, help="of each member, and of each cycle")
    parser.add_argument("--pictures", type=int, default=50_000, help="digits to learn from")
    asked = parser.parse_args()
    parts = asked.parts.split(",")
    if "crops" in parts:
        crops(asked.views.split(","))
    if "seeds" in parts:
        seeds(asked.seeds, asked.epochs, asked.pictures)
    if "snapshots" in parts:
        snapshots(asked.seeds, asked.epochs, asked.pictures)


if __name__ == "__main__":
    main()
