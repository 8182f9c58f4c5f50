"""Detectors and segmenters behind HTTP: boxes and maps in the uploaded picture's own pixels, drawn, and no heat."""

from __future__ import annotations

import base64
import importlib.util
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamina.serve import batching
from lamina.structures.masks import decode_runs

spec = importlib.util.spec_from_file_location("locating", Path(__file__).with_name("locating.py"))
locating = importlib.util.module_from_spec(spec)
spec.loader.exec_module(locating)


@pytest.fixture
def detector(started):
    return started(model=locating.Detecting()).ready()


@pytest.fixture
def segmenter(started):
    return started(model=locating.segmenter()).ready()


def test_boxes_are_told_in_the_pictures_own_pixels(detector):
    for width, height in ((240, 160), (960, 480), (96, 200)):
        told = detector.send(locating.blocks(size=(width, height)), "image/png").json()["results"][0]
        assert (told["width"], told["height"]) == (width, height)
        red, blue = told["detections"]
        assert (red["label"], red["index"], blue["label"]) == ("red block", 0, "blue block")
        assert (red["score"], blue["score"]) == pytest.approx((0.9, 0.4))
        px = 2 * max(width / 96, height / 64)  # two of the network's pixels
        assert red["box_xyxy"] == pytest.approx([width / 8, height / 8, width / 2, height / 2], abs=px)
        assert blue["box_xyxy"] == pytest.approx([5 * width / 8, height / 4, 7 * width / 8, 3 * height / 4], abs=px)


def test_boxes_are_those_of_the_picture_as_a_person_sees_it(detector):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    told = detector.send(locating.blocks(exif=exif.tobytes()), "image/png").json()["results"][0]
    assert (told["width"], told["height"]) == (160, 240)
    red = told["detections"][0]["box_xyxy"]
    assert red == pytest.approx([80, 30, 140, 120], abs=8)


def test_pictures_of_many_sizes_in_one_batch_each_have_their_own(started):
    client = started(model=locating.Detecting(), wait_ms=300.0).ready()
    sizes = [(240, 160), (480, 320), (96, 200), (60, 40)]
    files = [("file", (f"{place}.png", locating.blocks(size=size))) for place, size in enumerate(sizes)]
    results = client.post("/predict", files=files).json()["results"]
    assert [(told["width"], told["height"]) for told in results] == sizes
    for told, (width, _) in zip(results, sizes, strict=True):
        assert told["detections"][0]["box_xyxy"][2] == pytest.approx(width / 2, rel=0.08)


def test_where_nothing_is_found_the_list_is_empty(detector, picture):
    grey = io.BytesIO()
    Image.new("RGB", (50, 50), (90, 90, 90)).save(grey, "PNG")
    told = detector.send(grey.getvalue(), "image/png").json()["results"][0]
    assert told == {"height": 50, "width": 50, "detections": []}


def test_a_map_of_classes_is_told_as_runs_of_the_pictures_own_size(segmenter):
    told = segmenter.send(locating.blocks(size=(480, 320)), "image/png").json()["results"][0]
    assert (told["height"], told["width"], told["unlabelled_px"]) == (320, 480, 0)
    areas = {area["label"]: area for area in told["areas"]}
    assert list(areas) == ["green field", "red earth", "blue sky"]  # the largest first
    masks = {label: decode_runs(area["mask"], (320, 480)) for label, area in areas.items()}
    assert sum(mask.sum() for mask in masks.values()) == 320 * 480
    for label, mask in masks.items():
        assert mask.sum() == areas[label]["pixels"]
    wanted = np.zeros((320, 480), bool)
    wanted[40:160, 60:240] = True
    assert (masks["red earth"] == wanted).mean() > 0.97
    assert 0.5 < areas["red earth"]["confidence"] <= 1


def test_the_served_map_is_that_of_predict(segmenter, tmp_path):
    (tmp_path / "picture.png").write_bytes(locating.blocks(size=(300, 170)))
    wanted = locating.segmenter().predict(tmp_path / "picture.png", engine="torch").to_dict(masks=True)
    wanted.pop("path")
    told = segmenter.send(locating.blocks(size=(300, 170)), "image/png").json()["results"][0]
    assert [area["mask"] for area in told["areas"]] == [area["mask"] for area in wanted["areas"]]


@pytest.mark.parametrize("kind", ["detector", "segmenter"])
def test_it_is_drawn_on_the_picture_when_that_is_asked_for(request, kind):
    client = request.getfixturevalue(kind)
    told = client.send(locating.blocks(size=(1600, 1200)), "image/png", path="/predict?draw=1").json()["results"][0]
    assert (told["width"], told["height"]) == (1600, 1200)  # though it is drawn on a smaller one
    drawn = Image.open(io.BytesIO(base64.b64decode(told["drawn"])))
    assert 500 < max(drawn.size) < 900
    colours = {tuple(pixel) for pixel in np.asarray(drawn.convert("RGB")).reshape(-1, 3)}
    assert len(colours) > 10


@pytest.mark.parametrize("kind", ["detector", "segmenter"])
def test_there_is_no_heat_map_and_that_is_said(request, kind):
    client = request.getfixturevalue(kind)
    answer = client.send(locating.blocks(), "image/png", path="/explain")
    assert answer.status_code == 501
    error = answer.json()["error"]
    assert error["code"] == "not_built_in"
    assert kind in error["message"]
    card = client.get("/model").json()
    assert card["explains"] is False
    assert len(card["colours"]) == len(card["classes"])
    assert card["about"]["kind"].startswith(kind)
    result = client.get("/openapi.json").json()["components"]["schemas"]["Result"]
    assert {"detector": "detections", "segmenter": "areas"}[kind] in result["properties"]
    assert len(str(result["example"])) < 1000


def test_what_maps_weigh_is_bounded(started, monkeypatch):
    """Each is 64 x 96 x 12 x 4 bytes, 295 kB: a batch holds three, and the engine waits while as much is unfinished."""
    monkeypatch.setattr(batching, "WAITING_BYTES", 1_000_000)
    monkeypatch.setattr("lamina.serve.service.WAITING_BYTES", 1_000_000)
    names = ["red", "green", "blue", *(f"class {number}" for number in range(9))]
    client = started(model=locating.segmenter(names), batch=32).ready()
    batcher = client.app.state.service.batcher
    assert batcher.batch == 3
    most, tell, gate = [0], batcher._tell, threading.Event()

    def slow(rows, sizes):
        gate.wait(0.02)
        most.append(batcher._waiting_bytes)
        return tell(rows, sizes)

    batcher._tell = slow
    files = [("file", (f"{place}.png", locating.blocks(size=(60 + place, 40)))) for place in range(24)]
    results = client.post("/predict", files=files).json()["results"]
    assert [told["width"] for told in results] == [60 + place for place in range(24)]
    assert 0 < max(most) <= 2_000_000
    assert batcher._waiting_bytes == 0


def test_large_pictures_are_decided_in_parts_as_they_are_in_one(monkeypatch):
    import torch

    from lamina.data.preprocess import Preprocess
    from lamina.tasks.segmentation import decode

    probs = torch.rand(5, 24, 32, generator=torch.Generator().manual_seed(0)).softmax(0)
    for how, size in (("pad", (211, 97)), ("stretch", (90, 301)), ("crop", (200, 100)), ("pad", (7, 9))):
        preprocess = Preprocess(size=(24, 32), resize=how)
        whole = decode.decided(probs, preprocess, size)
        monkeypatch.setattr(decode, "_AT_ONCE", 40_000)
        parts = decode.decided(probs, preprocess, size)
        monkeypatch.undo()
        torch.testing.assert_close(parts[0], whole[0], atol=1e-6, rtol=0)
        assert (parts[1] == whole[1]).float().mean() > 0.9999
