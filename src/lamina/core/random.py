"""Stateless randomness: every draw is a function of a key, so a run can be repeated, split and resumed anywhere.

The mixer is SplitMix64's finalizer (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

import contextlib
import random as python_random
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

_HAS_MPS = torch.backends.mps.is_available()
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB


def key(*parts: int) -> int:
    """One non-negative 63-bit key from any integers, such as (seed, epoch) or (seed, step, rank)."""
    state = 0
    for part in parts:
        state = (state + _GOLDEN + (part & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * _MIX1) & _MASK
        state = ((state ^ (state >> 27)) * _MIX2) & _MASK
        state ^= state >> 31
    return state >> 1


def order(order_key: int, count: int) -> Int64[Tensor, " N"]:
    """A random permutation of 0 .. count-1, a function of the key alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(order_key))


def order_nearby(order_key: int, count: int, window: int) -> Int64[Tensor, " N"]:
    """A permutation of 0 .. count-1 in which what comes together lies together: a function of the key alone.

    Runs of window / 8 neighbours come in a random order, and `window` samples in a row are shuffled, as by a buffer of that
    size. So a disk that is slow to jump is read run by run, and every sample comes exactly once.
    """
    run = max(window // 8, 1)
    generator = torch.Generator().manual_seed(order_key)
    starts = torch.randperm(-(-count // run), generator=generator) * run
    lengths = (count - starts).clamp(max=run)
    before = lengths.cumsum(0) - lengths
    rows = torch.repeat_interleave(starts - before, lengths) + torch.arange(count)
    shift = int(torch.randint(window, (1,), generator=generator))
    windows = (torch.arange(count) + shift) // window
    return rows[torch.argsort(windows + torch.rand(count, dtype=torch.float64, generator=generator))]


def draw(draw_key: int, weights: Float[Tensor, " N"], count: int) -> Int64[Tensor, " M"]:
    """`count` numbers of 0 .. N-1 with replacement, each as likely as its weight: a function of the key and the weights.

    `torch.multinomial` stops at 2**24 weights.
    """
    upto = weights.double().cumsum(0)
    at = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(draw_key)) * upto[-1]
    return torch.searchsorted(upto, at, right=True).clamp_(max=len(weights) - 1)


def uniforms(draw_key: int, positions: Int64[Tensor, " B"], draws: int) -> Float[Tensor, "B D"]:
    """Numbers in [0, 1), `draws` for each position in the epoch: a function of (key, position) and of nothing else.

    Which batch a position falls into, and which worker makes it, changes nothing.
    """
    columns = torch.arange(draws, dtype=torch.int64, device=positions.device)
    state = (positions[:, None] * draws + columns + 1) * _signed(_GOLDEN) + _signed(draw_key * 2 + 1)
    state = (state ^ _shift_right(state, 30)) * _signed(_MIX1)
    state = (state ^ _shift_right(state, 27)) * _signed(_MIX2)
    state = state ^ _shift_right(state, 31)
    return _shift_right(state, 40).to(torch.float32) * 2.0**-24


def reseed(step_key: int) -> None:
    """Sets torch's default generators, which dropout and its kin draw from.

    `torch.manual_seed` does the same at about a hundred times the cost: it also visits backends that are not there.
    """
    torch.default_generator.manual_seed(step_key)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(step_key)
    elif _HAS_MPS:
        torch.mps.manual_seed(step_key)


def reseed_all(batch_key: int) -> None:
    """Sets torch's, numpy's and Python's own generators, which a data set of one's own may draw from."""
    reseed(batch_key)
    reseed_host(batch_key)


def reseed_host(sample_key: int) -> None:
    """As `reseed_all`, of torch's the processor's alone: a process that reads has nothing on other devices."""
    torch.default_generator.manual_seed(sample_key)
    np.random.seed(sample_key & 0xFFFFFFFF)
    python_random.seed(sample_key)


@contextlib.contextmanager
def keeping_others() -> Iterator[None]:
    """Puts numpy's and Python's own generators back to where they stood, as `state` and `restore` do with torch's."""
    drawn = np.random.get_state(), python_random.getstate()
    try:
        yield
    finally:
        np.random.set_state(drawn[0])
        python_random.setstate(drawn[1])


def state() -> list[Tensor]:
    """Where torch's default generators stand; `restore` puts them back there."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += torch.cuda.get_rng_state_all()
    elif _HAS_MPS:
        states.append(torch.mps.get_rng_state())
    return states


def restore(states: list[Tensor]) -> None:
    """Takes back what `state` gave."""
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.set_rng_state_all(states[1:])
    elif len(states) > 1 and _HAS_MPS:
        torch.mps.set_rng_state(states[1])


def _signed(value: int) -> int:
    """The 64-bit pattern of `value` as torch's signed int64 holds it; products then wrap around as in C."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's `>>` on int64 would copy the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
