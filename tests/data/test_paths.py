"""Many file names in one block."""

import pickle
from pathlib import Path

import pytest
import torch

from lamina.data.paths import Paths

NAMES = [f"/data/class{index % 7}/ä{index}.jpg" for index in range(200)]


def test_reads_as_the_list_of_paths_that_it_was_made_of():
    paths = Paths(NAMES)
    assert list(paths) == [Path(name) for name in NAMES]
    assert (paths[3], paths[-1], len(paths)) == (Path(NAMES[3]), Path(NAMES[-1]), 200)
    assert list(paths[10:20:3]) == [Path(name) for name in NAMES[10:20:3]]
    assert paths == [Path(name) for name in NAMES]
    assert paths != [Path(name) for name in NAMES[1:]]
    with pytest.raises(IndexError):
        paths[200]


def test_takes_any_order_with_repetitions():
    order = [*torch.randperm(200)[:50].tolist(), 3, 3]
    assert list(Paths(NAMES).take(torch.tensor(order))) == [Path(NAMES[index]) for index in order]
    assert list(Paths(NAMES).take([])) == list(Paths([])) == []


def test_names_that_share_nothing_or_are_one_another_s_beginning_stay_whole():
    for names in (["/a", "b"], ["/a/b", "/a/b/c"], ["/a", "/a"]):
        assert list(Paths(names)) == [Path(name) for name in names]


def test_takes_little_more_room_than_the_names():
    many = Paths([f"/somewhere/far/away/{index:08d}.jpg" for index in range(100_000)])
    assert len(pickle.dumps(many)) < 100_000 * (12 + 8 + 1)


def test_is_equal_to_the_same_paths_and_to_nothing_else():
    assert Paths(["q", "r"]) == Paths(["q", "r"]) == [Path("q"), Path("r")]
    assert Paths(["q", "r"]) != ["q", "r"]
    assert Paths(["q", "r"]) != ["s", "t"]


def test_counts_from_the_end_and_refuses_what_is_outside():
    assert list(Paths(NAMES).take([-1, 0, -200])) == [Path(NAMES[-1]), Path(NAMES[0]), Path(NAMES[0])]
    for outside in (200, -201):
        with pytest.raises(IndexError):
            Paths(NAMES).take([outside])
