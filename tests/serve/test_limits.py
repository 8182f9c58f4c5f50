"""What is refused: each limit with its code, its status and a text that says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from lamina.core.errors import LaminaError
from lamina.serve import Limits, explaining, incoming
from lamina.serve.refusals import Refused


def refused(answer, code, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"].count(".") >= 2  # came, expected, remedy
    return error["message"]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_a_file_that_is_no_picture_is_refused(client):
    assert "no picture" in refused(client.send(b"hello" * 20, "image/png"), "unreadable", 422)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_picture_is_refused(client, picture, kind, share):
    content = picture(1, size=(300, 300), kind=kind)
    refused(client.send(content[: int(share * len(content))]), "unreadable", 422)


def test_a_picture_without_bytes_and_a_request_without_a_picture_are_refused(client):
    refused(client.send(b""), "empty", 400)
    refused(client.post("/predict", files={"file": ("a.jpg", b"")}), "empty", 400)
    refused(client.post("/predict", json={"images": []}), "empty", 400)
    refused(client.post("/predict", json={"images": [""]}), "empty", 400)
    refused(client.post("/predict", data={"a": "b"}, files={"file": ("", b"")}), "empty", 400)


def test_a_bomb_is_refused_by_its_header(client):
    began = time.perf_counter()
    refused(client.send(png(60_000, 60_000), "image/png"), "too_many_pixels", 413)  # where Pillow raises
    refused(client.send(png(10_000, 9_000), "image/png"), "too_many_pixels", 413)  # where it warns
    assert "8,000 x 7,000" in refused(client.send(png(8_000, 7_000), "image/png"), "too_many_pixels", 413)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_another_content_type_is_refused(client, kind):
    assert "multipart/form-data" in refused(client.send(b"hello", kind), "unsupported_type", 415)


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b'{"images": [', "malformed", 400),
        (b"\xff\xfe", "malformed", 400),
        (b"[" * 100_000, "malformed", 400),
        (b"[1]", "invalid", 422),
        (b"null", "invalid", 422),
        (b'{"image": "a"}', "invalid", 422),
        (b'{"images": "a"}', "invalid", 422),
        (b'{"images": [1]}', "invalid", 422),
        (b'{"images": [null]}', "invalid", 422),
        (b'{"images": ["%%%"]}', "invalid", 422),
        (b'{"images": ["data:image/png,abc"]}', "invalid", 422),
        ('{"images": ["ä"]}'.encode(), "invalid", 422),
        (b'{"images": ["aGVsbG8="]}', "unreadable", 422),
    ],
)
def test_json_that_lies_is_refused(client, body, code, status):
    refused(client.send(body, "application/json"), code, status)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"no form"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\nabc',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a: b\r\n" * 1000),
        ("multipart/form-data; boundary=" + "x" * 5000, b"no form"),
    ],
)
def test_a_broken_form_is_refused(client, kind, body):
    refused(client.send(body, kind), "malformed", 400)


def test_too_many_pictures_are_refused(client, picture):
    many = [("file", (f"{number}.jpg", picture(1))) for number in range(5)]
    assert "4" in refused(client.post("/predict", files=many), "too_many_pictures", 413)
    refused(client.post("/predict", json={"images": ["a"] * 5}), "too_many_pictures", 413)
    fields = [(f"note{number}", (None, "text")) for number in range(100)]
    refused(client.post("/predict", files=fields), "too_many_pictures", 413)


def test_a_picture_of_too_many_bytes_is_refused_and_the_others_are_answered(started, picture):
    client = started(max_picture_mb=0.01).ready()
    files = [("file", ("large.png", picture(1, size=(400, 400), kind="PNG"))), ("file", ("small.jpg", picture(1)))]
    large, small = client.post("/predict", files=files).json()["results"]
    assert large["error"]["code"] == "picture_too_large"
    assert "label" in small


def test_a_request_that_says_that_it_is_too_large_is_refused_before_it_is_read(client):
    read = []

    async def more():
        read.append(1)
        return {"type": "http.request", "body": bytes(100_000), "more_body": True}

    headers = [(b"content-type", b"image/png"), (b"content-length", b"5000000")]
    start, body, *_ = client.ask({"headers": headers}, [more() for _ in range(3)] + [{"type": "http.disconnect"}])
    assert start["status"] == 413
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["error"]["code"] == "too_large"


def test_a_request_that_does_not_say_how_large_it_is_is_read_to_the_limit_and_no_further(client, monkeypatch):
    ledger = client.app.state.service.ledger
    most = []
    take = ledger.take
    monkeypatch.setattr(ledger, "take", lambda *told: (take(*told), most.append(ledger.held)))
    messages = [{"type": "http.request", "body": bytes(100_000), "more_body": True} for _ in range(100)]
    start, _, *_ = client.ask({"headers": [(b"content-type", b"image/png")]}, [*messages, {"type": "http.disconnect"}])
    assert start["status"] == 413
    assert max(most) <= 1_000_000  # of 10,000,000
    assert ledger.held == 0


def test_a_client_that_sends_a_byte_now_and_then_is_cut(started):
    client = started(timeout_s=0.5).ready()

    async def byte():
        await asyncio.sleep(0.1)
        return {"type": "http.request", "body": b"x", "more_body": True}

    began = time.monotonic()
    headers = [(b"content-type", b"image/png"), (b"content-length", b"1000")]
    messages = [byte() for _ in range(100)]
    start, body, *_ = client.ask({"headers": headers}, messages)
    for message in messages:
        message.close()
    assert start["status"] == 408
    assert json.loads(body["body"])["error"]["code"] == "slow_client"
    assert time.monotonic() - began < 4  # and some seconds in which what it still sends is dropped


def test_bodies_that_hold_too_much_memory_together_are_refused(started, picture, monkeypatch):
    client = started().ready()
    monkeypatch.setattr(client.app.state.service.ledger, "most", 100)
    answer = client.send(picture(1))
    refused(answer, "busy", 503)
    assert int(answer.headers["retry-after"]) >= 1
    assert client.app.state.service.ledger.held == 0


def test_clients_that_hold_memory_with_bodies_they_never_end_do_not_keep_out_others(started, picture, monkeypatch):
    monkeypatch.setattr(incoming, "_GRACE_S", 0.2)
    client = started(max_mb=0.1, timeout_s=30.0).ready()
    service = client.app.state.service
    most = 99_900

    def held():
        async def drip():
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"x", "more_body": True}

        headers = [(b"content-type", b"image/png"), (b"content-length", b"100000")]
        first = {"type": "http.request", "body": bytes(most), "more_body": True}
        messages = [first, *(drip() for _ in range(40)), {"type": "http.disconnect"}]
        answer = client.ask({"headers": headers}, messages)
        for message in messages[1:-1]:
            message.close()
        return answer

    with ThreadPoolExecutor(16) as pool:
        holding = [pool.submit(held) for _ in range(16)]
        until = time.monotonic() + 10
        while service.ledger.held < 16 * most:
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.3)
        assert client.send(picture(1, size=(60, 60), kind="BMP")).status_code == 200
        assert sum(one.done() for one in holding) <= 1, "the others may go on"
        assert client.send(picture(1)).status_code == 200
        while not any(one.done() for one in holding):
            time.sleep(0.01)
        start, body, *_ = next(one for one in holding if one.done()).result()
        assert start["status"] == 503
        assert "others waited" in json.loads(body["body"])["error"]["message"]
    assert service.ledger.held == 0
    assert not service.ledger.arriving


def test_no_body_is_cut_where_that_would_not_make_room():
    async def ask(count):
        now, ledger = asyncio.get_running_loop().time(), incoming.Ledger(100)
        ledger.held = 95  # of bodies that are complete
        slow = [incoming.Body(now - 5, asyncio.timeout_at(now + 60)) for _ in range(3)]
        new = incoming.Body(now, asyncio.timeout_at(now + 60))
        async with contextlib.AsyncExitStack() as ends:
            for body in slow:
                ends.push_async_exit(body.patience)
                await body.patience.__aenter__()
                ledger.take(1, body)
            ledger.arriving = {*slow, new}
            try:
                ledger.take(count, new)
            except Refused:
                assert new.size == 0
            cut = sum(body.is_cut for body in slow)
            for body in slow:
                body.patience.reschedule(None)
        return cut, new.size, ledger.held

    assert asyncio.run(ask(50)) == (0, 0, 98)
    assert asyncio.run(ask(4)) == (2, 4, 100)


@pytest.mark.parametrize(("queue", "timeout_s"), [(3, 30.0), (256, 5.0)])
def test_no_more_explanations_wait_than_can_be_answered(started, picture, monkeypatch, queue, timeout_s):
    client = started(queue=queue, timeout_s=timeout_s).ready()
    explainer = client.app.state.service.explainer
    entered, go, taken = threading.Event(), threading.Event(), []

    def slow(service, upload, **how):
        taken.append(upload)
        entered.set()
        assert go.wait(20)
        return {"map": []}

    monkeypatch.setattr(explaining, "heat_of", slow)
    explainer.one_s = 1.4  # 4.2 s for three of them, 5.6 s for four
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.send, picture(1), path="/explain") for _ in range(3)]
        assert entered.wait(20)
        until = time.monotonic() + 5
        while explainer.waiting < 3:
            assert time.monotonic() < until
        message = refused(client.send(picture(1), path="/explain"), "busy", 503)
        assert message.startswith("3 pictures wait to be explained")
        go.set()
        assert [one.result().status_code for one in waiting] == [200] * 3
    assert len(taken) == 3, "what was refused never reached the network"
    assert explainer.waiting == 0
    assert client.send(picture(1), path="/explain").status_code == 200


def test_a_heat_that_is_late_counts_until_it_is_made(started, picture, monkeypatch):
    client = started(timeout_s=0.4).ready()
    explainer = client.app.state.service.explainer
    go, taken = threading.Event(), []

    def slow(service, upload, **how):
        taken.append(upload)
        assert go.wait(20)
        return {"map": []}

    monkeypatch.setattr(explaining, "heat_of", slow)
    explainer.one_s = 0.01
    assert client.send(picture(1), path="/explain").status_code == 504
    message = refused(client.send(picture(1), path="/explain"), "busy", 503)
    assert message.startswith("1 pictures wait to be explained"), "not let in, to be late too"
    assert (explainer.waiting, len(taken)) == (1, 1)
    go.set()
    until = time.monotonic() + 5
    while explainer.waiting:
        assert time.monotonic() < until
    assert explainer.one_s >= 0.4
    explainer.one_s = 0.01
    assert client.send(picture(1), path="/explain").status_code == 200


@pytest.mark.parametrize(
    "told",
    [{"max_pictures": 0}, {"max_pictures": 1.5}, {"max_mb": 0}, {"max_mb": float("nan")}, {"timeout_s": -1}, {"queue": True},
     {"wait_ms": -1.0}, {"batch": "32"}, {"max_megapixels": float("inf")}, {"max_megapixels": 200.0}],
)  # fmt: skip
def test_limits_that_are_no_limits_are_refused(told):
    with pytest.raises(LaminaError, match=next(iter(told))):
        Limits(**told)


def test_json_of_a_million_parts_is_refused_before_it_is_taken_apart(started):
    client = started(max_mb=20.0).ready()
    body = b'{"images": ["a"], "more": [' + b"[]," * 6_000_000 + b"[]]}"
    began = time.perf_counter()
    assert "far more parts" in refused(client.send(body, "application/json"), "invalid", 422)
    assert time.perf_counter() - began < 5


def test_a_packed_body_is_refused(client, picture):
    answer = client.send(picture(1), **{"content-encoding": "gzip"})
    assert "gzip" in refused(answer, "unsupported_type", 415)
    assert client.send(picture(1), **{"content-encoding": "identity"}).status_code == 200


def test_a_request_that_tells_its_length_twice_is_refused(client):
    headers = [(b"content-type", b"image/png"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    start, body, *_ = client.ask({"headers": headers}, [{"type": "http.request", "body": b"hello", "more_body": False}])
    assert start["status"] == 400
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["error"]["code"] == "malformed"


def progressive(picture, scans):
    """A progressive JPEG whose last scan comes so many times more, and an ordinary one behind its end."""
    content = picture(1, progressive=True)
    end = content.rindex(b"\xff\xd9")
    return content[:end] + content[content.rindex(b"\xff\xda") : end] * scans + content[end:] + picture(2) * 200


def test_a_jpeg_that_goes_over_its_pixels_without_end_is_refused(client, picture):
    assert "100 times" in refused(client.send(progressive(picture, 100)), "unreadable", 422)
    assert client.send(progressive(picture, 0)).status_code == 200  # a film behind the picture, as phones write it


@pytest.mark.parametrize("kind", ["P3", "P1"])
def test_a_large_picture_that_only_python_would_decode_is_refused(started, kind):
    client = started().ready()
    content = f"{kind} 1000 1000{' 255' * (kind == 'P3')}\n".encode() + b"1 " * 3_000_000
    assert "ppm_plain" in refused(client.send(content, "image/any"), "unreadable", 422)


def test_readers_of_other_formats_are_not_even_asked(client, monkeypatch):
    from PIL import EpsImagePlugin, Image

    Image.init()

    def ask(*_):
        raise AssertionError("EPS was asked")

    monkeypatch.setitem(Image.OPEN, "EPS", (ask, EpsImagePlugin._accept))
    refused(client.send(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"), "unreadable", 422)
