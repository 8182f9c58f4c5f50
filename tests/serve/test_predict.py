"""POST /predict: every way in gives the answers of `predict`, and a broken picture harms none but itself."""

from __future__ import annotations

import base64
import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from lamina import Ensemble


def text_of(content):
    return base64.b64encode(content).decode()


@pytest.fixture
def wanted(model, tmp_path):
    """What `predict` says to the bytes of a file."""

    def predict(content):
        path = tmp_path / "picture"
        path.write_bytes(content)
        result = model.predict([path], engine="torch")[0].to_dict()
        del result["path"]
        return result

    return predict


def same(got, wanted):
    assert got.keys() == wanted.keys()
    assert (got["label"], got["index"]) == (wanted["label"], wanted["index"])
    assert got["probability"] == pytest.approx(wanted["probability"], abs=1e-5)


def test_a_bare_file_is_answered_as_predict_answers_it(client, picture, wanted):
    answer = client.send(picture(1))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["model"] == "colours"
    assert told["took_ms"] > 0
    same(told["results"][0], wanted(picture(1)))


def test_uploads_are_answered_in_their_order(client, picture, wanted):
    contents = [picture(seed) for seed in (3, 1, 2)]
    files = [("any", (f"{place}.jpg", content)) for place, content in enumerate(contents)]
    results = client.post("/predict", files=files, data={"note": "no picture"}).json()["results"]
    assert len(results) == 3
    for result, content in zip(results, contents, strict=True):
        same(result, wanted(content))


@pytest.mark.parametrize("form", ["{}", "data:image/jpeg;base64,{}"])
def test_base64_is_answered_with_and_without_a_data_url_and_in_lines(client, picture, wanted, form):
    lines = base64.encodebytes(picture(2)).decode()
    answer = client.post("/predict", json={"images": [form.format(text_of(picture(1))), form.format(lines)]})
    results = answer.json()["results"]
    same(results[0], wanted(picture(1)))
    same(results[1], wanted(picture(2)))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGBA"),
        ("PNG", "L"),
        ("PNG", "I;16"),
        ("PNG", "P"),
        ("JPEG", "CMYK"),
        ("TIFF", "RGB"),
        ("WEBP", "RGB"),
        ("BMP", "1"),
    ],
)
def test_files_of_other_kinds_and_modes_are_read_as_predict_reads_them(client, picture, wanted, kind, mode):
    content = picture(4, kind=kind, mode=mode if mode != "I;16" else "L")
    if mode == "I;16":
        written = io.BytesIO()
        Image.fromarray(np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 30).save(written, "PNG")
        content = written.getvalue()
    same(client.send(content, "image/any").json()["results"][0], wanted(content))


def test_a_picture_is_turned_as_its_exif_says(client, picture, wanted):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = picture(5, exif=exif.tobytes())
    same(client.send(content).json()["results"][0], wanted(content))


def test_of_an_animation_the_first_frame_is_answered(client, picture, wanted):
    first = Image.open(io.BytesIO(picture(6, kind="PNG")))
    written = io.BytesIO()
    first.save(written, "GIF", save_all=True, append_images=[Image.new("RGB", first.size, "white")])
    alone = io.BytesIO()
    first.save(alone, "GIF")
    same(client.send(written.getvalue(), "image/gif").json()["results"][0], wanted(alone.getvalue()))


def test_a_broken_picture_among_good_ones_has_its_error_in_its_place(client, picture, wanted):
    files = [
        ("file", ("good.jpg", picture(1))),
        ("file", ("broken.jpg", picture(2)[:200])),
        ("file", ("also.jpg", picture(3))),
    ]
    answer = client.post("/predict", files=files)
    assert answer.status_code == 200
    good, broken, also = answer.json()["results"]
    same(good, wanted(picture(1)))
    same(also, wanted(picture(3)))
    assert broken["error"]["code"] == "unreadable"
    assert "broken.jpg" in broken["error"]["message"]


def test_where_no_picture_can_be_answered_the_request_fails_and_tells_each_error(client):
    answer = client.post("/predict", json={"images": ["???", text_of(b"no picture")]})
    assert answer.status_code == 422
    told = answer.json()
    assert told["error"]["code"] == "invalid"
    assert [result["error"]["code"] for result in told["results"]] == ["invalid", "unreadable"]


@pytest.mark.parametrize(("asked", "drawn"), [("?draw=1", True), ("?draw=0", False), ("", False)])
def test_the_drawn_picture_is_brought_when_it_is_asked_for(client, picture, wanted, asked, drawn):
    files = [("file", ("good.jpg", picture(1))), ("file", ("broken.jpg", b"no"))]
    good, broken = client.post(f"/predict{asked}", files=files).json()["results"]
    assert ("drawn" in good) is drawn
    assert "error" in broken
    if drawn:
        with Image.open(io.BytesIO(base64.b64decode(good.pop("drawn")))) as image:
            assert image.format == "PNG"
            assert min(image.size) > 100
    same(good, wanted(picture(1)))


def test_requests_that_come_together_are_computed_together(started, picture, monkeypatch):
    client = started(wait_ms=2000.0, batch=8).ready()
    batcher = client.app.state.service.batcher
    compute, until = batcher._compute, time.monotonic() + 20

    def later(pixels):
        """The first batch takes until all are there, lest a busy machine reads one only after another was answered."""
        while batcher.under_way < 8 and not client.answered and time.monotonic() < until:
            time.sleep(0.01)
        client.answered = True
        return compute(pixels)

    client.answered = False
    monkeypatch.setattr(batcher, "_compute", later)

    async def ask():
        import asyncio

        headers = {"content-type": "image/jpeg"}
        asked = [client._client.post("/predict", content=picture(seed), headers=headers) for seed in range(8)]
        return await asyncio.gather(*asked)

    assert {answer.status_code for answer in client.run(ask())} == {200}
    figures = client.get("/metrics").text
    count = float(figures.split("lamina_batch_pictures_count ")[1].split()[0])
    assert count <= 2  # what came while the first was waited for
    assert float(figures.split("lamina_batch_pictures_sum ")[1].split()[0]) == 8


def test_what_is_no_number_in_json_is_a_failure_that_is_told(started, model, picture, monkeypatch):
    client = started().ready()
    service = client.app.state.service
    monkeypatch.setattr(service.batcher, "_tell", lambda rows, sizes: [{"value": float("nan")} for _ in rows])
    answer = client.send(picture(1))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "failed"


def test_an_engine_that_fails_is_told_and_the_next_request_is_answered(started, picture, monkeypatch, caplog):
    client = started().ready()
    service = client.app.state.service
    good = service.batcher._compute

    def fail(batch):
        raise RuntimeError("a cable was cut")

    monkeypatch.setattr(service.batcher, "_compute", fail)
    answer = client.send(picture(1))
    assert answer.status_code == 500
    assert "cable" not in answer.text  # the log has it, strangers do not
    assert "a cable was cut" in caplog.text
    monkeypatch.setattr(service.batcher, "_compute", good)
    assert client.send(picture(1)).status_code == 200


def test_an_explanation_is_rows_of_heat_over_a_box_of_the_picture(client, picture):
    told = client.send(picture(1, size=(50, 40)), path="/explain?draw=1").json()
    heat = np.array(told["map"])
    assert heat.ndim == 2
    assert heat.min() >= 0
    assert heat.max() <= 1
    left, top, right, bottom = told["box_xyxy"]
    assert 0 <= left < right <= 50
    assert 0 <= top < bottom <= 40
    assert Image.open(io.BytesIO(base64.b64decode(told["drawn"]))).size[0] > 0
    assert told["label"] in ("red", "green", "blue")


def test_an_explanation_of_a_class_that_there_is_not_is_refused(client, picture):
    answer = client.send(picture(1), path="/explain?label=purple")
    assert answer.status_code == 422
    assert "purple" in json.loads(answer.text)["error"]["message"]


def test_an_ensemble_is_served_as_it_predicts(started, model, picture, tmp_path):
    both = Ensemble([model, model], weights=[1, 3])
    client = started(model=both).ready()
    (tmp_path / "picture.jpg").write_bytes(picture(1))
    told, result = client.send(picture(1)).json()["results"][0], both.predict([tmp_path / "picture.jpg"])[0].to_dict()
    result.pop("path")
    same(told, result)
    assert client.get("/model").json()["classes"] == ["red", "green", "blue"]
    assert client.send(picture(1), path="/explain").status_code in (200, 422)
