"""What a checkpoint amid an epoch keeps of the metrics of many processes."""

from types import SimpleNamespace

import torch

from lamina import metrics
from lamina.training import loop


def test_a_checkpoint_of_many_processes_has_the_samples_of_all_where_a_metric_keeps_them():
    mine, theirs, whole = (metrics.get("mean_average_precision") for _ in range(3))
    mine.update(torch.tensor([[0.9, 0.1], [0.2, 0.7]]), torch.tensor([[1, 0], [1, 1]]))
    theirs.update(torch.tensor([[0.8, 0.3]]), torch.tensor([[0, 1]]))
    world = SimpleNamespace(size=2, gather=lambda sums: [sums, theirs.sums])
    whole.load_state_dict(loop._joined(mine, world))
    assert [len(rows) for rows in whole.sums] == [3, 3, 3]
