"""Wrong labels on MNIST: a tenth of the training labels is flipped, and found again; what training on them costs, and what saves it.

    python benchmarks/label_errors.py --seeds 3
    python benchmarks/label_errors.py --held-out --seeds 1          on held-out training digits, as settings were chosen

"uniform" flips to any other class, "pairs" to the class that is mistaken most easily (3 and 8, 4 and 9, 1 and 7, 5 and 6, 0 and
2). Prints precision and recall of what `find_label_errors` finds, and the accuracy of a small network trained on the wrong
labels, without the suspects, with the suspects' labels corrected, with robust losses, and on the right labels. Every
reading of the test set is written to test_evaluations.csv.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from readings import log
from torch import Tensor, nn

import lamina
from lamina import data, losses
from lamina.callbacks import RampSmallLoss
from lamina.data import ImageDataset
from lamina.explain import label_errors
from lamina.optimizers import AdamW
from lamina.optimizers.schedules import OneCycle

FIRST = "uniform"
PARTNERS = torch.tensor([2, 7, 0, 8, 9, 6, 5, 1, 3, 4])
RATE, FOLDS, EPOCHS, BATCH, PEAK = 0.1, 4, 3, 128, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=20_000, help="training digits, of 60,000")
    parser.add_argument("--noise", nargs="+", choices=("uniform", "pairs"), default=("uniform", "pairs"))
    parser.add_argument("--held-out", action="store_true", help="measure on 10,000 held-out training digits")
    parser.add_argument(
        "--finds-only", action="store_true", help="train nothing on the cleaned data, and read no test digit"
    )
    told = parser.parse_args()
    splits = data.load("mnist")
    train, test = splits.train.split(1 / 6, seed=0) if told.held_out else (splits.train, splits.test)
    train = train.limit(told.pictures)
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    began = time.perf_counter()
    for seed in range(told.first_seed, told.first_seed + told.seeds):
        for noise in told.noise:
            measure_on = None if told.finds_only else test
            for name, value in measured(train, measure_on, noise=noise, seed=seed, logs=not told.held_out).items():
                figures[noise, name].append(value)
    measured_on = "no others" if told.finds_only else "held-out training digits" if told.held_out else "test digits"
    print(table(figures, told.noise))
    print(
        f"\n{len(train):,} digits, {RATE:.0%} flipped, n = {told.seeds}; {sum(p.numel() for p in network().parameters()):,} "
        f"parameters, {EPOCHS} epochs, {FOLDS} folds; on {measured_on}; "
        f"{torch.get_num_threads()} thread(s), {(time.perf_counter() - began) / 60:.1f} min in all"
    )


def measured(train: ImageDataset, test: ImageDataset | None, *, noise: str, seed: int, logs: bool) -> dict[str, float]:
    """Precision and recall of the finds, and the test accuracy of each way to train, in per cent."""
    wrong, labels = flipped(train.labels, noise, seed=seed)
    noisy = ImageDataset(train.images, labels, train.classes, name=f"noisy {noise}")
    start = time.perf_counter()
    found = lamina.find_label_errors(
        noisy, model=untrained(seed), folds=FOLDS, epochs=EPOCHS, batch_size=BATCH, seed=seed, verbose=0
    )
    likely = torch.tensor([one.likely for one in found.suspects])
    truth = train.labels[torch.from_numpy(found.indices)]
    figures = {
        **quality(found, wrong),
        "estimated noise rate": 100 * found.noise_rate,
        "suspects whose likely class is the true one": 100 * float((likely == truth).float().mean()),
        "seconds": time.perf_counter() - start,
    }
    for prune in ("class", "both"):  # the paper's other ways, from the same probabilities
        figures |= quality(label_errors.from_probs(found.probs, data=noisy, prune=prune), wrong, f", prune {prune}")
    print(f"seed {seed}, {noise}: {', '.join(f'{name} {value:.2f}' for name, value in figures.items())}", flush=True)
    if test is None:
        return figures
    ways: dict[str, tuple[ImageDataset, Any]] = {
        "wrong labels": (noisy, None),
        "without the suspects": (found.clean(), None),
        "suspects corrected": (found.clean(correct=True), None),
        "generalised cross-entropy": (noisy, losses.GeneralizedCrossentropy()),
        "symmetric cross-entropy": (noisy, losses.SymmetricCrossentropy()),
        "small losses": (noisy, losses.SmallLoss(rate=found.noise_rate)),
    }
    if noise == FIRST:  # the right labels know nothing of the noise
        ways["right labels"] = (train, None)
    for name, (part, loss) in ways.items():
        start = time.perf_counter()
        classifier = trained(part, loss, seed=seed)
        accuracy = classifier.evaluate(test)["accuracy"]
        figures[name] = 100 * accuracy
        print(f"  {name}: {100 * accuracy:.2f} %", flush=True)
        if logs:
            recipe = f"label_errors_{noise}_{name.replace(' ', '_').replace('-', '_')}"
            log(recipe, seed, accuracy, len(test), time.perf_counter() - start, classifier.runtime.precision)
    return figures


def quality(found: label_errors.LabelErrors, wrong: Tensor, way: str = "") -> dict[str, float]:
    """Precision and recall of the suspects, in per cent."""
    right = float(wrong[torch.from_numpy(found.indices)].sum())
    return {
        f"precision{way}": 100 * right / max(len(found.suspects), 1),
        f"recall{way}": 100 * right / float(wrong.sum()),
    }


def flipped(labels: Tensor, noise: str, *, seed: int) -> tuple[Tensor, Tensor]:
    """Which labels are wrong (a mask N), and all labels."""
    generator = torch.Generator().manual_seed(1000 + seed)
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[torch.randperm(len(labels), generator=generator)[: round(RATE * len(labels))]] = True
    others = (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10
    return wrong, torch.where(wrong, others if noise == "uniform" else PARTNERS[labels], labels)


def network() -> nn.Sequential:
    """Three strided convolutions: one core learns 20,000 digits in seconds."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4 * 4, 10))


def untrained(seed: int, loss: Any = None) -> lamina.Classifier:
    torch.manual_seed(seed)
    classifier = lamina.Classifier(network())
    classifier.compile(AdamW(learning_rate=PEAK, weight_decay=0.01), loss, schedule=OneCycle(warmup=0.2))
    return classifier


def trained(part: ImageDataset, loss: Any, *, seed: int) -> lamina.Classifier:
    classifier = untrained(seed, loss)
    ramp = [RampSmallLoss(2)] if isinstance(loss, losses.SmallLoss) else []
    fit = {"batch_size": BATCH, "epochs": EPOCHS, "seed": seed, "verbose": 0, "callbacks": ramp}
    classifier.fit(part, validation_split=0.0, **fit)
    return classifier


def table(figures: dict[tuple[str, str], list[float]], kinds: list[str]) -> str:
    names = list(dict.fromkeys(name for _, name in figures))
    lines = [f"\n| | {' | '.join(kinds)} |", f"| --- |{' --- |' * len(kinds)}"]
    for name in names:
        rows = [figures.get((kind, name)) or figures.get((FIRST, name)) or [] for kind in kinds]
        cells = [
            f"{statistics.mean(row):.2f} +- {statistics.stdev(row) if len(row) > 1 else 0:.2f}" for row in rows if row
        ]
        lines.append(f"| {name}{'' if name == 'seconds' else ', %'} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
