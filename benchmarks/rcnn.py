"""R-CNN and Fast R-CNN on BCCD's blood cells: accuracy on the test split, the proposals' recall, and the time of each stage for a picture.

    LAMINA_DATA=... python benchmarks/rcnn.py --cache runs/rcnn
    LAMINA_DATA=... python benchmarks/rcnn.py --cache runs/rcnn --pictures 5          # a trial

Proposals and features of every picture are kept in the folder as soon as they are worked out, and their times in a file beside, so
that a run that was stopped goes on where it was and tells the same. Prints rows for RESULTS.md, and writes the two readings of the test
pictures to test_evaluations.csv, where their accuracy is AP50. The paper (Girshick 2014, section 2.2):
13 s a picture for proposals and features on a GPU, 53 s on a CPU. `--fast-epochs 0` leaves Fast R-CNN out, which is not resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from readings import log

from lamina import data
from lamina.core.files import replacing
from lamina.tasks.detection.rcnn import RCNN, FastRCNNDetector, SelectiveSearch

WEIGHTS = "weights/mobilenet_v2_features_bn.npz"


class Times:
    """Seconds of each stage over all runs that filled the cache: a stage tells only of what it had to work out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}

    def joined(self, rcnn: RCNN) -> dict[str, list[float]]:
        """Of the runs before and of this one."""
        told = {stage: list(each) for stage, each in self.before.items()}
        for stage, (seconds, count) in rcnn.seconds.items():
            fresh = stage in ("propose", "look")
            old = told.get(stage, [0.0, 0]) if fresh else [0.0, 0]
            told[stage] = [old[0] + seconds, old[1] + count]
        return told

    def keep(self, rcnn: RCNN) -> None:
        """Writes them down."""
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self.joined(rcnn)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=0, help="of each split; 0: all")
    parser.add_argument(
        "--search-px", type=int, default=320, help="the longer side of the picture that is searched; the paper: 500"
    )
    parser.add_argument("--warp-px", type=int, default=96, help="the side of a warped region; the paper: 227")
    parser.add_argument("--fine-tune", type=int, default=0, help="epochs")
    parser.add_argument("--fast-epochs", type=int, default=10)
    parser.add_argument("--fast-px", type=int, default=320)
    parser.add_argument("--threads", type=int, default=2)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    root = Path(os.environ["LAMINA_DATA"])
    splits = data.open(root / "bccd" / "bccd_voc.zip")
    train, test = splits.train, splits.test
    if told.pictures:
        train, test = train.limit(told.pictures), test.limit(told.pictures)
    weights = root / WEIGHTS
    rcnn = RCNN(
        "mobilenet_v2",
        pretrained=weights,
        proposals=SelectiveSearch(side_px=told.search_px),
        side_px=told.warp_px,
        cache=told.cache,
    )
    told.cache.mkdir(parents=True, exist_ok=True)
    times = Times(told.cache / f"times_{told.search_px}_{told.warp_px}.json")
    print(
        f"{len(train)} pictures to learn from, {len(test)} to test on; searched at {told.search_px} px, warped to {told.warp_px} px"
    )
    for name, part in (("train", train), ("test", test)):
        for index in range(len(part)):
            rcnn.propose(part.picture(index))
            times.keep(rcnn)
        print(f"{name}: {rcnn.recall(part)}", flush=True)
    if told.fine_tune:
        rcnn.fine_tune(train, epochs=told.fine_tune)
    for index in range(len(train)):
        rcnn.see(train, index)
        times.keep(rcnn)
        if index % 20 == 0:
            print(f"features of {index + 1} of {len(train)} pictures: {rcnn.timing()}", flush=True)
    rcnn.fit(train)
    scores = rcnn.evaluate(test)
    times.keep(rcnn)
    table(rcnn, scores, times.joined(rcnn), tuned=told.fine_tune)
    if not told.pictures:
        trained_s = sum(seconds for stage, (seconds, _) in rcnn.seconds.items() if stage.startswith("f"))
        log("bccd_rcnn", 0, scores["AP50"], len(test), trained_s, "float32")
    if told.fast_epochs:
        fast(rcnn, train, test, weights=weights, told=told)


def table(rcnn: RCNN, scores: dict[str, float], times: dict[str, list[float]], *, tuned: int) -> None:
    """The rows of R-CNN."""
    each = {stage: 1000 * seconds / max(count, 1) for stage, (seconds, count) in times.items()}
    print(
        "\n| method | AP | AP50 | recall at 0.5 | at 0.7 | proposals | propose, ms | features, ms | judge, ms | all, ms a picture |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    name = f"R-CNN, mobilenet_v2{f', fine-tuned for {tuned} epochs' if tuned else ''}"
    stages = [each.get(stage, float("nan")) for stage in ("propose", "look", "judge")]
    row = [f"{scores[key]:.3f}" for key in ("AP", "AP50", "recall@0.5", "recall@0.7")]
    row += [f"{scores['proposals']:.0f}", *(f"{stage:,.0f}" for stage in stages), f"{sum(stages):,.0f}"]
    print(f"| {name} | {' | '.join(row)} |")
    trained = {stage: seconds for stage, (seconds, _) in rcnn.seconds.items() if stage.startswith("f")}
    print(
        f"\nTraining beside features: {', '.join(f'{stage} {seconds:.1f} s' for stage, seconds in trained.items())}.",
        flush=True,
    )


def fast(rcnn: RCNN, train: Any, test: Any, *, weights: Path, told: argparse.Namespace) -> None:
    """The row of Fast R-CNN on the same proposals."""
    epochs, side_px = told.fast_epochs, told.fast_px
    detector = FastRCNNDetector(rcnn, "mobilenet_v2", pretrained=weights, side_px=side_px)
    start = time.perf_counter()
    detector.fit(train, epochs=epochs)
    taken = time.perf_counter() - start
    scores = detector.evaluate(test)
    seconds, count = detector.seconds["judge"]
    print(
        "\n| method | AP | AP50 | training, s | judge, ms a picture, beside proposing |\n| --- | ---: | ---: | ---: | ---: |"
    )
    name = f"Fast R-CNN, mobilenet_v2, {side_px} px, {epochs} epochs"
    print(f"| {name} | {scores['AP']:.3f} | {scores['AP50']:.3f} | {taken:,.0f} | {1000 * seconds / count:,.0f} |")
    if not told.pictures:
        log("bccd_fast_rcnn", 0, scores["AP50"], len(test), taken, detector.runtime.precision)


if __name__ == "__main__":
    main()
