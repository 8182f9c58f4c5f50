"""One thread writes."""

import threading

import pytest

from lamina.training.writer import Writer


def test_a_job_runs_beside_the_caller_and_never_two_at_once():
    writer, goes_on, running, most = Writer(), threading.Event(), [], []

    def job():
        running.append(threading.current_thread())
        most.append(len(running))
        goes_on.wait(10)
        running.pop()

    writer.start(job)
    assert writer.busy
    threading.Timer(0.05, goes_on.set).start()
    writer.start(job)
    writer.wait()
    assert not writer.busy
    assert most == [1, 1]


@pytest.mark.parametrize("call", ["check", "wait", "start"])
def test_what_goes_wrong_is_raised_once_by_the_next_call(call):
    def fail():
        raise OSError("full")

    writer = Writer()
    writer.start(fail)
    while writer.busy:
        pass
    with pytest.raises(OSError, match="full"):
        getattr(writer, call)(*[fail] * (call == "start"))
    writer.check()
    writer.wait()
