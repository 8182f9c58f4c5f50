"""The cache, its locks and its errors, and processes that share it; the server is conftest.py's."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from lamina.core import download as downloads
from lamina.core import transfer
from lamina.core.download import download
from lamina.core.errors import DownloadError, LaminaError

CONTENT = bytes(range(256)) * 1200  # what the server has
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


pytestmark = pytest.mark.usefixtures("home")


def fetch(*urls, digest=SHA256, **told):
    return download(list(urls), name="file.bin", digest=digest, console=Console(file=io.StringIO()), **told)


def ranges(server):
    return [asked.get("Range", "") for asked in server.asked]


def leftovers(home):
    return sorted(path.name for path in (home / "files").iterdir() if path.name != "file.bin")


@pytest.mark.parametrize("digest", [SHA256, SHA256[:15], "md5:" + hashlib.md5(CONTENT).hexdigest()])
def test_a_file_comes_once_and_is_used_without_a_network_then(server, home, digest):
    path = fetch(server.url, digest=digest)
    assert path == home / "files" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert leftovers(home) == []
    server.plan.append("status 500")
    assert fetch(server.url, digest=digest) == path
    assert fetch("http://127.0.0.1:1/nobody", digest=digest) == path
    assert len(server.asked) == 1


def test_without_a_network_the_error_says_where_the_file_may_be_put(home):
    with pytest.raises(DownloadError) as told:
        fetch("http://127.0.0.1:1/a", "http://nowhere.invalid/b")
    text = str(told.value)
    assert "http://127.0.0.1:1/a failed: Connection refused" in text
    assert "http://nowhere.invalid/b was not found: no network, or no such host" in text
    assert f"save it as {home / 'files' / 'file.bin'}" in text
    (home / "files" / "file.bin").write_bytes(CONTENT)
    assert fetch("http://127.0.0.1:1/a").read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_fetched_again(server, home):
    (home / "files").mkdir(parents=True)
    (home / "files" / "file.bin").write_bytes(CONTENT[:-1])
    assert fetch(server.url).read_bytes() == CONTENT
    (home / "files" / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=r"file\.bin is damaged, and file\.bin could not be downloaded"):
        fetch("http://127.0.0.1:1/a")


def test_a_file_of_torch_is_used_where_it_lies_if_it_is_the_genuine_one(server, home, tmp_path):
    beside = tmp_path / "torch" / "hub" / "checkpoints" / "file.bin"
    beside.parent.mkdir(parents=True)
    beside.write_bytes(CONTENT)
    assert fetch(server.url) == beside
    beside.write_bytes(b"another")
    assert fetch(server.url) == home / "files" / "file.bin"
    assert beside.read_bytes() == b"another"


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    assert downloads.home() == tmp_path / "home"
    monkeypatch.delenv("LAMINA_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert downloads.home() == tmp_path / "xdg" / "lamina"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    assert downloads.home() == tmp_path / ".cache" / "lamina"
    assert downloads.torch_folder() == tmp_path / ".cache" / "torch" / "hub" / "checkpoints"


def test_a_redirect_is_followed_to_the_web_only(server, second, tmp_path):
    server.plan.append(f"redirect {second.url}")
    assert fetch(server.url).read_bytes() == CONTENT
    (tmp_path / "secret").write_bytes(CONTENT)
    server.plan.append(f"redirect file://{tmp_path / 'secret'}")
    with pytest.raises(DownloadError, match=r"redirect to file://.*, not followed"):
        download(server.url, name="other.bin", digest=SHA256)


def test_an_encrypted_address_never_leads_to_an_open_one():
    request = transfer.urllib.request.Request("https://example.org/a")
    with pytest.raises(transfer.urllib.error.HTTPError, match="not followed") as told:
        transfer._Redirects().redirect_request(request, io.BytesIO(), 302, "Found", {}, "http://example.org/a")
    told.value.close()


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"digest": "sha256:12"}, "at least 8"),
        ({"digest": "12345678"}, "The hash of file is given as '12345678'"),
        ({"digest": "md5:12345678"}, "all 32"),
        ({"digest": "sha256:no hex digits"}, "at least 8"),
        ({"urls": "file:///etc/passwd"}, "https:// or http:// was expected"),
        ({"urls": []}, "No address"),
        ({"name": "../file"}, "A name without folders"),
    ],
)
def test_bad_arguments_are_refused(told, text):
    with pytest.raises(LaminaError, match=text):
        download(**{"urls": "http://127.0.0.1:1/a", "name": "file", "digest": SHA256, **told})


def test_a_published_length_that_differs_is_found_before_anything_comes(server):
    with pytest.raises(DownloadError, match="has a file of 307,200 bytes, not of 5"):
        fetch(server.url, size=5)


def test_a_disk_too_small_is_told_before_anything_comes(server, home, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(LaminaError, match=r"the disk is full: 0 MB are to come, 0 MB are free.*LAMINA_HOME"):
        fetch(server.url)


def test_a_disk_that_fills_up_on_the_way_is_told_and_what_came_is_kept(server, home, monkeypatch):
    def blocks(answer):
        yield answer.read(5000)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "blocks", blocks)
        with pytest.raises(LaminaError, match="the disk is full"):
            fetch(server.url)
    assert fetch(server.url).read_bytes() == CONTENT
    assert ranges(server) == ["", "bytes=5000-"]


def test_a_cache_that_is_no_folder_is_told(monkeypatch, tmp_path, server):
    (tmp_path / "home").write_bytes(b"")
    with pytest.raises(LaminaError, match=r"could not be written .*LAMINA_HOME"):
        fetch(server.url)


def test_elsewhere_than_on_a_terminal_it_is_one_line(server):
    text = io.StringIO()
    server.plan.append("cut 1000")
    download(server.url, name="file.bin", digest=SHA256, licence="CC BY 4.0", console=Console(file=text))
    assert text.getvalue() == f"file.bin: 0.3 MB from {server.url}  (CC BY 4.0)\n"


def test_a_terminal_has_a_bar_that_goes_away(server):
    text = io.StringIO()
    download(server.url, name="file.bin", digest=SHA256, console=Console(file=text, force_terminal=True, width=100))
    assert "━" in text.getvalue()
    assert "307.2/307.2 kB" in text.getvalue()


PROGRAM = """
import signal
import sys
from lamina.core import transfer
from lamina.core.download import download
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs are started without
print("begun", flush=True)
try:
    print(download(sys.argv[1], name="file.bin", digest=sys.argv[2]).stat().st_size)
except KeyboardInterrupt:
    print("stopped")
"""


def started(server, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url, SHA256],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_one_file_once(server, home):
    server.plan.append("stall 1000")
    programs = [started(server) for _ in range(2)]
    deadline = time.monotonic() + 20
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    server.released.set()
    ends = [program.communicate(timeout=30) for program in programs]
    assert [out for out, _ in ends] == ["begun\n307200\n"] * 2, ends
    assert ranges(server) == ["", "bytes=1000-"]
    assert (home / "files" / "file.bin").read_bytes() == CONTENT
    assert leftovers(home) == []


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_leaves_what_the_next_one_goes_on_from(server, home, kill):
    server.plan.append("stall 100000")
    program = started(server)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and sum(p.stat().st_size for p in home.rglob("*.part")) < 100_000:
        time.sleep(0.01)
    program.send_signal(kill)
    out, _ = program.communicate(timeout=30)
    assert ("stopped" in out) is (kill == signal.SIGINT)
    assert fetch(server.url).read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=100000-"


def test_threads_and_disks_without_locks_come_through_too(server, home, monkeypatch):
    monkeypatch.setattr(downloads, "alone", lambda *_, **__: io_without_locks())
    threads = [threading.Thread(target=fetch, args=(server.url,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (home / "files" / "file.bin").read_bytes() == CONTENT


class io_without_locks:  # noqa: N801
    def __enter__(self):
        return False

    def __exit__(self, *_):
        return None
