"""The same boxes of blood cells as VOC, COCO, YOLO and CSV write them: the same boxes are read, and the same is learnt from them.

VOC, COCO and CSV hold pixels, and give the same numbers to the bit. YOLO's six decimals of a share lie up to half a millionth of the
picture's side beside them; where a share is exact (here: of 128 px), YOLO's numbers are the same too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lamina import data
from lamina.structures.annotation import Annotation
from lamina.structures.boxes import convert

COUNT, SIDE = 8, 128
NAMES = ("Platelets", "RBC", "WBC")
Known = list[tuple[str, tuple[int, int], np.ndarray[Any, Any], list[int]]]  # name, (height, width), boxes, labels


def as_voc(folder: Path, known: Known) -> Path:
    for name, (height, width), boxes, labels in known:
        objects = "".join(
            f"<object><name>{NAMES[label]}</name><bndbox><xmin>{x1:g}</xmin><ymin>{y1:g}</ymin>"
            f"<xmax>{x2:g}</xmax><ymax>{y2:g}</ymax></bndbox></object>"
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True)
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        (folder / f"{name}.xml").write_text(f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>")
    return folder


def as_coco(folder: Path, known: Known) -> Path:
    told: dict[str, Any] = {
        "images": [
            {"id": number, "file_name": f"{name}.png", "height": height, "width": width}
            for number, (name, (height, width), _, _) in enumerate(known)
        ],
        "categories": [{"id": 1 + number, "name": name} for number, name in enumerate(NAMES)],
        "annotations": [],
    }
    for number, (_, _, boxes, labels) in enumerate(known):
        for box, label in zip(convert(boxes, "xyxy", "xywh"), labels, strict=True):
            told["annotations"].append(
                {
                    "id": 1 + len(told["annotations"]),
                    "image_id": number,
                    "category_id": 1 + label,
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                }
            )
    (folder / "_annotations.coco.json").write_text(json.dumps(told))
    return folder


def as_yolo(folder: Path, known: Known, *, digits: int = 6) -> Path:
    for name, size, boxes, labels in known:
        lines = [
            f"{label} {' '.join(f'{side:.{digits}f}' for side in box)}\n"
            for box, label in zip(convert(boxes, "xyxy", "yolo", size=size), labels, strict=True)
        ]
        (folder / f"{name}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text(f"train: .\nval: .\nnames: {list(NAMES)}\n")
    return folder


def as_csv(folder: Path, known: Known) -> Path:
    rows = [
        f"{name}.png,{NAMES[label]},{','.join(f'{side:g}' for side in box)}\n"
        for name, _, boxes, labels in known
        for box, label in zip(boxes, labels, strict=True)
    ]
    (folder / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n" + "".join(rows))
    return folder


FORMS: dict[str, Callable[[Path, Known], Path]] = {"voc": as_voc, "coco": as_coco, "yolo": as_yolo, "table": as_csv}


def opened(folder: Path, form: str, pictures: list[Image.Image], known: Known, **told: Any) -> Any:
    """The training part of a folder in that form, which must be taken for what it is."""
    folder = folder / form
    folder.mkdir()
    for picture, (name, *_) in zip(pictures, known, strict=True):
        picture.save(folder / f"{name}.png", compress_level=0)
    splits = data.open(FORMS[form](folder, known, **told))
    assert splits.format == form
    assert splits.classes == NAMES
    return splits.train


def cells(real_data: Path, *, whole: bool) -> tuple[list[Image.Image], Known]:
    """Some blood cells' pictures and boxes, as they are, or shrunk to a square, with boxes of even pixels."""
    train = data.open(real_data / "bccd/bccd_voc.zip").train
    pictures: list[Image.Image] = []
    known: Known = []
    for index in range(COUNT):
        picture, annotation = train[index]
        shown = Image.fromarray(np.asarray(picture.permute(1, 2, 0)))
        corners, (width, height) = boxes_of(annotation).double().numpy(), shown.size
        if not whole:
            shown = shown.resize((SIDE, SIDE))
            corners = 2 * np.round(corners * SIDE / np.array([width, height] * 2) / 2)
            corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 2)
            width = height = SIDE
        pictures.append(shown)
        labels = [] if annotation.labels is None else annotation.labels.tolist()
        known.append((f"cells{index}", (height, width), corners, labels))
    return pictures, known


def boxes_of(annotation: Annotation) -> Tensor:
    return torch.zeros(0, 4) if annotation.boxes_xyxy is None else annotation.boxes_xyxy


def learnt(small: Any, train: Any) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of two steps, and the weights behind them."""
    detector = small.narrow("retinanet")
    history = detector.fit(train, epochs=2, batch_size=COUNT, verbose=0, validation_split=0.0, seed=3).history
    return history["loss"], {name: value.clone() for name, value in detector.net.state_dict().items()}


def test_all_four_forms_give_the_same_weights_to_the_bit_where_shares_are_exact(
    real_data: Path, tmp_path: Path, small: Any
) -> None:
    pictures, known = cells(real_data, whole=False)
    losses, weights = [], []
    for form in FORMS:
        train = opened(tmp_path, form, pictures, known, **({"digits": 10} if form == "yolo" else {}))
        for index, (_, _, boxes, labels) in enumerate(known):
            annotation = train[index][1]
            assert boxes_of(annotation).tolist() == boxes.tolist()
            assert annotation.labels.tolist() == labels
        loss, state = learnt(small, train)
        losses.append(loss)
        weights.append(state)
    assert losses == [losses[0]] * len(FORMS)
    for other in weights[1:]:
        for name, value in weights[0].items():
            assert torch.equal(other[name], value), name


def test_yolos_six_decimals_lie_far_less_than_half_a_pixel_beside_and_teach_the_same(
    real_data: Path, tmp_path: Path, small: Any
) -> None:
    pictures, known = cells(real_data, whole=True)
    sets = {form: opened(tmp_path, form, pictures, known) for form in ("voc", "yolo")}
    for index in range(COUNT):
        voc, yolo = (boxes_of(each[index][1]) for each in sets.values())
        assert len(voc) == len(yolo) > 0
        assert (voc - yolo).abs().max() < 1e-3
    (loss, _), (other_loss, _) = (learnt(small, each) for each in sets.values())
    # Not nearer: of anchors that overlap an object equally, a rounding takes one where all were taken.
    assert other_loss == pytest.approx(loss, rel=5e-3)
