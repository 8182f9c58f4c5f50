"""Muon: the iteration, one update by its formula, and which parameter goes where."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lamina import optimizers
from lamina.optimizers.muon import orthogonalize

GENERATOR = torch.Generator().manual_seed(0)


def iterated(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The published loop, in float64."""
    x = matrix.double() / (matrix.double().norm() + 1e-7)
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (7, 7), (1, 5), (40, 400), (400, 40), (64, 100)])
def test_is_the_published_iteration_for_every_shape_alone_and_in_a_stack(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=GENERATOR)
    stacked = orthogonalize(matrices)
    for matrix, result in zip(matrices, stacked, strict=True):
        torch.testing.assert_close(result.double(), iterated(matrix), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(orthogonalize(matrix), result, rtol=1e-4, atol=1e-5)


def test_singular_values_come_near_one_even_where_they_were_far_apart() -> None:
    wide = torch.randn(40, 400, generator=GENERATOR) * torch.logspace(0, -2, 40)[:, None]
    values = torch.linalg.svdvals(orthogonalize(wide))
    assert 0.6 < float(values.min()) < float(values.max()) < 1.3
    torch.testing.assert_close(orthogonalize(wide).double(), iterated(wide), rtol=1e-3, atol=1e-4)


def test_a_matrix_of_zeros_stays() -> None:
    assert orthogonalize(torch.zeros(3, 4)).abs().max() == 0


def test_a_convolution_follows_its_orthogonalised_nesterov_momentum() -> None:
    weight = nn.Parameter(torch.randn(6, 2, 3, 3, generator=GENERATOR))
    twin = nn.Parameter(weight.detach().clone())  # of one shape: they are stacked
    spec = optimizers.Muon(0.1, momentum=0.9, weight_decay=0.5)
    optimizer = spec.build([weight, twin])
    w, m = weight.detach().clone(), torch.zeros(6, 18)
    for _ in range(3):
        grad = torch.randn(6, 2, 3, 3, generator=GENERATOR)
        weight.grad, twin.grad = grad, grad.clone()
        optimizer.step()
        m = 0.9 * m + grad.flatten(1)
        step = iterated(grad.flatten(1) + 0.9 * m).float() * 0.2 * 18**0.5
        w = w * (1 - 0.1 * 0.5) - 0.1 * step.view(6, 2, 3, 3)
    torch.testing.assert_close(weight.detach(), w, rtol=1e-4, atol=1e-4)
    assert torch.equal(weight, twin)


def test_channels_last_weights_are_updated_alike() -> None:
    values = torch.randn(8, 4, 3, 3, generator=GENERATOR)
    ways = [
        nn.Parameter(values.clone().to(memory_format=form)) for form in (torch.contiguous_format, torch.channels_last)
    ]
    for weight in ways:
        weight.grad = values.cos().to(memory_format=torch.channels_last) if weight is ways[1] else values.cos()
        optimizers.Muon(0.1).build([weight]).step()
    assert ways[1].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ways[0].detach(), ways[1].detach().contiguous())


def test_vectors_and_what_asks_for_it_go_to_adam() -> None:
    matrix, bias, embedding = (nn.Parameter(torch.ones(shape)) for shape in ((3, 4), (4,), (5, 2)))
    optimizer = optimizers.Muon(0.1, adam_lr_ratio=0.5, adam_weight_decay=None).build(
        [{"params": [matrix, bias]}, {"params": [embedding], "use_muon": False, "lr": 0.4}]
    )
    assert [(group["use_muon"], group["lr"]) for group in optimizer.param_groups] == [
        (True, 0.1),
        (False, 0.05),
        (False, 0.2),
    ]
    for parameter in (matrix, bias, embedding):
        parameter.grad = torch.randn(parameter.shape, generator=GENERATOR)
    optimizer.step()
    # Adam's first step is the rate times the sign.
    torch.testing.assert_close(bias.detach(), 1 - 0.05 * bias.grad.sign(), atol=1e-4, rtol=0)  # type: ignore[union-attr]
    torch.testing.assert_close(embedding.detach(), 1 - 0.2 * embedding.grad.sign(), atol=1e-4, rtol=0)  # type: ignore[union-attr]


def test_learns_a_small_network_faster_than_sgd() -> None:
    x = torch.randn(128, 20, generator=GENERATOR)
    y = (x @ torch.randn(20, 5, generator=GENERATOR)).argmax(1)

    def final_loss(spec: optimizers.Optimizer) -> float:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 5))
        optimizer = spec.build(net.parameters(), fused=True)
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    assert final_loss(optimizers.Muon(0.02)) < 0.5 * final_loss(optimizers.SGD(0.02))
