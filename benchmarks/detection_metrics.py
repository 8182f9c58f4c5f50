"""COCO's numbers for the results of 5,000 pictures: ours beside faster-coco-eval and pycocotools, in one run, in turns.

    python benchmarks/detection_metrics.py --rounds 5

The pictures are made up: about 36,000 objects of 80 classes, as unevenly spread as in COCO's validation set, 2 % of them crowds, and 100
detections a picture, of which about half lie near an object. Timed is all from loaded results to the twelve numbers: for ours from a
list of annotations and a list of results ("objects"), and from columns; for the peers evaluate, accumulate and summarize, with
their indices built before (building them is told beside). The numbers are compared each time. pycocotools runs once, where it is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lamina.metrics.box_rows import FoundBoxes, TrueBoxes
from lamina.metrics.coco import NUMBERS, coco_scores
from lamina.structures import Annotation, Detections
from lamina.structures.boxes import convert

CLASSES = 80
Made = tuple[TrueBoxes, FoundBoxes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pycocotools", action="store_true", help="once, minutes")
    told = parser.parse_args()
    truths, found = made(told.pictures, seed=told.seed)
    print(f"{told.pictures:,} pictures, {len(truths):,} objects, {len(found):,} detections, {CLASSES} classes")
    objects = as_objects(truths, found, told.pictures)
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "ours, columns": lambda: coco_scores(truths, found).numbers,
        "ours, objects": lambda: coco_scores(*objects).numbers,
    }
    sets = as_coco(truths, found, told.pictures)
    from faster_coco_eval import COCO, COCOeval_faster

    start = time.perf_counter()
    faster = indexed(COCO, *sets)
    built = {"faster-coco-eval": time.perf_counter() - start}
    ways["faster-coco-eval"] = lambda: evaluated(COCOeval_faster, *faster)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, dict[str, float]] = {}
    for number in range(told.rounds + 1):  # the first one warms up
        for name, way in ways.items():
            start = time.perf_counter()
            answers[name] = way()
            if number:
                seconds[name].append(time.perf_counter() - start)
    if told.pycocotools:
        from pycocotools.coco import COCO as FIRST
        from pycocotools.cocoeval import COCOeval

        start = time.perf_counter()
        first = indexed(FIRST, *sets)
        built["pycocotools"] = time.perf_counter() - start
        start = time.perf_counter()
        answers["pycocotools"] = evaluated(COCOeval, *first)
        seconds["pycocotools"] = [time.perf_counter() - start]
    print(
        "\n| | seconds, median | least | greatest | index, s | largest difference |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    ours = answers["ours, columns"]
    for name, times in seconds.items():
        apart = max(abs(ours[each] - answers[name][each]) for each in NUMBERS)
        index = f"{built[name]:.2f}" if name in built else ""
        print(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} | {index} | {apart:.1e} |"
        )
    print(f"\nn = {told.rounds}, {torch.get_num_threads()} thread(s); AP {ours['AP']:.4f}, AR100 {ours['AR100']:.4f}")


def made(pictures: int, *, seed: int) -> Made:
    """Objects and detections as columns: near, doubled, misplaced, of a wrong class, and out of nothing."""
    draw = np.random.default_rng(seed)
    count = round(pictures * 7.27)
    share = 1 / np.arange(1, CLASSES + 1)
    images = np.sort(draw.integers(0, pictures, count))
    labels = draw.choice(CLASSES, count, p=share / share.sum())
    sizes = np.exp(draw.normal(4.0, 1.0, (count, 2))).clip(4, 400)
    corner = draw.uniform(0, 640 - sizes)
    boxes = np.round(np.concatenate([corner, corner + sizes], axis=1), 2)
    area = np.round(sizes.prod(axis=1) * draw.uniform(0.4, 1.0, count), 4)
    truths = TrueBoxes(images, labels, boxes, draw.random(count) < 0.02, area)
    places = np.repeat(np.arange(pictures), 100)
    first = np.searchsorted(images, places)
    many = np.searchsorted(images, places, side="right") - first
    near = (draw.random(len(places)) < 0.5) & (many > 0)
    chosen = np.where(near, first + draw.integers(0, np.maximum(many, 1)), 0)
    sizes = np.exp(draw.normal(4.0, 1.0, (len(places), 2))).clip(4, 400)
    corner = draw.uniform(0, 640 - sizes)
    own = np.concatenate([corner, corner + sizes], axis=1)
    extent = np.tile(boxes[chosen, 2:] - boxes[chosen, :2], 2)
    moved = boxes[chosen] + draw.normal(0, 1, own.shape) * extent * draw.uniform(0, 0.3, (len(places), 1))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    kinds = draw.choice(CLASSES, len(places), p=share / share.sum())
    kinds = np.where(near & (draw.random(len(places)) < 0.8), labels[chosen], kinds)
    scores = np.round(np.where(near, draw.beta(2, 2, len(places)), draw.beta(1, 6, len(places))), 3)  # with ties
    return truths, FoundBoxes(places, kinds, np.where(near[:, None], moved, own).round(2), scores)


def as_objects(truths: TrueBoxes, found: FoundBoxes, pictures: int) -> tuple[list[Annotation], list[Detections]]:
    """One annotation and one result for each picture."""
    names = tuple(f"class {number}" for number in range(CLASSES))
    ends = np.searchsorted(truths.images, np.arange(pictures + 1))
    columns = {
        "labels": torch.from_numpy(truths.labels),
        "boxes_xyxy": torch.from_numpy(truths.boxes_xyxy),
        "crowd": torch.from_numpy(truths.crowd),
        "area_px": torch.from_numpy(truths.area_px),
    }
    annotations = [
        Annotation(**{name: column[ends[at] : ends[at + 1]] for name, column in columns.items()})
        for at in range(pictures)
    ]
    cuts = [slice(100 * at, 100 * at + 100) for at in range(pictures)]
    results = [Detections(names, found.boxes_xyxy[cut], found.labels[cut], found.scores[cut]) for cut in cuts]
    return annotations, results


def as_coco(truths: TrueBoxes, found: FoundBoxes, pictures: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO file and a file of results, as Python reads them."""
    columns = zip(
        truths.images.tolist(),
        truths.labels.tolist(),
        convert(truths.boxes_xyxy, "xyxy", "xywh").tolist(),
        truths.crowd.tolist(),
        truths.area_px.tolist(),
        strict=True,
    )
    annotations = [
        {"id": at + 1, "image_id": image, "category_id": label, "bbox": box, "iscrowd": int(crowd), "area": area}
        for at, (image, label, box, crowd, area) in enumerate(columns)
    ]
    results = [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, label, box, score in zip(
            found.images.tolist(),
            found.labels.tolist(),
            convert(found.boxes_xyxy, "xyxy", "xywh").tolist(),
            found.scores.tolist(),
            strict=True,
        )
    ]
    told = {
        "info": {},
        "images": [{"id": image, "height": 640, "width": 640} for image in range(pictures)],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(CLASSES)],
        "annotations": annotations,
    }
    return told, results


def indexed(kind: Any, told: dict[str, Any], results: list[dict[str, Any]]) -> tuple[Any, Any]:
    """What a peer evaluates."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = kind()
        truth.dataset = told
        truth.createIndex()
        return truth, truth.loadRes([dict(each) for each in results])


def evaluated(kind: Any, truth: Any, results: Any) -> dict[str, float]:
    """The twelve numbers of a peer."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = kind(truth, results, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(NUMBERS, map(float, evaluator.stats[:12]), strict=True))


if __name__ == "__main__":
    main()
