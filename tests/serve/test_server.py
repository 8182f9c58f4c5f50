"""`lamina serve` as a process: what it says, how it stops, and the clients that it survives."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from lamina.core.errors import LaminaError
from lamina.serve import server

TIMEOUT_S = 1.5


class Running:
    """A server process whose model is ready."""

    def __init__(self, path, *options, workers=1, **environment):
        command = [sys.executable, "-m", "lamina", "serve", str(path), "--port", "0", "--engine", "torch", *options]
        env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        self.said, ready = "", 0
        for line in self.process.stderr:
            self.said += line
            ready += " is ready with " in line
            if ready == workers:
                break
        assert ready == workers, self.said
        self.port = int(self.said.split("Listening at http://127.0.0.1:")[1].split()[0].rstrip(","))

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def get(self, path):
        with self.connect() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return answered(client)

    def post(self, content, *, kind="image/jpeg", path="/predict"):
        with self.connect() as client:
            client.sendall(head(content, kind=kind, path=path) + content)
            return answered(client)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        """Exit code, and what it said after it was ready."""
        try:
            _, said = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode, said


def head(content, *, kind="image/jpeg", path="/predict"):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()


def answered(client):
    """Status and JSON of an answer."""
    told = b""
    while b"\r\n\r\n" not in told:
        part = client.recv(65536)
        assert part, told
        told += part
    lines, _, body = told.partition(b"\r\n\r\n")
    length = int(lines.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return int(lines.split()[1]), json.loads(body)


@pytest.fixture(scope="module")
def path(model_file):
    return model_file


@pytest.fixture(scope="module")
def running(path):
    """One server for the tests that leave it alive; that it ends well afterwards is a test too."""
    one = Running(path, "--timeout", str(TIMEOUT_S), "--max-mb", "1")
    yield one
    assert one.stop() == (0, "Stopping.\n")


def test_it_says_where_and_what_answers(running, path):
    assert "Listening at http://127.0.0.1:" in running.said
    assert f"{path.stem} (Classifier, 3 classes) is ready with torch" in running.said
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/ready") as answer:
        assert json.load(answer) == {"status": "ready"}


def test_a_client_that_is_still_sending_too_much_is_told_so(running):
    status, told = running.post(bytes(8_000_000), kind="image/png")
    assert (status, told["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("where", ["header", "body"])
def test_a_client_that_sends_a_byte_now_and_then_is_cut(running, picture, where):
    content = picture(1)
    began, told = time.monotonic(), b""
    with running.connect() as client:
        client.settimeout(0.1)
        if where == "body":
            client.sendall(head(content))
        for byte in head(content) + content:
            try:
                client.sendall(bytes([byte]))
                part = client.recv(65536)
                told += part
                if not part:
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert time.monotonic() - began < 3 * TIMEOUT_S + 3
    assert (b" 408 " in told) == (where == "body")
    assert running.get("/health")[0] == 200


def test_a_header_that_never_ends_is_refused(running):
    with running.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 200_000)
        status, told = answered(client)
        assert (status, told["error"]["code"]) == (400, "malformed")
    assert running.get("/health")[0] == 200


def test_clients_that_go_away_do_no_harm(running, picture):
    content = picture(1)
    for cut in (0, 10, len(content) // 2, len(content)):
        with running.connect() as client:
            client.sendall(head(content) + content[:cut])
    status, told = running.post(content)
    assert status == 200
    assert told["results"][0]["label"] in ("red", "green", "blue")


def test_a_port_in_use_is_told_by_its_number(typed, path):
    with server.bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        code, said = typed(path, "--port", port)
    assert code == 1
    assert f"Port {port} of 127.0.0.1 is in use" in said


def test_a_model_file_changed_by_one_bit_is_named_as_damaged(typed, path, tmp_path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    code, said = typed(damaged, "--port", 0)
    assert code == 1
    assert "is damaged" in said
    assert "Listening" not in said


def test_who_can_be_reached_by_others_and_has_no_token_is_warned(typed, path, tmp_path, unrun, monkeypatch):
    monkeypatch.delenv("LAMINA_TOKEN", raising=False)
    assert "there is no token" in typed(path, "--host", "0.0.0.0", "--port", 0)[1]
    (tmp_path / "token").write_text("secret\n")
    assert typed(path, "--host", "0.0.0.0", "--port", 0, "--token-file", tmp_path / "token") == (0, "")
    monkeypatch.setenv("LAMINA_TOKEN", "secret")
    assert typed(path, "--host", "0.0.0.0", "--port", 0) == (0, "")
    assert typed(path, "--port", 0) == (0, "")


@pytest.mark.parametrize("held", ["", "  \n", "two words", "ä"])
def test_a_token_that_is_none_is_refused(typed, path, tmp_path, unrun, held):
    (tmp_path / "token").write_text(held)
    code, said = typed(path, "--port", 0, "--token-file", tmp_path / "token")
    assert (code, unrun) == (1, [])
    assert "holds no token" in said
    assert typed(path, "--port", 0, "--token-file", tmp_path / "none")[0] == 1


def test_workers_are_sent_what_was_typed_without_the_model(typed, path, unrun):
    assert typed(path, "--port", 0, "--workers", 2, "--engine", "torch", "--max-pictures", 3)[0] == 0
    ((make, where, workers),) = unrun
    assert workers == 2
    assert where.startswith("http://127.0.0.1:")
    assert len(pickle.dumps(make)) < 2000
    service = pickle.loads(pickle.dumps(make))().state.service
    assert (service.name, service.limits.max_pictures) == (path.stem, 3)


def test_an_unknown_engine_is_a_usage_error(typed, path, unrun):
    code, said = typed(path, "--engine", "onnx")
    assert code == 2
    assert "onnxruntime" in said


def test_it_says_in_which_precision_it_answers(path):
    one = Running(path, "--precision", "bfloat16")
    try:
        assert "% of the classes as torch's" in one.said
        assert "is ready with torch in bfloat16" in one.said
        assert one.get("/model")[1]["precision"] == "bfloat16"
    finally:
        one.stop()


def test_a_stop_finishes_what_was_accepted_and_refuses_what_is_new(path, picture):
    one, content = Running(path, "--timeout", "20"), picture(1)
    with one.connect() as accepted:
        accepted.sendall(head(content) + content[:100])
        time.sleep(0.3)
        one.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10
        while one.get("/ready")[0] != 503 and time.monotonic() < until:
            time.sleep(0.05)
        status, told = one.get("/ready")
        assert (status, told["error"]["code"]) == (503, "stopping")
        assert one.post(content)[1]["error"]["code"] == "stopping"
        accepted.sendall(content[100:])
        status, told = answered(accepted)
        assert status == 200
        assert told["results"][0]["label"] in ("red", "green", "blue")
    assert one.ended() == (0, "Stopping; 1 accepted request may take 20 s more. Ctrl-C again ends at once.\n")


@pytest.mark.slow
def test_a_stop_does_not_wait_longer_than_a_request_may_take(path, picture):
    one = Running(path, "--timeout", "1")
    with one.connect() as accepted:
        accepted.sendall(head(picture(1)))
        began = time.monotonic()
        assert one.stop(signal.SIGINT)[0] == 0
    assert time.monotonic() - began < 40  # of a machine with much to do; without an end it would be for ever


@pytest.mark.slow
def test_several_workers_answer_and_add_their_figures_up(path, picture):
    one = Running(path, "--workers", "2", workers=2)
    answers = []

    def ask():
        answers.extend(one.post(picture(seed))[0] for seed in range(10))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert answers == [200] * 40
    with urllib.request.urlopen(f"http://127.0.0.1:{one.port}/metrics") as answer:
        figures = answer.read().decode()
    assert 'lamina_requests_total{code="200",path="/predict"} 40.0' in figures
    assert one.stop()[0] == 0


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_replaced(path, picture):
    one = Running(path, "--workers", "2", workers=2)
    children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
    worker = next(child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())
    os.kill(int(worker), signal.SIGKILL)
    said = ""
    for line in one.process.stderr:
        said += line
        if " is ready with " in line:
            break
    assert f"Worker {worker} died (exit code -9); another takes its place." in said
    assert {one.post(picture(seed))[0] for seed in range(8)} == {200}
    assert one.stop() == (0, "Stopping; what was accepted is finished first.\n")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_engine_that_cannot_be_made_ends_the_server(path, tmp_path, workers):
    (tmp_path / "openvino.py").write_text("raise ImportError")
    command = [
        sys.executable,
        "-m",
        "lamina",
        "serve",
        path,
        "--port",
        "0",
        "--engine",
        "openvino",
        "--workers",
        workers,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=env, timeout=300)
    assert ended.returncode == 1, ended.stderr
    assert 'pip install "lamina[openvino]"' in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_stop_by_hand_waits_for_nothing(path, picture, first):
    one = Running(path, "--timeout", "60")
    with one.connect() as accepted:
        accepted.sendall(head(picture(1)))
        one.process.send_signal(first)
        until = time.monotonic() + 10
        while one.get("/ready")[0] != 503 and time.monotonic() < until:
            time.sleep(0.05)
        began = time.monotonic()
        assert one.stop(signal.SIGINT)[0] == 0
    assert time.monotonic() - began < 20


def test_a_free_port_is_bound_and_a_taken_one_is_refused():
    with server.bound("127.0.0.1", 0) as one:
        taken = one.getsockname()[1]
        assert server.address("0.0.0.0", one) == f"http://127.0.0.1:{taken}"
        with pytest.raises(LaminaError, match=f"Port {taken}"), server.bound("127.0.0.1", taken):
            pass
    with server.bound("127.0.0.1", taken):  # and is free again
        pass


def test_an_address_that_cannot_be_is_told_at_once_and_warned_of_by_nobody(typed, path, monkeypatch):
    monkeypatch.setattr(server.socket, "getaddrinfo", None)  # which may ask a name server, for seconds
    for host in ("300.1.2.3", "1.2.3", "1.2.3.4.5", "10.0.0.256"):
        code, said = typed(path, "--host", host, "--port", 0)
        assert code == 1
        assert f"{host} cannot be listened at" in said
        assert "no token" not in said


def test_a_large_picture_leaves_no_line_in_the_log(running):
    from PIL import Image

    written = io.BytesIO()
    Image.new("1", (10_000, 9_000)).save(written, "PNG")  # Pillow warns above 89 megapixels
    status, told = running.post(written.getvalue(), kind="image/png")
    assert (status, told["error"]["code"]) == (413, "too_many_pixels")  # what it said is looked at when it stops


@pytest.mark.parametrize("host", ["256.1.1.1", "no such host", "203.0.113.7"])
def test_an_address_that_is_not_this_machines_is_told(host):
    with pytest.raises(LaminaError, match="cannot be listened at"), server.bound(host, 0):
        pass


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_it_is_known_who_can_reach_an_address(host, local):
    assert server.is_local(host) is local
