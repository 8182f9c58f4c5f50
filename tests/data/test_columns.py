"""Annotations by column: the numbers of each sample, some samples of a column, what is drawn or read when asked for."""

import pickle

import numpy as np
import pytest
import torch

from lamina.data.columns import Beside, Fixed, Ragged, Shapes, Texts, ends_of
from lamina.data.paths import Paths

SIZE = (10, 20)
ROWS = np.array([2, 0, 2])


def painted(entry, size):
    mask = np.zeros(size, dtype=bool)
    mask[entry["y"], entry["x"]] = True
    return mask


def beside(path, size):
    return path, size


COLUMNS = {
    "fixed": Fixed(np.arange(6).reshape(3, 2)),
    "ragged": Ragged(np.arange(8, dtype=np.float32).reshape(4, 2), np.array([0, 1, 1, 4])),
    "texts": Texts([["a", "bé"], [], ["日本"]]),
    "shapes": Shapes(Texts([['{"x": 1, "y": 2}'], [], ['{"x": 3, "y": 4}', '{"x": 0, "y": 0}']]), painted),
    "beside": Beside(Paths(["/m/1", "", "/m/3"]), beside),
}


def plain(value):
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("name", COLUMNS)
def test_some_samples_know_what_they_knew_before(name):
    column = COLUMNS[name]
    some = column.take(ROWS)
    assert len(column) == 3
    assert len(some) == 3
    assert [plain(some.at(at, SIZE)) for at in range(3)] == [plain(column.at(int(row), SIZE)) for row in ROWS]
    again = pickle.loads(pickle.dumps(some))
    assert plain(again.at(1, SIZE)) == plain(some.at(1, SIZE))
    assert len(column.take(np.array([], dtype=np.int64))) == 0


def test_each_sample_has_its_own_numbers():
    ragged = COLUMNS["ragged"]
    assert ragged.at(0, SIZE).tolist() == [[0, 1]]
    assert ragged.at(1, SIZE).shape == (0, 2)
    assert ragged.at(2, SIZE).tolist() == [[2, 3], [4, 5], [6, 7]]
    grouped = Ragged.grouped(np.array([2, 0, 2]), np.array([[1.0], [2.0], [3.0]]), 3)
    assert [grouped.at(at, SIZE).flatten().tolist() for at in range(3)] == [[2.0], [], [1.0, 3.0]]


def test_numbers_given_out_do_not_lead_back_into_the_column():
    COLUMNS["fixed"].at(0, SIZE).zero_()
    COLUMNS["ragged"].at(0, SIZE).fill_(7)
    assert COLUMNS["fixed"].values[0].tolist() == [0, 1]
    assert COLUMNS["ragged"].values[0].tolist() == [0, 1]


def test_shares_of_the_picture_become_pixels():
    shares = Ragged(np.array([[0.5, 0.5, 1.0, 0.1]], dtype=np.float32), np.array([0, 1]), per_picture=True)
    assert shares.at(0, SIZE).tolist() == [[10.0, 5.0, 20.0, 1.0]]
    cut = Ragged(shares.values, shares.ends, per_picture=True, finish=lambda found, size: found.clamp(max=size[0]))
    assert cut.take(np.array([0])).at(0, SIZE).tolist() == [[10.0, 5.0, 10.0, 1.0]]


def test_masks_are_drawn_in_the_size_of_the_picture():
    masks = COLUMNS["shapes"].at(2, SIZE)
    assert masks.shape == (2, *SIZE)
    assert masks.nonzero().tolist() == [[0, 4, 3], [1, 0, 0]]
    assert COLUMNS["shapes"].at(1, SIZE).shape == (0, *SIZE)


def test_ends_count_from_zero():
    assert ends_of([2, 0, 3]).tolist() == [0, 2, 2, 5]
