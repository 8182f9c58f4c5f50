"""Five digits are rare, 1:50: what each `balance` and loss makes of it, by the balanced accuracy on the test set.

    python benchmarks/balance.py --seeds 3

Of the digits 0 to 4 the training set has `--many` pictures each, of 5 to 9 a fiftieth; the draw is the seed's. All train on as
many pictures (`--seen`), whatever an epoch of theirs holds, with the same settings, of which none was chosen by these figures.
Every reading of the test set is written to test_evaluations.csv, with the plain accuracy.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from readings import log
from torch import nn

import lamina
from lamina import data, losses
from lamina.data import ImageDataset, Preprocess, balance
from lamina.optimizers import AdamW

RARE = 50
FOCAL = losses.FocalCrossentropy(gamma=2.0)
ROWS: dict[str, tuple[str | None, object]] = {
    "none": (None, None),
    "weights": ("weights", None),
    "effective": ("effective", None),
    "sample": ("sample", None),
    "under": ("under", None),
    "over": ("over", None),
    "focal loss": (None, FOCAL),
    "focal loss, effective": ("effective", FOCAL),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--many", type=int, default=2000, help="pictures of each frequent digit")
    parser.add_argument("--seen", type=int, default=50_000, help="pictures that each training sees")
    parser.add_argument("--network", help="one by name, such as fastconvnet [a hidden layer of 256]")
    told = parser.parse_args()
    splits = data.load("mnist")
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ROWS}
    for seed in range(told.seeds):
        train = imbalanced(splits.train, told.many, seed=seed)
        for name, (kind, loss) in ROWS.items():
            start = time.perf_counter()
            classifier = trained(train, kind, loss, network=told.network, seen=told.seen, seed=seed)
            seconds = time.perf_counter() - start
            probs = torch.from_numpy(classifier.predict_probs(splits.test))
            right = probs.argmax(1) == splits.test.labels
            recalls = [float(right[splits.test.labels == digit].double().mean()) for digit in range(10)]
            rare = statistics.mean(recalls[5:])
            results[name].append((statistics.mean(recalls), rare, min(recalls)))
            log(
                f"balance_{told.network or 'dense'}_{name.replace(', ', '_').replace(' ', '_')}",
                seed,
                float(right.double().mean()),
                len(right),
                seconds,
                classifier.runtime.precision,
            )
            print(f"seed {seed}, {name}: {100 * statistics.mean(recalls):.2f} % in {seconds:.0f} s", flush=True)
    counts = (
        f"{told.network or 'dense'}, {told.many} and {told.many // RARE} a class, {told.seen:,} seen, n = {told.seeds}"
    )
    print(f"\n| MNIST 1:{RARE}, {counts} | balanced accuracy | of the rare five | of the worst class |")
    print("| --- | --- | --- | --- |")
    for name, rows in results.items():
        print(f"| {name} | " + " | ".join(map(figure, zip(*rows, strict=True))) + " |")


def imbalanced(train: ImageDataset, many: int, *, seed: int) -> ImageDataset:
    """`many` pictures of each digit below 5, a fiftieth of it of each other."""
    drawn = train.few_shot(many, seed=seed)
    rare = train.few_shot(many // RARE, seed=seed)  # which are among the drawn
    return ImageDataset(
        torch.cat([drawn.images[drawn.labels < 5], rare.images[rare.labels >= 5]]),
        torch.cat([drawn.labels[drawn.labels < 5], rare.labels[rare.labels >= 5]]),
        train.classes,
    )


def trained(
    train: ImageDataset, kind: str | None, loss: object, *, network: str | None, seen: int, seed: int
) -> lamina.Classifier:
    length = len(train)
    if kind in ("under", "over"):
        length = balance.quota(train.labels, kind).samples
    torch.manual_seed(seed)
    preprocess = Preprocess(channels=1, size=(28, 28), mean=(0.1307,), std=(0.3081,))
    dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    classifier = lamina.Classifier(network or dense, preprocess=preprocess)
    classifier.compile(AdamW(learning_rate=2e-3, weight_decay=0.01), loss, schedule="one_cycle")
    epochs = max(round(seen / length), 1)
    classifier.fit(train, batch_size=128, epochs=epochs, balance=kind, validation_split=0.0, seed=seed, verbose=0)
    return classifier


def figure(values: tuple[float, ...]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.2f} +- {100 * spread:.2f} %"


if __name__ == "__main__":
    main()
