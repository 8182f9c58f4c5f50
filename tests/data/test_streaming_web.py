"""Streams from a web server that breaks off, stalls, knows no ranges, or has something else today."""

from __future__ import annotations

import http.server
import threading
import time
import urllib.parse
from collections import Counter, defaultdict, deque

import pytest
import torch

from lamina import data
from lamina.core import transfer
from lamina.core.errors import DataError, DownloadError
from lamina.data import tar_bytes
from lamina.data.preprocess import Preprocess
from lamina.data.shards import write_shards

SMALL = Preprocess(size=(6, 6))
COUNT = 40


class Server:
    """Gives the files of a folder; `plan` says for each name what becomes of the next requests, `asked` what came."""

    def __init__(self, folder):
        self.plan, self.asked, self.released = defaultdict(deque), [], threading.Event()
        self.ranges, self.tags = True, True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.close_connection = True
                name = urllib.parse.urlsplit(self.path).path.rpartition("/")[2]
                outer.asked.append((name, self.headers.get("Range", "")))
                outer.answer(self, folder / name, outer.plan[name].popleft() if outer.plan[name] else "whole")

            def log_message(self, *_): ...

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/pets/train"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, to, path, what):
        kind, _, number = what.partition(" ")
        if kind == "status" or not path.is_file():
            to.send_response(int(number or 404))
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        content, start, tag = path.read_bytes(), 0, '"2"' if kind == "changed" else '"1"'
        asked = to.headers.get("Range", "")
        if asked and self.ranges and to.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            to.send_response(206)
            to.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            to.send_response(200)
        to.send_header("Content-Length", str(len(content) - start))
        if self.tags:
            to.send_header("ETag", tag)
        to.end_headers()
        to.wfile.write(content[start : start + int(number) if kind in ("cut", "stall") else None])
        to.wfile.flush()
        if kind == "stall":
            self.released.wait(20)

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    images = torch.stack([torch.full((3, 6, 6), number, dtype=torch.uint8) for number in range(COUNT)])
    write_shards(data.ImageDataset(images, torch.arange(COUNT) % 2, "ab"), root, samples_per_shard=10)
    return root / "train"


@pytest.fixture
def server(folder, monkeypatch):
    monkeypatch.setattr(transfer, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(tar_bytes, "WAITS_S", (0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server(folder)
    yield made
    made.close()
    assert [thread for thread in threading.enumerate() if thread.name == "lamina-stream"] == []


def streamed(place, **arguments):
    return data.stream(place, SMALL, **{"batch_size": 8, "workers": 0, "shuffle": 12, **arguments})


def told(batches):
    return [number for batch in batches for number in batch.inputs[:, 0, 0, 0].tolist()]


def test_a_stream_from_the_web_is_that_from_the_disk_and_each_shard_is_asked_for_once(server, folder):
    ours = streamed(server.url)
    assert ours.classes == ("a", "b")
    assert told(ours.epoch(2)) == told(streamed(folder).epoch(2))
    names = [name for name, _ in server.asked]
    assert names[0] == "index.json"
    assert Counter(names[1:]) == {f"shard-{number:06d}.tar": 1 for number in range(4)}
    assert ours.fingerprint() == streamed(folder).fingerprint()


def test_a_query_goes_with_every_file(server):
    assert len(told(streamed(f"{server.url}/?key=secret"))) == COUNT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("tags", [True, False])
def test_a_connection_that_breaks_goes_on_at_its_byte(server, folder, monkeypatch, ranges, tags):
    monkeypatch.setattr(transfer, "PROGRESS_BYTES", 1000)
    server.ranges, server.tags = ranges, tags
    server.plan["shard-000001.tar"] += ["cut 700", "cut 5000", "status 503"]
    server.plan["shard-000002.tar"] += ["stall 3000"]
    assert told(streamed(server.url, workers=1).epoch(0)) == told(streamed(folder).epoch(0))
    asked = [range_ for name, range_ in server.asked if name == "shard-000001.tar"]
    assert asked[:2] == ["", "bytes=700-"]
    if ranges:
        assert asked[2:] == ["bytes=5700-", "bytes=5700-"]


def test_a_server_that_dies_midway_is_an_error_that_names_the_last_whole_sample(server, within):
    server.plan["shard-000001.tar"] += ["cut 2500", *["cut 0"] * 5]
    batches = streamed(server.url, shuffle=0)
    with (
        within(20),
        pytest.raises(
            DownloadError,
            match=r"shard-000001\.tar broke off after 2,500 of .* bytes; its last whole sample is 000000010-",
        ),
    ):
        list(batches.epoch(0))
    assert len(server.asked) < 8
    with within(20):  # and it can be tried again
        server.plan.clear()
        assert len(told(batches.epoch(0))) == COUNT


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (500, 3)])
def test_a_shard_that_a_server_refuses_is_named(server, status, tries):
    server.plan["shard-000002.tar"] += [f"status {status}"] * 9
    with pytest.raises(DownloadError, match=rf"train/shard-000002\.tar answered {status} .*no sample is whole"):
        list(streamed(server.url).epoch(0))
    assert [name for name, _ in server.asked].count("shard-000002.tar") == tries


def test_a_shard_that_changes_while_it_is_read_is_an_error(server):
    server.plan["shard-000000.tar"] += ["cut 3000", "changed"]
    with pytest.raises(DownloadError, match=r"shard-000000\.tar was changed while it was read"):
        list(streamed(server.url).epoch(0))


def test_who_stops_while_a_server_is_silent_does_not_wait_for_it(server, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT_S", 20.0)
    server.plan["shard-000001.tar"] += ["stall 3000"]
    epoch = streamed(server.url, shuffle=0, workers=1).epoch(0)
    next(epoch)
    time.sleep(0.2)
    began = time.perf_counter()
    epoch.close()
    assert time.perf_counter() - began < 10.0  # half of what the server may be silent
    assert [thread for thread in threading.enumerate() if thread.name == "lamina-stream"] == []


def test_an_epoch_that_goes_on_fetches_only_what_it_needs(server):
    batches = streamed(server.url, shuffle=0)
    server.asked.clear()
    assert told(batches.epoch(0, start=4)) == told(batches)[32:]
    assert [name for name, _ in server.asked][:1] == ["shard-000003.tar"]


def test_a_folder_without_an_index_cannot_be_listed(server):
    server.plan["index.json"] += ["status 404"]
    with pytest.raises(DataError, match=r"train/index\.json is not there\..*shard-\{000000\.\.000146\}\.tar"):
        streamed(server.url)
    server.plan["index.json"] += ["status 500"] * 3
    with pytest.raises(DownloadError, match=r"index\.json answered 500"):
        streamed(server.url)


def test_addresses_without_an_index_are_looked_through_once(server, folder):
    with pytest.warns(UserWarning, match=r"4 shards without an index were looked through.*`lamina data shard`"):
        ours = streamed(f"{server.url}/shard-{{000000..000003}}.tar", classes=["no", "yes"])
    assert ours.classes == ("no", "yes")
    assert told(ours.epoch(0)) == told(streamed(folder).epoch(0))


def test_nobody_there_is_an_error(server):
    with pytest.raises(DownloadError, match="Connection refused"):
        streamed("http://127.0.0.1:1/train")
