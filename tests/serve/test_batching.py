"""Batches: what is gathered, dropped, refused and late, with a computation that the test holds in its hand."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from lamina.serve import Limits
from lamina.serve.batching import Batcher, Group
from lamina.serve.incoming import Upload
from lamina.serve.metrics import Figures
from lamina.serve.refusals import Refused


class Held:
    """A batcher whose computation waits until `free` is set, and notes its batches. Uploads are numbers as text."""

    def __init__(self, **limits):
        self.free, self.computing, self.batches = threading.Event(), threading.Event(), []
        self.figures = Figures()
        self.batcher = Batcher(
            self.decode, self.compute, self.tell,
            limits=Limits(**limits), figures=self.figures, threads=2,
        )  # fmt: skip
        self.batcher.start(lambda: None)

    def decode(self, upload):
        if upload.content == "bad":
            raise Refused("unreadable", "It is bad.", "A number was expected.", "Send one.")
        if upload.content == "crash":
            raise RuntimeError("crash")
        return np.full((1, 2, 2), int(upload.content), np.uint8), (int(upload.content), 7)

    def compute(self, batch):
        self.batches.append(batch[:, 0, 0, 0].tolist())
        self.computing.set()
        assert self.free.wait(20)
        return batch[:, 0, 0, 0].astype(int)

    def tell(self, rows, sizes):
        assert [size[0] for size in sizes] == [int(row.flat[0]) for row in rows]
        return [int(row.flat[0]) for row in rows]

    def group(self, *contents, until=60.0, after=None):
        group = Group([Upload(content, content) for content in contents], until=time.monotonic() + until, after=after)
        self.batcher.submit(group)
        return group

    async def busy(self):
        """One picture is being computed, and holds the engine's thread."""
        first = self.group("9")
        await asyncio.to_thread(self.computing.wait, 20)
        return first


@pytest.fixture
def held():
    made = []

    def hold(**limits):
        made.append(Held(**limits))
        return made[-1]

    yield hold
    for one in made:
        one.free.set()
        one.batcher.stop()


def test_what_comes_while_a_batch_is_computed_makes_the_next_batches(held):
    one = held(batch=4, wait_ms=50.0)

    async def go():
        groups = [await one.busy(), *[one.group(str(number)) for number in range(6)]]
        await asyncio.sleep(0.2)  # until they are decoded
        one.free.set()
        await asyncio.gather(*(group.done for group in groups))
        return [group.answers for group in groups]

    assert asyncio.run(go()) == [[9], [0], [1], [2], [3], [4], [5]]
    assert sorted(len(batch) for batch in one.batches) == [1, 2, 4]
    assert one.batcher.under_way == 0


def test_a_picture_alone_does_not_wait_for_others(held):
    one = held(wait_ms=5000.0)
    one.free.set()

    async def go():
        began = time.monotonic()
        await one.group("1").done
        return time.monotonic() - began

    assert asyncio.run(go()) < 2.5


def test_it_waits_for_a_request_that_is_being_read(held):
    one = held(wait_ms=400.0)
    one.free.set()
    one.batcher.arriving = 1

    async def go():
        first = one.group("1")
        await asyncio.sleep(0.1)
        second = one.group("2")
        await asyncio.gather(first.done, second.done)

    asyncio.run(go())
    assert one.batches == [[1, 2]]


def test_what_cannot_be_decoded_is_told_and_the_rest_of_the_request_is_answered(held):
    one = held()
    one.free.set()

    async def go():
        group = one.group("1", "bad", "crash", "2")
        await group.done
        return group.answers

    first, bad, crash, second = asyncio.run(go())
    assert (first, second) == (1, 2)
    assert (bad.code, crash.code) == ("unreadable", "failed")


def test_pictures_of_clients_that_have_gone_are_dropped_before_compute(held):
    one = held()

    async def go():
        first, gone, stays = await one.busy(), one.group("1", "2"), one.group("3")
        await asyncio.sleep(0.1)
        gone.gone = True
        one.free.set()
        await asyncio.gather(first.done, stays.done)

    asyncio.run(go())
    assert one.batches == [[9], [3]]
    assert one.batcher.under_way == 0
    assert one.figures.abandoned._value.get() == 2


def test_pictures_whose_time_is_over_are_not_computed(held):
    one = held()

    async def go():
        first, late = await one.busy(), one.group("1", until=0.05)
        await asyncio.sleep(0.2)
        one.free.set()
        await asyncio.gather(first.done, late.done)
        return late.answers

    assert asyncio.run(go())[0].code == "timeout"
    assert one.batches == [[9]]


def test_a_request_that_the_queue_has_no_room_for_is_refused_as_a_whole(held):
    one = held(queue=3)

    async def go():
        first, second = await one.busy(), one.group("1")
        with pytest.raises(Refused, match="At most 3") as refused:
            one.group("2", "3")
        third = one.group("4")
        one.free.set()
        await asyncio.gather(first.done, second.done, third.done)
        await one.group("5", "6", "7").done  # and there is room again
        return refused.value

    told = asyncio.run(go())
    assert (told.code, told.status) == ("busy", 503)
    assert all(2 not in batch for batch in one.batches)


def test_what_is_made_of_an_answer_is_made_in_a_decoding_thread(held):
    one = held()
    one.free.set()

    def after(picture):
        if picture.upload.content == "2":
            raise RuntimeError("no ink")
        return f"{picture.upload.content} drawn, {picture.answer}, {threading.current_thread().name}"

    async def go():
        group = one.group("1", "2", after=after)
        await group.done
        return group.answers

    drawn, failed = asyncio.run(go())
    assert drawn.startswith("1 drawn, 1, lamina-decode")
    assert failed.code == "failed"


def test_many_requests_from_many_sides_are_all_answered_right(held):
    one = held(batch=8, queue=4096, wait_ms=1.0)
    one.free.set()

    async def client(number):
        for step in range(20):
            contents = [str((number * 31 + step * 7 + place) % 250) for place in range(1 + step % 3)]
            group = one.group(*contents)
            await group.done
            assert [str(answer) for answer in group.answers] == contents

    async def go():
        await asyncio.gather(*(client(number) for number in range(32)))

    asyncio.run(go())
    assert one.batcher.under_way == 0
    assert one.figures.queue._value.get() == 0


def test_an_engine_that_fails_on_one_batch_answers_the_next(held):
    one = held(batch=2)
    one.free.set()
    compute, turns = one.batcher._compute, iter([RuntimeError("a cable was cut"), lambda rows: rows[:0], None])

    def failing(batch):
        turn = next(turns)
        if isinstance(turn, Exception):
            raise turn
        return compute(batch) if turn is None else turn(compute(batch))

    one.batcher._compute = failing

    async def go():
        told = []
        for number in "123":
            group = one.group(number)
            await group.done
            told += group.answers
        return told

    failed, short, answered = asyncio.run(go())
    assert (failed.code, short.code) == ("failed", "failed")  # also of an engine that gives too few rows
    assert answered == 3
    assert one.batcher.under_way == 0


def test_what_would_wait_longer_than_it_may_is_refused_at_once(held):
    """By the pace of the last pictures: a 503 now is better than a 504 when its time is over."""
    one = held(batch=8, queue=4096, timeout_s=10.0)
    one.free.set()

    async def go():
        for _ in range(9):
            await one.group(*map(str, range(8))).done
        assert one.batcher._pace.picture_s < 1
        one.batcher._pace.picture_s = 0.5  # as on a machine with much else to do
        one.free.clear()
        one.computing.clear()
        first = await one.busy()  # who comes alone is never refused
        second = one.group("1", until=10.0)
        with pytest.raises(Refused, match=r"some 20 s.*A request is answered in 10 s") as refused:
            one.group(*map(str, range(38)), until=10.0)
        one.free.set()
        await asyncio.gather(first.done, second.done)
        return refused.value

    assert asyncio.run(go()).code == "busy"
    assert one.batcher.under_way == 0


def test_the_pace_is_of_pictures_that_were_answered_while_there_was_work(monkeypatch):
    from lamina.serve import batching

    now = [100.0]
    monkeypatch.setattr(batching.time, "monotonic", lambda: now[0])
    pace = batching.Pace()
    assert pace.seconds(1000) == 0.0  # nothing is known
    now[0] = 500.0
    pace.begins()  # what was before was rest
    for _ in range(8):
        now[0] += 0.8
        pace.note(8)
    assert pace.seconds(50) == pytest.approx(5.0)
    for _ in range(40):
        now[0] += 8.0
        pace.note(8)
    assert pace.seconds(1) == pytest.approx(1.0, rel=0.02)
