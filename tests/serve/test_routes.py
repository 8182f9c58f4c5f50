"""The routes beside /predict: states, card, figures, description; the token; and what serves no pictures."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time

import pytest
from fastapi import FastAPI

import lamina
from lamina import Classifier, serve
from lamina.core.errors import LaminaError, MissingExtraError, UnknownNameError


def test_it_lives_and_is_ready_once_its_engine_is(started):
    client = started()
    assert client.get("/health").json() == {"status": "alive"}
    client.ready()
    assert client.get("/ready").json() == {"status": "ready"}


def test_while_it_starts_and_while_it_stops_it_is_not_ready(started, picture):
    client = started().ready()
    service = client.app.state.service
    engine, service.engine = service.engine, None
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    service.engine, service.stopping = engine, True
    for answer in (client.get("/ready"), client.send(picture(1))):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
        assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/health").status_code == 200


def test_a_request_that_comes_while_the_engine_is_made_waits_for_it(started, picture):
    assert started().send(picture(1)).status_code == 200


@pytest.fixture
def held_engine(monkeypatch):
    """An engine that is made when the test lets it be, with so many seconds that it is expected to take."""
    free, make = threading.Event(), serve.engines.make

    def expecting(seconds):
        def held(*given, **more):
            assert free.wait(20)
            return make(*given, **more)

        monkeypatch.setattr("lamina.serve.engines.make", held)
        monkeypatch.setattr("lamina.serve.engines.prospect", lambda *_, **__: ("engines are measured", seconds))
        return free

    yield expecting
    free.set()


def test_a_request_does_not_wait_for_an_engine_that_comes_after_its_time(started, picture, held_engine):
    free = held_engine(100.0)
    client = started()
    began = time.monotonic()
    while client.app.state.service.too_early(began + 30) is None:  # until it knows how long it takes
        time.sleep(0.01)
    answer = client.send(picture(1))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "not_ready")
    assert "engines are measured" in error["message"]
    assert re.search(r"Try again in \d+ s", error["message"])
    assert "engines are measured" in client.get("/ready").json()["error"]["message"]
    assert int(answer.headers["retry-after"]) >= 1
    assert time.monotonic() - began < 10  # of the 30 that it might have waited
    free.set()
    assert client.ready().send(picture(1)).status_code == 200


def test_a_request_waits_for_an_engine_that_comes_within_its_time(started, picture, held_engine):
    free = held_engine(5.0)
    threading.Timer(0.3, free.set).start()
    assert started().send(picture(1)).status_code == 200


def test_a_request_that_waited_in_vain_for_the_engine_is_told_so_and_not_that_there_is_much_to_do(
    started, picture, held_engine
):
    held_engine(0.0)  # it takes longer than was expected
    answer = started(timeout_s=0.3).send(picture(1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert "engines are measured" in answer.json()["error"]["message"]
    assert "more to do" not in answer.json()["error"]["message"]


def test_an_engine_that_cannot_be_made_is_told_at_ready_and_to_clients(started, picture, monkeypatch):
    def fail(*_, **__):
        raise LaminaError("It is broken.", "A whole one was expected.", "Mend it.")

    monkeypatch.setattr("lamina.serve.engines.make", fail)
    client = started()
    assert client.send(picture(1)).status_code == 503  # which may have come before it failed
    until = time.monotonic() + 20
    while client.app.state.service.failure is None and time.monotonic() < until:
        time.sleep(0.01)
    assert "It is broken." in client.get("/ready").json()["error"]["message"]
    answer = client.send(picture(1))
    assert answer.status_code == 503


def test_mounted_in_another_application_it_starts_at_its_first_request(model, picture):
    import httpx

    app = FastAPI()
    mounted = serve.app(model, engine="torch", threads=1)
    app.mount("/vision", mounted)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            headers = {"content-type": "image/jpeg"}
            return await client.post("/vision/predict", content=picture(1), headers=headers)

    assert asyncio.run(ask()).json()["results"][0]["label"]
    mounted.state.service.stop()


def test_the_card_tells_what_the_model_is(client):
    card = client.get("/model").json()
    assert (card["name"], card["kind"], card["classes"]) == ("colours", "classifier", ["red", "green", "blue"])
    assert card["preprocess"]["size"] == [32, 32]
    assert card["engine"] == "torch, 1 thread"
    assert card["explains"] is True
    assert card["limits"]["max_pictures"] == 4
    assert card["versions"]["lamina"] == lamina.__version__


def test_figures_count_requests_by_path_and_code_and_refusals_by_reason(started, picture):
    client = started().ready()
    for content in (picture(1), picture(2), b"no picture"):
        client.send(content)
    client.get("/secret/1234")
    text = client.get("/metrics").text
    assert 'lamina_requests_total{code="200",path="/predict"} 2.0' in text
    assert 'lamina_requests_total{code="422",path="/predict"} 1.0' in text
    assert 'lamina_requests_total{code="404",path="other"} 1.0' in text  # strangers invent no labels
    assert 'lamina_rejected_total{reason="unreadable"} 1.0' in text
    assert "lamina_pictures_total 2.0" in text
    assert "lamina_queue_pictures 0.0" in text
    for stage in ("decode", "wait", "compute"):
        assert f'lamina_stage_seconds_count{{stage="{stage}"}} 2.0' in text
    assert "lamina_predict_seconds_count 3.0" in text


@pytest.mark.parametrize(
    ("method", "path", "status"), [("get", "/nowhere", 404), ("get", "/predict", 405), ("post", "/model", 405)]
)
def test_errors_of_routing_have_the_shape_of_all_errors(client, method, path, status):
    answer = getattr(client, method)(path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] in ("not_found", "method_not_allowed")


def fits(value, schema, schemas):
    """Whether a value is what a JSON schema says (of what ours uses)."""
    if "$ref" in schema:
        return fits(value, schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    if "anyOf" in schema:
        return any(fits(value, one, schemas) for one in schema["anyOf"])
    kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return False
    if isinstance(value, dict) and "additionalProperties" in schema:
        return all(fits(entry, schema["additionalProperties"], schemas) for entry in value.values())
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        return set(schema.get("required", ())) <= set(value) and all(
            fits(entry, fields[key], schemas) for key, entry in value.items() if key in fields
        )
    if isinstance(value, list):
        return all(fits(entry, schema.get("items", {}), schemas) for entry in value)
    return "enum" not in schema or value in schema["enum"]


def test_the_description_is_true_for_answers_and_errors_and_its_examples(client, picture):
    told = client.get("/openapi.json").json()
    schemas = told["components"]["schemas"]
    assert told["openapi"].startswith("3.")
    assert {"/predict", "/explain", "/model", "/health", "/ready", "/metrics"} == set(told["paths"])

    def schema(path, method, status):
        return told["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]

    files = [("file", ("a.jpg", picture(1))), ("file", ("b.jpg", b"no"))]
    asked = [
        ("/predict", "post", client.post("/predict", files=files)),
        ("/predict", "post", client.send(b"no")),
        ("/predict", "post", client.send(b"no", "text/plain")),
        ("/explain", "post", client.send(picture(1), path="/explain")),
        ("/model", "get", client.get("/model")),
        ("/ready", "get", client.get("/ready")),
        ("/health", "get", client.get("/health")),
    ]
    for path, method, answer in asked:
        assert fits(answer.json(), schema(path, method, answer.status_code), schemas), (path, answer.text)
    for name, one in schemas.items():
        if "example" in one:
            assert fits(one["example"], one, schemas), name
    assert not fits({"results": 1}, schemas["Answer"], schemas)


def test_the_description_is_true_where_each_picture_has_other_labels(started, model, picture):
    labelling = Classifier(model.net, classes=list("abc"), preprocess=model.preprocess, multi_label=True)
    client = started(model=labelling).ready()
    results = [client.send(picture(seed)).json()["results"][0] for seed in range(8)]
    assert len({tuple(result["labels"]) for result in results}) > 1
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert all(fits(result, schemas["Result"], schemas) for result in results)


def test_no_documentation_page_asks_another_host(client):
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404


TOKEN = "a-token-of-many-letters"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ä"]
)
def test_without_the_token_nothing_is_told(started, picture, header):
    client = started(token=TOKEN)
    headers = {} if header is None else {"authorization": header.encode()}
    for path in ("/model", "/metrics", "/openapi.json", "/nowhere"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.post("/predict", content=picture(1), headers=headers).status_code == 401


def test_with_the_token_all_is_answered_and_the_page_and_health_are_open(started, picture):
    client = started(token=TOKEN)
    for path in ("/health", "/"):
        assert client.get(path).status_code == 200
    client.ready()
    answer = client.send(picture(1), authorization=f"bearer {TOKEN}")
    assert answer.status_code == 200
    told = client.get("/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert told["security"] == [{"token": []}]


def test_a_client_that_goes_away_ends_its_work(started, picture):
    client = started().ready()
    service = client.app.state.service
    headers = [(b"content-type", b"image/jpeg")]
    whole = {"type": "http.request", "body": picture(1), "more_body": False}
    client.ask({"headers": headers}, [whole, {"type": "http.disconnect"}])
    client.ask(
        {"headers": headers}, [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    )
    assert (service.requests, service.ledger.held) == (0, 0)
    assert 'reason="client_gone"' in client.get("/metrics").text


def test_a_model_that_answers_no_pictures_is_not_served():
    with pytest.raises(LaminaError, match="Classifier"):
        serve.app(object())


def test_an_unknown_engine_is_refused_and_the_nearest_told(model):
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        serve.app(model, engine="onnx")


@pytest.mark.parametrize("module", ["fastapi", "python_multipart", "prometheus_client"])
def test_without_the_extra_the_line_that_installs_it_is_told(model, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "lamina\[serve\]"'):
        serve.app(model)
