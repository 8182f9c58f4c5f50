"""CamVid: trains one network by its recipe with one seed, and prints the table of its classes beside the SegNet paper's.

    LAMINA_DATA=... python benchmarks/camvid.py unet --seed 0             resumable: the same command goes on where it stopped
    LAMINA_DATA=... python benchmarks/camvid.py unet --film road.mp4      also lays the classes over the pictures, as a video
    LAMINA_DATA=... python benchmarks/camvid.py segnet --held-out         measures on the validation pictures, and writes nothing

Each reading of the 233 test pictures is written to test_evaluations.csv; its accuracy there is that of pixels. `--epochs` is for
trying.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from at_hand import parser_of, trained
from readings import log

from lamina import recipes
from lamina.data.video import Film
from lamina.metrics import SegmentationScores
from lamina.models import videos

RECIPES = {"unet": recipes.camvid_unet, "segnet": recipes.camvid_segnet, "fcn8s": recipes.camvid_fcn8s}
FRAMES_A_SECOND = 4  # of the film; CamVid's own pictures are one a second

# SegNet, trained on 3,500 pictures (Badrinarayanan 2017, table 2): the share of each class's pixels that were found.
PAPER = {
    "building": 89.6,
    "tree": 83.4,
    "sky": 96.1,
    "car": 87.7,
    "sign_symbol": 52.7,
    "road": 96.4,
    "pedestrian": 62.2,
    "fence": 53.45,
    "pole": 32.1,
    "pavement": 93.3,
    "bicyclist": 36.5,
}
PAPER_MEANS = {"mean accuracy": 71.20, "pixel accuracy": 90.40, "mean IoU": 60.10}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("network", choices=RECIPES)
    parser.add_argument(
        "--film", type=Path, help="write the pictures with their classes laid over them, in their order, as a video"
    )
    asked = parser.parse_args()
    recipe = RECIPES[asked.network]()
    segmenter, measured, seconds = trained(recipe, "camvid/camvid_320x240.zip", asked)
    begun = time.perf_counter()
    found = segmenter.predict(measured)
    rate = len(measured) / (time.perf_counter() - begun)
    if asked.film is not None:
        with Film(asked.film, rate=FRAMES_A_SECOND) as film:
            for result in found:
                film.add(videos.drawn(result))
    scores = segmenter.scores(measured)
    print(table(scores))
    print(
        f"{recipe.name}, seed {asked.seed}: mean IoU {scores.mean_iou:.4f} on {len(measured)} pictures; "
        f"{seconds:.0f} s of training in this call, {rate:.1f} pictures a second with {torch.get_num_threads()} threads"
    )
    if not asked.held_out and asked.epochs is None:
        pixels = int(scores.confusion.sum())
        log(recipe.name, asked.seed, scores.pixel_accuracy, pixels, seconds, segmenter.runtime.precision)


def table(scores: SegmentationScores) -> str:
    """IoU and accuracy of each class in percent, and the paper's accuracy."""
    lines = [f"{'':<16}{'IoU':>8}{'accuracy':>10}{'SegNet paper':>14}"]
    for name, iou, accuracy in zip(scores.classes, 100 * scores.iou, 100 * scores.accuracy, strict=True):
        lines.append(f"{name:<16}{iou:>8.1f}{accuracy:>10.1f}{PAPER[name]:>14.1f}")
    means = {
        "mean IoU": scores.mean_iou,
        "mean accuracy": scores.mean_accuracy,
        "pixel accuracy": scores.pixel_accuracy,
    }
    for name, value in means.items():
        lines.append(f"{name:<16}{100 * value:>18.1f}{PAPER_MEANS[name]:>14.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
