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
import tempfile
import time
from pathlib import Path

import torch
from imagenet import WEIGHTS, known, staged

import lamina
from lamina import data
from lamina.callbacks import Snapshots
from lamina.data.dataset import ImageDataset
from lamina.data.splits import Splits
from lamina.models.comparison import Comparison
from lamina.optimizers.schedules import Cosine, CosineRestarts


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
