"""The result of segmentation: areas, masks, outlines, files and drawings of one picture."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.data.maps import stored
from lamina.structures import SegmentationMap, drawing
from lamina.structures.masks import decode_runs, draw_polygons

CLASSES = ("sky", "road", "<b>car</b>", "bicyclist")
RNG = np.random.default_rng(0)
SMALL = np.array([[0, 0, 0, 0], [1, 1, 2, 1], [1, 1, 255, 1]], np.uint8)
IMAGE = np.full((3, 3, 4), 200, np.uint8)


def result(**more) -> SegmentationMap:
    return SegmentationMap(SMALL, CLASSES, **more)


def blobs(size: tuple[int, int]) -> np.ndarray:
    rough = torch.from_numpy(RNG.normal(size=(1, 4, 7, 9)))
    classes = F.interpolate(rough, size, mode="bilinear").argmax(1)[0].numpy().astype(np.uint8)
    classes[RNG.random(size) < 0.05] = 3  # specks: single pixels and holes
    classes[:3, :9] = 255
    return classes


def test_areas_are_pixels_and_shares_the_largest_first() -> None:
    assert list(result().areas) == ["road", "sky", "<b>car</b>"]
    assert result().areas["road"] == (6, 0.5)
    assert result().unlabelled_px == 1
    assert sum(area.pixels for area in result().areas.values()) + 1 == SMALL.size


def test_masks_by_name() -> None:
    assert (result().mask("road") == (SMALL == 1)).all()
    assert not result().mask("bicyclist").any()
    with pytest.raises(UnknownNameError, match="no class called 'rode'"):
        result().mask("rode")


def test_tensors_and_any_integers_are_taken() -> None:
    made = SegmentationMap(torch.from_numpy(SMALL).long(), list(CLASSES))
    assert made.class_map.dtype == np.uint8
    assert (made.class_map == SMALL).all()
    assert made.classes == CLASSES
    assert made.size == (3, 4)


@pytest.mark.parametrize("size", [(40, 57), (23, 11), (1, 6), (1, 1)])
def test_outlines_hold_just_the_pixels_of_a_class(size: tuple[int, int]) -> None:
    made = SegmentationMap(blobs(size), CLASSES)
    for name in CLASSES:
        inside = np.zeros(size, bool)
        for outline in made.contours(name):
            inside ^= draw_polygons([outline.ravel().tolist()], size)
        assert (inside == made.mask(name)).all()


def test_an_outline_has_no_spare_corner_and_a_hole_runs_the_other_way() -> None:
    classes = np.zeros((12, 14), np.uint8)
    classes[2:10, 3:11] = 1
    classes[5:7, 6:8] = 0
    outlines = SegmentationMap(classes, CLASSES).contours("road")
    assert [len(outline) for outline in outlines] == [8, 8]  # corners are cut, by half a pixel
    ways = [float((o[:, 0] * np.roll(o[:, 1], -1) - np.roll(o[:, 0], -1) * o[:, 1]).sum()) for o in outlines]
    assert sorted(way > 0 for way in ways) == [False, True]
    outer = outlines[int(np.argmax(ways))]
    assert (outer.min(0).tolist(), outer.max(0).tolist()) == ([3, 2], [11, 10])
    assert SegmentationMap(classes, CLASSES).contours("sky")
    assert SegmentationMap(classes, CLASSES).contours("bicyclist") == []


def test_the_file_reads_back_equal_with_its_colours(tmp_path) -> None:
    made = SegmentationMap(blobs((40, 57)), CLASSES)
    path = made.save(tmp_path / "new" / "map.png")
    with Image.open(path) as opened:
        assert opened.mode == "P"
        assert (np.asarray(opened) == made.class_map).all()
        colours = np.asarray(opened.convert("RGB"))
    values, are_colours = stored(str(path))
    assert (values == made.class_map).all()
    assert not are_colours
    assert (colours[made.mask("road")] == drawing.colour(1)).all()
    assert (colours[made.class_map == 255] == 0).all()
    few = SegmentationMap(np.zeros((2, 2), np.uint8), ("one",)).save(tmp_path / "few.PNG")
    assert (stored(str(few))[0] == 0).all()
    with pytest.raises(LaminaError, match=r"map\.jpg.*Use map\.png"):
        made.save(tmp_path / "map.jpg")
    assert not (tmp_path / "map.jpg").exists()


def test_coco_entries_read_back_equal() -> None:
    made = SegmentationMap(blobs((40, 57)), CLASSES, confidence=np.full((40, 57), 0.75, np.float32))
    entries = json.loads(json.dumps(made.to_coco(7, category_ids=[10, 20, 30, 40])))
    assert [entry["category_id"] for entry in entries] == [10, 20, 30, 40]
    for number, entry in enumerate(entries):
        mask = made.class_map == number
        assert entry["image_id"] == 7
        assert (decode_runs(entry["segmentation"], (40, 57)) == mask).all()
        assert entry["area"] == mask.sum()
        left, top, width, height = entry["bbox"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert entry["score"] == pytest.approx(0.75)
    assert [entry["category_id"] for entry in result().to_coco(1)] == [0, 1, 2]
    with pytest.raises(ShapeError, match="2 category_ids came for 4 classes"):
        result().to_coco(1, category_ids=[1, 2])


def test_becomes_json() -> None:
    told = json.loads(json.dumps(result(path="a.png", confidence=np.full((3, 4), 0.5)).to_dict()))
    assert (told["path"], told["height"], told["width"], told["unlabelled_px"]) == ("a.png", 3, 4, 1)
    assert told["areas"][0] == {"label": "road", "index": 1, "pixels": 6, "share": 0.5, "confidence": 0.5}
    assert "path" not in result().to_dict()
    masks = json.loads(json.dumps(result().to_dict(masks=True)))
    assert (decode_runs(masks["areas"][0]["mask"]) == (SMALL == 1)).all()


def test_prints_the_largest_areas() -> None:
    assert str(result(path="a.png")) == "a.png: road 50.00 %, sky 33.33 %, <b>car</b> 8.33 %, no class 8.33 %"
    many = SegmentationMap(np.arange(8).reshape(2, 4), [f"class {n}" for n in range(8)])
    assert str(many).endswith("class 4 12.50 %, and 3 more")
    assert repr(result(path="a.png")) == "SegmentationMap(4 x 3 pixels, 3 of 4 classes, path='a.png')"
    assert str(SegmentationMap(np.full((2, 2), 255), CLASSES)) == "no class 100.00 %"


def test_html_escapes_class_names_and_holds_the_picture() -> None:
    page = result(image=IMAGE)._repr_html_()
    HTMLParser().feed(page)
    assert "&lt;b&gt;car" in page
    assert "<b>car" not in page
    assert 'src="data:image/png;base64,' in page


def test_the_overlay_is_the_picture_in_its_size_and_shows_the_colours() -> None:
    made = result(image=IMAGE)
    assert made.overlay().size == (4, 3)
    assert (np.asarray(made.overlay(alpha=0.0)) == 200).all()
    pure = np.asarray(made.overlay(alpha=1.0))
    assert (pure[0, 0] == drawing.colour(0)).all()
    assert (pure[2, 2] == 200).all()  # a pixel without a class is left as it is
    half = np.asarray(made.overlay(alpha=0.5))[1, 0].astype(int)
    np.testing.assert_allclose(half, (np.array(drawing.colour(1)) + 200) / 2, atol=1)


def test_draws_a_legend_of_what_occurs(tmp_path) -> None:
    made = SegmentationMap(blobs((60, 80)), CLASSES, image=np.full((60, 80), 90, np.uint8))
    drawn, wide = made.draw(), made.draw(alpha=1.0, side_px=640)
    assert drawn.width >= 320
    assert wide.width > 640
    bottom = np.asarray(drawn)[-50:]
    for number in range(4):
        assert (bottom == drawing.colour(number)).all(-1).sum() > 50  # its square in the legend
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 3), (9, 9, 9)).save(path)
    assert result(path=str(path)).draw().width >= 320
    alone = np.asarray(result().draw())  # without a picture the colours alone
    assert (alone[20, 20] == drawing.colour(0)).all()
    one = SegmentationMap(np.zeros((1, 1), np.uint8), ("all",), image=np.zeros((3, 1, 1), np.uint8))
    assert one.draw().width >= 320


def test_of_another_size_than_the_picture_it_is_not_drawn() -> None:
    with pytest.raises(ShapeError, match=r"picture has 4 x 3 pixels, and its map 8 x 6.*nearest neighbour"):
        SegmentationMap(SMALL.repeat(2, 0).repeat(2, 1), CLASSES, image=IMAGE).draw()


@pytest.mark.parametrize(
    ("made", "error", "says"),
    [
        (lambda: SegmentationMap(SMALL[None], CLASSES), ShapeError, r"shape \(1, 3, 4\)"),
        (lambda: SegmentationMap(SMALL[:0], CLASSES), ShapeError, "not empty"),
        (lambda: SegmentationMap(SMALL / 2, CLASSES), DataError, "float64 numbers.*argmax"),
        (lambda: SegmentationMap(SMALL, CLASSES[:2]), DataError, r"holds 2.*0 to 1 were expected, or 255"),
        (lambda: SegmentationMap(SMALL.astype(int) - 1, CLASSES), DataError, "holds -1"),
        (lambda: SegmentationMap(SMALL, ()), DataError, "map of 0 classes"),
        (lambda: SegmentationMap(SMALL, [str(n) for n in range(256)]), DataError, "map of 256 classes"),
        (lambda: result(confidence=np.ones((3, 3))), ShapeError, r"confidence has shape \(3, 3\)"),
        (lambda: result(image=IMAGE).draw(alpha=1.5), LaminaError, "alpha is 1.5"),
        (lambda: result(image=IMAGE).overlay(alpha=-1), LaminaError, "alpha is -1"),
    ],
)
def test_bad_input_is_refused(made, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        made()
