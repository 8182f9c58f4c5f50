"""What holds for every metric: its state, inference mode, processes."""

from __future__ import annotations

import copy

import pytest
import torch

from lamina import losses, metrics

LOSS = losses.get("sparse_categorical_crossentropy")
OUTPUTS = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).softmax(1)
TARGETS = torch.nn.functional.one_hot(torch.arange(6), 8).float()
NAMES = ["accuracy", "top5", "precision", "recall", "f1", "mse", "mae"]


def seen(name: str, *parts: slice) -> metrics.Metric:
    metric = metrics.get(name)
    for part in parts:
        metric.update(OUTPUTS[part], TARGETS[part])
    return metric


@pytest.mark.parametrize("name", NAMES)
def test_batches_add_up_to_the_whole_and_a_reset_forgets(name: str) -> None:
    whole = seen(name, slice(0, 6))
    torch.testing.assert_close(seen(name, slice(0, 4), slice(4, 6)).compute(), whole.compute())
    whole.reset()
    assert torch.isnan(whole.compute())
    whole.update(OUTPUTS[:2], TARGETS[:2])
    torch.testing.assert_close(whole.compute(), seen(name, slice(0, 2)).compute())


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_and_later_updates_leave_it_alone(name: str) -> None:
    metric = seen(name, slice(0, 4))
    state, other = metric.state_dict(), copy.deepcopy(metric)
    metric.update(OUTPUTS[4:], TARGETS[4:])
    expected = metric.compute()
    for resumed in (other, metrics.get(name)):
        resumed.load_state_dict(state)
        resumed.update(OUTPUTS[4:], TARGETS[4:])
        torch.testing.assert_close(resumed.compute(), expected)


@pytest.mark.parametrize("name", NAMES)
def test_sums_made_in_inference_mode_can_be_added_to_outside(name: str) -> None:
    metric = metrics.get(name)
    with torch.inference_mode():
        metric.update(OUTPUTS[:4], TARGETS[:4])
    metric.update(OUTPUTS[4:], TARGETS[4:])
    torch.testing.assert_close(metric.compute(), seen(name, slice(0, 6)).compute())


@pytest.mark.parametrize("name", NAMES)
def test_reduce_speaks_for_all_processes_until_the_next_update(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = seen(name, slice(0, 2))
    metric.reduce()  # one process: nothing happens
    alone = metric.compute()
    with_others(monkeypatch, seen(name, slice(2, 6)).sums, ())  # the third has seen no batch
    metric.reduce()
    torch.testing.assert_close(metric.compute(), seen(name, slice(0, 6)).compute())
    metric.load_state_dict(metric.state_dict())
    torch.testing.assert_close(metric.compute(), alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_process_without_a_batch_takes_part_and_knows_the_figure_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = metrics.get(name)
    with_others(monkeypatch, seen(name, slice(0, 6)).sums)
    metric.reduce()
    torch.testing.assert_close(metric.compute(), seen(name, slice(0, 6)).compute())
    with_others(monkeypatch, ())
    metric.reduce()
    assert torch.isnan(metric.compute())


def with_others(monkeypatch: pytest.MonkeyPatch, *others: tuple[torch.Tensor | int, ...]) -> None:
    """A world of this process and others with these sums."""

    def gather(gathered: list[object], own: object) -> None:
        gathered[:] = [own, *others]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_an_update_asks_for_a_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an update waited for the device")

    for method in ("item", "__bool__", "__float__", "__int__", "tolist", "nonzero"):
        monkeypatch.setattr(torch.Tensor, method, refuse)
    metrics.get(name).update(OUTPUTS, TARGETS, torch.ones(6))


def test_deferred_batches_amount_to_the_same_as_updates_at_once():
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(n, 4, generator=generator), torch.randint(0, 4, (n,), generator=generator)) for n in [8] * 70 + [3]
    ]
    for name in ("accuracy", "top_5_accuracy", "f1"):
        at_once, later = metrics.get(name, LOSS), metrics.get(name, LOSS)
        for index, (outputs, targets) in enumerate(batches):
            at_once.update(outputs, targets)
            later.defer(outputs, targets)
            if index == 40:
                state = later.state_dict()
                later.reset()
                later.load_state_dict(state)
        assert later.compute() == at_once.compute()
        later.reset()
        assert torch.isnan(later.compute())


def test_a_function_of_a_whole_batch_is_never_joined_with_the_next():
    def spread(outputs, targets):
        return outputs.max() - outputs.min()

    metric = metrics.get(spread, LOSS)
    for value in (1.0, 3.0):
        metric.defer(torch.tensor([[0.0], [value]]), torch.zeros(2))
    assert metric.compute() == 2.0


class Batches(metrics.Metric):
    """How many batches; nobody said that they may be joined."""

    def update(self, outputs, targets, weights=None):
        self.add(1)

    def value(self, *sums):
        return sums[0].float()


class Spread(metrics.Accuracy):
    """A value that is none of a sample's, in a subclass of one that is."""

    def measure(self, outputs, targets):
        return (outputs.max() - outputs.min()).expand(len(outputs))


def test_a_metric_of_the_users_is_given_one_batch_at_a_time_unless_it_says_otherwise():
    counting, spread = Batches("batches"), Spread("sparse")
    for value in (1.0, 3.0):
        counting.defer(torch.zeros(2, 2), torch.zeros(2))
        spread.defer(torch.tensor([[0.0], [value]]), torch.zeros(2))
    assert counting.compute() == 2
    assert spread.compute() == 2.0
    assert all(metrics.get(name).additive for name in metrics.METRICS)


def test_batches_of_other_shapes_do_not_wait_together():
    loss = losses.SparseCategoricalCrossentropy()
    at_once, later = metrics.get("accuracy", loss), metrics.get("accuracy", loss)
    for side in (4, 4, 6, 4):
        outputs, targets = torch.rand(2, 3, side, side), torch.randint(0, 3, (2, side, side))
        at_once.update(outputs, targets)
        later.defer(outputs, targets)
    assert later.compute() == at_once.compute()
