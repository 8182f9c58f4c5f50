"""Pictures that cannot be read."""

import pytest
import torch
from torch.utils.data import Dataset

from lamina.core.errors import DataError
from lamina.data import WorkerBatches
from lamina.data.faults import candidates, failures, first_readable, first_sample, named


class Torn(Dataset):
    """Pictures from number `first` on can be read."""

    def __init__(self, first):
        self.first = first

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index < self.first:
            raise DataError(f"{index}.png cannot be read.", "A picture.", "Repair it.")
        return torch.full((1, 2, 2), index, dtype=torch.uint8), index


def test_the_sample_itself_comes_first_and_who_replaces_it_is_a_function_of_it():
    assert next(candidates(3, 10)) == 3
    assert list(candidates(3, 10)) == list(candidates(3, 10)) != list(candidates(4, 10))
    assert set(candidates(3, 10)) <= set(range(10))


def test_each_that_cannot_be_read_is_told_apart():
    assert {index: error.came for index, error in failures(6, Torn(2).__getitem__).items()} == {
        0: "0.png cannot be read.",
        1: "1.png cannot be read.",
    }
    with pytest.raises(ZeroDivisionError):  # no fault of the data's
        failures(3, lambda index: 1 // index)


def test_a_long_list_ends_with_how_many_more_there_are():
    assert named({2: "b", 1: "a"}) == "  a\n  b"
    assert named(dict.fromkeys(range(1020), "x")).splitlines()[-1] == "  ... and 1,000 more"


def test_the_first_pictures_need_not_be_readable():
    assert first_readable(Torn(4)).unique().tolist() == [4]
    assert first_sample(Torn(4))[1] == 4
    with pytest.warns(UserWarning, match="4 of 6"):
        assert [batch.targets.tolist() for batch in WorkerBatches(Torn(4), 6, workers=0)] == [[4, 5]]
    with pytest.raises(DataError, match=r"0\.png"):
        first_readable(Torn(6))
