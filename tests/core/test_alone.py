"""One at a time, by a lock on a file."""

import threading
import time

import pytest

from lamina.core.alone import alone


def test_the_second_waits_until_the_first_is_done_and_is_told_once(tmp_path):
    path, order, waits = tmp_path / "lock", [], []
    inside = threading.Event()

    def second():
        inside.wait()
        with alone(path, waiting=lambda: waits.append(1)) as locked:
            order.append(("second", locked))

    thread = threading.Thread(target=second)
    thread.start()
    with alone(path) as locked:
        inside.set()
        time.sleep(0.3)
        order.append(("first", locked))
    thread.join(10)
    assert order == [("first", True), ("second", True)]
    assert waits == [1]
    assert not path.exists()


def test_a_block_that_fails_frees_the_lock_and_leaves_the_file(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(KeyError), alone(path):
        raise KeyError
    assert path.exists()
    with alone(path, waiting=lambda: pytest.fail("it is still held")) as locked:
        assert locked


def test_where_the_disk_knows_no_locks_nobody_waits(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refused)
    with alone(tmp_path / "lock") as locked:
        assert not locked
