"""Ten pictures of each class, ants and bees: transfer and augmentation together, each alone, and neither.

    LAMINA_DATA=... python benchmarks/few_examples.py --seeds 3

The seed draws which ten, and all else. With transfer: MobileNet v2 fine-tuned as `recipes.few_photos` says, whose settings were
chosen on all 244 training pictures. Without: the same network with fresh values, on pictures of 96 px, for `--epochs`. The 153
validation pictures are what is reported on; each reading is written to test_evaluations.csv.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import hymenoptera
import torch
from readings import log

import lamina
from lamina import recipes
from lamina.data import ImageDataset
from lamina.data.augment import RandomFlip, RandomResizedCrop

SIDE = 96  # px, of what is trained from scratch
SMALL = (RandomFlip(), RandomResizedCrop(SIDE, scale=(0.5, 1.0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many draws")
    parser.add_argument("--k", type=int, default=10, help="pictures of each class")
    parser.add_argument("--epochs", type=int, default=40, help="from scratch")
    told = parser.parse_args()
    train, held = hymenoptera.pictures()
    results: dict[tuple[bool, bool], list[float]] = {}
    for seed in range(told.seeds):
        few = train.few_shot(told.k, seed=seed)
        for transfer in (False, True):
            for augmented in (False, True):
                start = time.perf_counter()
                if transfer:
                    classifier, seen = fine_tuned(few, augmented=augmented, seed=seed), held
                else:
                    classifier = from_scratch(small(few), augmented=augmented, epochs=told.epochs, seed=seed)
                    seen = small(held)
                seconds = time.perf_counter() - start
                accuracy = classifier.evaluate(seen)["accuracy"]
                results.setdefault((transfer, augmented), []).append(accuracy)
                name = f"few_examples_{told.k}{'_transfer' * transfer}{'_augmented' * augmented}"
                log(name, seed, accuracy, len(held), seconds, classifier.runtime.precision)
                print(f"seed {seed}, {name}: {100 * accuracy:.2f} % in {seconds:.0f} s", flush=True)
    print(f"\n| {told.k} pictures a class, n = {told.seeds} draws | without augmentation | with |\n| --- | --- | --- |")
    for transfer in (False, True):
        cells = [figure(results[transfer, augmented]) for augmented in (False, True)]
        print(f"| {'fine-tuned' if transfer else 'from scratch'} | {' | '.join(cells)} |")


def fine_tuned(few: ImageDataset, *, augmented: bool, seed: int) -> lamina.Classifier:
    settings = recipes.few_photos()
    return hymenoptera.fine_tuned(few, settings if augmented else replace(settings, augment=()), seed=seed)


def from_scratch(few: ImageDataset, *, augmented: bool, epochs: int, seed: int) -> lamina.Classifier:
    settings = recipes.few_photos()
    torch.manual_seed(seed)
    preprocess = replace(hymenoptera.pretrained().preprocess, size=(SIDE, SIDE))
    classifier = lamina.Classifier(settings.network, preprocess=preprocess)
    classifier.compile(settings.optimizer, settings.loss, schedule=settings.schedule)
    augment = list(SMALL) if augmented else None
    classifier.fit(
        few, batch_size=settings.batch_size, epochs=epochs, augment=augment, validation_split=0.0, seed=seed, verbose=0
    )
    return classifier


def small(pictures: ImageDataset) -> ImageDataset:
    images = torch.nn.functional.interpolate(pictures.images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return ImageDataset(images.round().to(torch.uint8), pictures.labels, pictures.classes)


def figure(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} +- {100 * spread:.1f} %"


if __name__ == "__main__":
    main()
