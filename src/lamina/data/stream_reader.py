"""What a stream reads, in which order: the shards of a process's stretch, each from its front, through a shuffle buffer."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from lamina.core import random
from lamina.core.errors import DataError
from lamina.data import tar_stream
from lamina.data.loader import part_of
from lamina.data.stream_crew import Part
from lamina.data.stream_order import Buffer, Shares, Span, draws, sequence
from lamina.data.stream_source import Source
from lamina.data.tar_bytes import Stop
from lamina.data.tar_stream import Sample


class StreamReader(NamedTuple):
    """Reads one process's share of some shards; `shuffle` samples are mixed."""

    source: Source
    shares: Shares
    shuffle: int
    seed: int

    def numbers(self, epoch: int, batch: int) -> list[int]:
        """Which samples a batch holds, as they are counted through the shards as listed. Nothing is read."""
        spans, bases, (first, _) = self._spans(epoch), self._bases(), self.shares.stretch()
        _, taken = self._begun(epoch, batch)
        places = [first + next(taken) for _ in range(*self.shares.positions(batch))]
        chosen = [spans[bisect_left(spans, place + 1, key=lambda span: span.last)] for place in places]
        return [bases[span.shard] + place - span.first for span, place in zip(chosen, places, strict=True)]

    def epoch(self, epoch: int, start: int, stop: Stop) -> Generator[Part, None, None]:
        """The batches of an epoch from the `start`-th on, as files."""
        shares, spans = self.shares, self._spans(epoch)
        buffer, numbers = self._begun(epoch, start)
        first, last = shares.stretch()
        wanted = [first + number for number in sorted(buffer.held)]
        reader = self._samples(spans, wanted, (first + buffer.entered, last), stop)
        held: dict[int, tuple[int, Sample]] = {}
        with contextlib.closing(reader):
            for batch in range(start, shares.batches):
                position, behind = shares.positions(batch)
                taken = []
                for _ in range(position, behind):
                    at = first + next(numbers)
                    while at not in held:
                        came, number, sample = next(reader)
                        held[came] = number, sample
                    taken.append(held.pop(at))
                yield Part(position, [number for number, _ in taken], [sample for _, sample in taken])
            next(reader, None)  # none is left, but the last shard has to end as it should

    def listed(self, share: int, stop: Stop) -> Generator[Part, None, None]:
        """This process's part of the samples in their own order, `share` at a time, as files."""
        first, last = part_of(self.source.samples, self.shares.shard)
        reader = self._samples(sequence(self.source.counts, None), [], (first, last), stop)
        with contextlib.closing(reader):
            for begin in range(first, last, share):
                several = [next(reader) for _ in range(min(share, last - begin))]
                yield Part(begin, [number for _, number, _ in several], [sample for _, _, sample in several])
            next(reader, None)

    def _spans(self, epoch: int) -> list[Span]:
        return sequence(self.source.counts, random.key(self.seed, epoch) if self.shuffle else None)

    def _bases(self) -> list[int]:
        return [span.first for span in sequence(self.source.counts, None)]

    def _begun(self, epoch: int, start: int) -> tuple[Buffer, Iterator[int]]:
        """The buffer as it is when a batch begins, and what it gives from there on, as numbers in this process's stretch."""
        shares = self.shares
        first, last = shares.stretch()
        buffer = Buffer(max(self.shuffle, 1), last - first)
        positions = (position for batch in range(shares.batches) for position in range(*shares.positions(batch)))
        numbers = map(buffer.take, draws(self.seed, epoch, positions))
        for _ in range(shares.before(start)):
            next(numbers)
        return buffer, numbers

    def _samples(
        self, spans: Sequence[Span], wanted: Sequence[int], rest: tuple[int, int], stop: Stop
    ) -> Generator[tuple[int, int, Sample], None, None]:
        """(position in the sequence, number, sample) of those at some positions, and of the rest. Other shards are not opened."""
        bases = self._bases()
        for shard, begin, end in spans:
            some = set(wanted[bisect_left(wanted, begin) : bisect_left(wanted, end)])
            more = range(max(begin, rest[0]), min(end, rest[1]))
            if not some and not more:
                continue
            latest = more[-1] if more else max(some)
            for row, sample in enumerate(self._whole(shard, stop, until=latest - begin)):
                if begin + row in some or begin + row in more:
                    yield begin + row, bases[shard] + row, sample

    def _whole(self, shard: int, stop: Stop, *, until: int) -> Iterator[Sample]:
        """The samples of a shard up to one of them; to its end where that is the last. Raises DataError where they are not as many."""
        place, count = self.source.places[shard], self.source.counts[shard]
        seen, last = 0, ""
        with contextlib.closing(tar_stream.samples(place, stop)) as samples:
            for sample in samples:
                if isinstance(sample, str):
                    continue  # it has no picture, or no label, and was not counted
                seen, last = seen + 1, sample.name
                if seen > count:
                    break
                yield sample
                if until < seen < count:
                    return
        if seen != count:
            raise DataError(
                f"{place} holds {'more than' if seen > count else 'only'} {min(seen, count):,} samples"
                + (f"; its last whole sample is {last}." if last else "."),
                f"It held {count:,} when they were counted.",
                "Copy it again, or write the shards and their index anew.",
            )
