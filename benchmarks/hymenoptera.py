"""Ants and bees: MobileNet v2 fine-tuned on 244 pictures, beside a linear probe on its features and the same network from scratch.

    LAMINA_DATA=... python benchmarks/hymenoptera.py --seeds 5

Prints one table. The 153 validation pictures are what is reported on: each reading of them is written to test_evaluations.csv.
Settings were chosen by `--choose`: cross-validation on the training pictures alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from readings import log
from torch import Tensor

import lamina
from lamina import recipes, training
from lamina.data import ImageDataset

AT_HAND = Path(os.environ.get("LAMINA_DATA", "."))
WEIGHTS = AT_HAND / "weights" / "mobilenet_v2_features_bn.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--choose", nargs="*", metavar="NAME=VALUE", help="cross-validate these settings, and read no validation"
    )
    parser.add_argument("--only", nargs="+", choices=["class layer", "fine-tuned", "from scratch"])
    parser.add_argument("--folds", type=int, default=4, help="for --choose")
    told = parser.parse_args()
    train, held = pictures()
    if told.choose is not None:
        choose(train, changed(recipes.few_photos(), told.choose), folds=told.folds, seed=told.first_seed)
        return
    seeds = range(told.first_seed, told.first_seed + told.seeds)
    report(train, held, recipes.few_photos(), seeds, told.only or ("class layer", "fine-tuned", "from scratch"))


def pictures() -> tuple[ImageDataset, ImageDataset]:
    """The pictures for training and validation, as the network takes them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(AT_HAND / "hymenoptera" / "hymenoptera.zip") as archive,
    ):
        archive.extractall(folder)
        root = next(path.parent for path in Path(folder).rglob("train") if path.is_dir())
        splits = lamina.data.open(root)
        preprocess = pretrained().preprocess
        return splits.train.in_memory(preprocess), splits.validation.in_memory(preprocess)


def pretrained() -> lamina.Classifier:
    return lamina.Classifier("mobilenet_v2", pretrained=WEIGHTS)


def fine_tuned(train: ImageDataset, settings: recipes.FineTuning, *, seed: int) -> lamina.Classifier:
    return settings.fit(train, pretrained=WEIGHTS, seed=seed, verbose=0)


def class_layer(train: ImageDataset, settings: recipes.FineTuning, *, seed: int) -> lamina.Classifier:
    """The first phase alone: a linear probe by the same optimizer, from the same first values."""
    return fine_tuned(train, replace(settings, epochs=0, average=None), seed=seed)


def from_scratch(train: ImageDataset, settings: recipes.FineTuning, *, seed: int) -> lamina.Classifier:
    """The same network with fresh values and as many looks at each picture, all of it learning at the optimizer's rate."""
    torch.manual_seed(seed)
    classifier = lamina.Classifier(settings.network, preprocess=pretrained().preprocess)
    classifier.compile(settings.optimizer, settings.loss, schedule=settings.schedule)
    classifier.fit(
        train,
        batch_size=settings.batch_size,
        epochs=settings.epochs + 1,  # the features of the first phase took one look
        augment=list(settings.augment),
        validation_split=0.0,
        seed=seed,
        verbose=0,
    )
    return classifier


def features(classifier: lamina.Classifier, images: Tensor) -> Tensor:
    """The pooled features (N D) of pictures."""
    net, prepare = classifier.net.eval(), classifier.preprocess.normalize()
    with torch.inference_mode():
        parts = [net.features.last(prepare(part)).mean(dim=(2, 3)) for part in images.split(32)]
    return torch.cat(parts).double().clone()


def probe_accuracy(train: ImageDataset, held: ImageDataset) -> float:
    """Logistic regression with C = 0.01 on standardised features: the sum of the losses times C, and half the squared weights."""
    classifier = pretrained()
    x, other = features(classifier, train.images), features(classifier, held.images)
    mean, std = x.mean(0), x.std(0, correction=0).clamp_min(1e-12)
    x, other, y = (x - mean) / std, (other - mean) / std, train.labels.double()
    weight = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logistic = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight + bias, y, reduction="sum")
        value = 0.01 * logistic + 0.5 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    right = ((other @ weight + bias) > 0).long() == held.labels
    return float(right.double().mean())


def choose(train: ImageDataset, settings: recipes.FineTuning, *, folds: int, seed: int) -> None:
    """Cross-validation on the training pictures: the mean accuracy of the folds, beside the linear probe's."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    rights, probes, seconds = 0.0, 0.0, []
    for fold in range(folds):
        inside = torch.zeros(len(train), dtype=torch.bool)
        inside[order[fold::folds]] = True
        rest, held = train.subset(~inside), train.subset(inside)
        start = time.perf_counter()
        classifier = fine_tuned(rest, settings, seed=seed)
        seconds.append(time.perf_counter() - start)
        mine, probe = classifier.evaluate(held)["accuracy"], probe_accuracy(rest, held)
        rights, probes = rights + mine * len(held), probes + probe * len(held)
        print(f"fold {fold + 1}: {100 * mine:.2f} %, probe {100 * probe:.2f} %, {seconds[-1]:.0f} s", flush=True)
    print(f"{settings}\n{100 * rights / len(train):.2f} %, probe {100 * probes / len(train):.2f} %, {folds} folds")


def report(
    train: ImageDataset, held: ImageDataset, settings: recipes.FineTuning, seeds: range, asked: Sequence[str]
) -> None:
    """The table of linear probes, fine-tuning and training from scratch; each reading is logged."""
    start = time.perf_counter()
    probe = probe_accuracy(train, held)
    log("hymenoptera_probe", 0, probe, len(held), time.perf_counter() - start, "float32")
    ways = {"class layer": class_layer, "fine-tuned": fine_tuned, "from scratch": from_scratch}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in ways if name in asked}
    for seed in seeds:
        for name in results:
            start = time.perf_counter()
            classifier = ways[name](train, settings, seed=seed)
            seconds = time.perf_counter() - start
            accuracy = classifier.evaluate(held)["accuracy"]
            results[name].append((accuracy, seconds))
            recipe = f"hymenoptera_{name.replace('-', '_').replace(' ', '_')}"
            log(recipe, seed, accuracy, len(held), seconds, classifier.runtime.precision)
            print(f"seed {seed}, {name}: {100 * accuracy:.2f} % in {seconds:.0f} s", flush=True)
    print(f"\n{settings}\n\n| MobileNet v2 on ants and bees | validation accuracy | seconds |\n| --- | --- | --- |")
    print(f"| logistic regression on its features | {100 * probe:.2f} % | |")
    for name, rows in results.items():
        accuracies = [100 * accuracy for accuracy, _ in rows]
        spread = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
        mean_s = statistics.mean(seconds for _, seconds in rows)
        print(f"| {name}, n = {len(rows)} | {statistics.mean(accuracies):.2f} +- {spread:.2f} % | {mean_s:.0f} |")
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}")


def changed(settings: recipes.FineTuning, told: list[str]) -> recipes.FineTuning:
    for pair in told:
        name, _, value = pair.partition("=")
        if name == "average":  # the share of the second phase
            settings = replace(settings, average=training.WiSE(float(value)))
            continue
        if name == "learning_rate":
            settings = replace(settings, optimizer=replace(settings.optimizer, learning_rate=float(value)))
            continue
        kind = type(getattr(settings, name))
        settings = replace(settings, **{name: value == "True" if kind is bool else kind(value)})
    return settings


if __name__ == "__main__":
    main()
