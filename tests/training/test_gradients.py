"""Micro-batches that make one update; clipping."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import losses
from lamina.data.loader import ArrayBatches
from lamina.structures.batch import Batch
from lamina.training import Loop, Runtime, SupervisedStep, Target, Update

FLOAT32 = Runtime("cpu", precision="float32")
GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(20, 5, generator=GENERATOR, dtype=torch.float64), torch.randint(0, 3, (20,), generator=GENERATOR)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.5, momentum=0.9)


def equal(a: nn.Module, b: nn.Module, *, exactly: bool = False) -> bool:
    pairs = list(zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    return all(torch.equal(p, q) if exactly else torch.allclose(p, q, rtol=1e-12, atol=1e-14) for p, q in pairs)


def big_batches(rows_of_updates, mean, **clip) -> nn.Module:
    plain = net()
    optimizer = sgd(plain.parameters())
    for rows in rows_of_updates:
        optimizer.zero_grad()
        mean(plain, rows).backward()
        if clip:
            nn.utils.clip_grad_norm_(plain.parameters(), clip["norm"])
        optimizer.step()
    return plain


def cross_entropy(model, rows):
    return F.cross_entropy(model(X[rows]), Y[rows])


def test_micro_batches_with_counts_are_the_big_batch_also_where_the_last_is_ragged():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32, accumulate=3)
    for rows in (range(4), range(4, 8), range(8, 9), range(9, 13), range(13, 17), range(17, 20)):
        rows = list(rows)
        update(cross_entropy(model, rows), count=len(rows))
    assert update.count == 2
    assert equal(model, big_batches([list(range(9)), list(range(9, 20))], cross_entropy))


def test_losses_that_divide_by_tokens_weigh_by_a_count_on_the_device():
    labels = Y.clone()
    labels[::3] = -100
    labels[8:12] = -100  # a micro-batch that counts nothing: its loss is NaN, and must not spread

    def mean(model, rows):
        return F.cross_entropy(model(X[rows]), labels[rows], ignore_index=-100)

    model = net()
    update = Update(model, sgd, runtime=FLOAT32, accumulate=5)
    for first in range(0, 20, 4):
        rows = list(range(first, first + 4))
        update(mean(model, rows), count=(labels[rows] != -100).sum().double())
    assert equal(model, big_batches([list(range(20))], mean))


def test_flush_steps_the_shorter_window_with_its_true_weight_and_an_empty_one_not_at_all():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32, accumulate=4)
    update.flush()
    assert update.count == 0
    for rows in ([0, 1, 2], [3]):
        update(cross_entropy(model, rows), count=len(rows))
    assert update.is_open
    update.flush()
    assert (update.count, update.is_open) == (1, False)
    assert equal(model, big_batches([[0, 1, 2, 3]], cross_entropy))


def test_without_counts_every_loss_weighs_the_same():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32, accumulate=2)
    update(cross_entropy(model, [0, 1, 2]))
    update(cross_entropy(model, [3]))
    assert equal(model, big_batches([None], lambda m, _: (cross_entropy(m, [0, 1, 2]) + cross_entropy(m, [3])) / 2))


def test_counts_here_and_none_there_are_refused():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32, accumulate=2)
    update(cross_entropy(model, [0]), count=1)
    with pytest.raises(ValueError, match="without"):
        update(cross_entropy(model, [1]))


def test_one_loss_an_update_is_the_hand_written_loop_bit_for_bit_whatever_the_count():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32)
    for rows in ([0, 1, 2], [3], [4, 5]):
        update(cross_entropy(model, rows), count=len(rows))
    assert equal(model, big_batches([[0, 1, 2], [3], [4, 5]], cross_entropy), exactly=True)


def test_the_norm_is_clipped_as_torch_does_after_the_window_is_full():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32, accumulate=2, clip_norm=0.05)
    for first in range(0, 20, 5):
        rows = list(range(first, first + 5))
        update(cross_entropy(model, rows), count=5)
    halves = [list(range(10)), list(range(10, 20))]
    assert equal(model, big_batches(halves, cross_entropy, norm=0.05))
    assert not equal(model, big_batches(halves, cross_entropy))


def test_values_are_clipped_entry_by_entry():
    model = net()
    update = Update(model, sgd, runtime=FLOAT32, clip_value=0.01)
    update(cross_entropy(model, [0, 1]))
    assert max(float(p.grad.abs().max()) for p in model.parameters()) == 0.01


def test_lbfgs_with_clipping_or_accumulation_is_refused():
    for settings in ({"accumulate": 2}, {"clip_norm": 1.0}):
        with pytest.raises(ValueError, match="line search"):
            Update(net(), "lbfgs", runtime=FLOAT32, **settings)


@pytest.mark.parametrize(
    "settings", [{"accumulate": 0}, {"accumulate": 1.5}, {"clip_norm": -1.0}, {"clip_norm": 1.0, "clip_value": 1.0}]
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match=r"accumulate|clip_norm"):
        Update(net(), "sgd", runtime=FLOAT32, **settings)


def test_two_networks_that_accumulate_do_not_leak_into_each_other():
    generator, discriminator = nn.Linear(2, 2), nn.Linear(2, 1)
    updates = [Update(model, "sgd", runtime=FLOAT32, accumulate=2) for model in (generator, discriminator)]
    real = torch.ones(4, 2)
    updates[1](discriminator(real).mean(), count=4)
    before = [p.grad.clone() for p in discriminator.parameters()]
    updates[0](discriminator(generator(real)).mean(), count=4)
    assert all(torch.equal(p.grad, b) for p, b in zip(discriminator.parameters(), before, strict=True))


def test_the_supervised_step_tells_its_count_also_where_labels_are_ignored():
    y = Y.clone()
    y[[1, 2, 3, 9]] = 2
    loss = losses.SparseCategoricalCrossentropy(ignore_class=2)

    def trained(batch_size, accumulate):
        model = net()
        update = Update(model, sgd, runtime=FLOAT32, accumulate=accumulate)
        step = SupervisedStep(model, update, targets=[Target(loss)], runtime=FLOAT32)
        for batch in ArrayBatches(X, y, batch_size=batch_size):
            step.train(batch)
        update.flush()
        return model

    assert equal(trained(20, 1), trained(3, 7))


def test_a_window_in_progress_is_part_of_the_state():
    def run(stop, state=None):
        model = net()
        update = Update(model, sgd, runtime=FLOAT32, accumulate=3)
        begin = 0
        if state is not None:
            begin = state[2]
            model.load_state_dict(state[0])
            update.load_state_dict(state[1])
        for first in range(begin, stop):
            rows = list(range(first, first + 1 + first % 3))
            update(cross_entropy(model, rows), count=len(rows))
        return model.state_dict(), update.state_dict(), stop

    whole, resumed = run(9)[0], run(9, run(5))[0]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_loop_trains_with_micro_batches():
    model = net().float()
    step = SupervisedStep(
        model,
        Update(model, "adam", runtime=FLOAT32, accumulate=2),
        targets=[Target(losses.get("sparse_categorical_crossentropy"))],
        runtime=FLOAT32,
    )
    Loop(step).fit([Batch(X[:10].float(), Y[:10]), Batch(X[10:].float(), Y[10:])], epochs=3)
    assert step.updates["net"].count == 3
