"""What servers and networks do to a transfer, and what comes of it; the server is conftest.py's."""

from __future__ import annotations

import hashlib
import io
import time

import pytest
from rich.console import Console

from lamina.core import download as downloads
from lamina.core import transfer
from lamina.core.download import download
from lamina.core.errors import DownloadError

CONTENT = bytes(range(256)) * 1200  # what the server has
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


pytestmark = pytest.mark.usefixtures("home")


def fetch(*urls, digest=SHA256, **told):
    return download(list(urls), name="file.bin", digest=digest, console=Console(file=io.StringIO()), **told)


def ranges(server):
    return [asked.get("Range", "") for asked in server.asked]


def leftovers(home):
    return sorted(path.name for path in (home / "files").iterdir() if path.name != "file.bin")


@pytest.mark.parametrize("how", ["cut 100000", "stall 100000"])
def test_a_broken_transfer_is_resumed(server, how):
    server.plan.append(how)
    assert fetch(server.url).read_bytes() == CONTENT
    assert ranges(server) == ["", "bytes=100000-"]
    assert server.asked[1]["If-Range"] == '"1"'


def test_a_file_of_the_right_hash_is_whole_whatever_length_the_server_declares(server):
    server.plan.extend(["longer"] * 9)  # which knows no ranges either
    assert fetch(server.url).read_bytes() == CONTENT
    assert ranges(server) == [""]


def test_without_an_etag_the_hash_alone_guards_what_is_resumed(server):
    server.plan.append("no-tag 1000")
    assert fetch(server.url).read_bytes() == CONTENT
    assert "If-Range" not in server.asked[1]


def test_a_server_that_knows_no_ranges_starts_anew(server):
    server.plan.extend(["cut 100000", "ranges-ignored"])
    assert fetch(server.url).read_bytes() == CONTENT


def test_a_file_that_changed_on_the_way_starts_anew(server):
    server.plan.extend(["cut 100000", "changed"])
    assert fetch(server.url).read_bytes() == CONTENT


def test_a_file_without_a_length_is_whole_when_its_hash_is(server):
    server.plan.append("no-length")
    assert fetch(server.url).read_bytes() == CONTENT


def test_another_part_than_asked_for_is_never_appended(server, second):
    server.plan.extend(["cut 100000", "another-part"])
    assert fetch(server.url, second.url).read_bytes() == CONTENT


def test_a_broken_transfer_goes_on_at_the_next_mirror(server, second):
    server.plan.append("cut 100000")
    assert fetch(server.url, second.url).read_bytes() == CONTENT
    assert ranges(second) == ["bytes=100000-"]


def test_a_transfer_that_breaks_often_but_moves_on_is_no_failure(server, monkeypatch):
    monkeypatch.setattr(transfer, "PROGRESS_BYTES", 20_000)
    server.plan.extend(["cut 30000"] * 10)
    assert fetch(server.url).read_bytes() == CONTENT
    assert len(server.asked) == 11


@pytest.mark.parametrize("kind", ["wrong", "page", "shorter", "empty"])
def test_wrong_bytes_are_thrown_away_and_the_next_mirror_is_asked(server, second, home, kind):
    server.plan.extend([kind] * 9)
    assert fetch(server.url, second.url).read_bytes() == CONTENT
    assert ranges(second) == [""]
    assert len(server.asked) == 1
    assert leftovers(home) == []


def test_bytes_of_two_addresses_that_do_not_fit_are_no_fault_of_the_second(server, second):
    server.plan.append("cut 1000")
    part = downloads.home() / "files" / f".file.bin.{SHA256[7:23]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"from elsewhere")
    assert fetch(server.url).read_bytes() == CONTENT
    assert ranges(server)[0] == "bytes=14-"


def test_wrong_bytes_everywhere_leave_nothing_behind(server, second, home):
    server.plan.append("wrong")
    second.plan.append("page")
    with pytest.raises(DownloadError) as told:
        fetch(server.url, second.url)
    text = str(told.value)
    assert f"{server.url} sent other bytes (400,000): its hash is wrong" in text
    assert f"{second.url} sent a web page (24)" in text
    assert f"A file whose SHA256 is {SHA256[7:]} was expected" in text
    assert not (home / "files" / "file.bin").exists()
    assert leftovers(home) == [".file.bin.lock"]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 3), (503, 3), (429, 3)])
def test_what_may_pass_is_tried_again_and_what_will_not_is_not(server, status, requests):
    server.plan.extend([f"status {status}"] * 9)
    with pytest.raises(DownloadError, match=rf"(?s){server.url} answered {status} .*save it as .*file\.bin"):
        fetch(server.url)
    assert len(server.asked) == requests


def test_a_server_that_recovers_is_enough(server):
    server.plan.extend(["status 503", "status 500"])
    assert fetch(server.url).read_bytes() == CONTENT


def test_waits_grow_between_the_rounds(server, monkeypatch):
    waited = []
    monkeypatch.setattr(transfer, "WAITS_S", (1.0, 4.0))
    monkeypatch.setattr(transfer.time, "sleep", waited.append)
    server.plan.extend(["status 500"] * 3)
    with pytest.raises(DownloadError):
        fetch(server.url)
    assert waited == [0.0, 1.0, 4.0]


def test_a_stalled_server_ends_by_its_timeout_and_what_came_is_kept(server, home, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.3)
    server.plan.extend(["stall 1000", "stall 0", "stall 0"])
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"(?s)stalled: nothing came for 0.3 s.*The 1,000 bytes that came are kept"):
        fetch(server.url)
    assert time.monotonic() - began < 20  # three times 0.3 s; usual are 30 s each time
    assert fetch(server.url).read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=1000-"


def test_a_trickle_is_a_stall(monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.3)

    class Drops:
        def read1(self, _):
            time.sleep(0.1)
            return b"x"

    with pytest.raises(transfer.TransferError, match=r"stalled: only \d bytes came"):
        list(transfer.blocks(Drops()))
