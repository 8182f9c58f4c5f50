"""Batches are handed out without a copy, and what somebody holds of one stays what it is."""

import gc
import multiprocessing

import pytest
import torch
from torch.utils.data import Dataset

from lamina.data import WorkerBatches

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
COUNT, BATCH = 40, 4


class Numbered(Dataset):
    """Pictures that are full of their own number."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return torch.full((3, 5, 6), index, dtype=torch.uint8), index


@pytest.fixture(params=[0, 1, 2])
def batches(request):
    made = WorkerBatches(Numbered(), BATCH, shuffle=True, seed=0, workers=request.param)
    yield made
    made.close()


WAYS = {
    "the batch": lambda batch: batch.inputs,
    "one picture": lambda batch: batch.inputs[1:],
    "an array": lambda batch: batch.inputs.numpy(),
    "an array of a part": lambda batch: batch.inputs[:, :1].numpy()[1:],
}


@pytest.mark.parametrize("held", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("every", [1, 2, 3])
def test_what_is_held_of_a_batch_is_never_read_over(batches, held, every):
    kept, wanted = [], []
    for epoch in range(3):
        for number, batch in enumerate(batches.epoch(epoch)):
            if number % every == 0:
                kept.append(held(batch))
                wanted.append(torch.as_tensor(kept[-1]).clone())
    assert all(torch.equal(torch.as_tensor(mine), other) for mine, other in zip(kept, wanted, strict=True))
    seen = torch.cat([batch.inputs[:, 0, 0, 0] for batch in batches.epoch(3)])
    assert sorted(seen.tolist()) == list(range(COUNT))


def test_batches_that_nobody_holds_lie_in_few_places():
    batches = WorkerBatches(Numbered(), BATCH, shuffle=True, workers=2)
    places = set()
    for epoch in range(4):
        for batch in batches.epoch(epoch):
            places.add(batch.inputs.data_ptr())
            assert torch.equal(batch.inputs[:, 0, 0, 0].long(), batch.targets)
    assert len(places) <= 8
    batches.close()


def test_a_batch_outlives_its_workers():
    batches = WorkerBatches(Numbered(), BATCH, shuffle=True, workers=2)
    batch = next(iter(batches.epoch(0)))
    kept, wanted = batch.inputs, batch.inputs.clone()
    batches.close()
    del batch, batches
    gc.collect()
    assert torch.equal(kept, wanted)
