"""Processes that answer tasks, whatever happens to them."""

import os
import signal
import time

import pytest

from lamina.core.errors import LaminaError
from lamina.data.pool import Pool


def test_each_worker_answers_in_order():
    pool = Pool(bytes, 2)
    for size in (3, 1, 4):
        pool.send(1, size)
    assert [len(pool.receive()) for _ in range(3)] == [3, 1, 4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_worker_that_is_killed_in_the_middle_of_its_answer_is_noticed(within):
    pool = Pool(bytes, 2)
    with within(20):
        for worker in (0, 1):
            pool.send(worker, 2 << 20)  # more than a pipe holds
        while not pool._ends[0].poll(0.1):
            pass
        os.kill(pool.pids()[0], signal.SIGKILL)
        with pytest.raises(LaminaError, match=r"(?s)Worker 1 of 2.*SIGKILL.*data\.WorkerBatches\(dataset, workers=1\)"):
            pool.receive()
    pool.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork server here")
def test_workers_of_a_fork_server_wait_for_their_next_task(monkeypatch, within):
    monkeypatch.setattr("lamina.data.pool.start_method", lambda: "forkserver")
    pool = Pool(abs, 1)
    with within(60):
        pool.send(0, -1)
        assert pool.receive() == 1
        time.sleep(1.5)  # longer than a worker waits before it looks whether its parent is there
        pool.send(0, -2)
        assert pool.receive() == 2
    pool.close()
