"""BatchNorm over the batches of several processes is BatchNorm of the joined batch."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.nn import BiasedBatchNorm1d, BiasedBatchNorm2d, SteadyBatchNorm2d, synchronise

NORMS = {
    "plain": lambda: nn.BatchNorm2d(3),
    "biased": lambda: BiasedBatchNorm2d(3, momentum=0.01, eps=1e-3),
    "without scale": lambda: nn.BatchNorm2d(3, affine=False),
    "cumulative": lambda: nn.BatchNorm2d(3, momentum=None),
    "without statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "flat": lambda: nn.BatchNorm1d(3),
    "flat and biased": lambda: BiasedBatchNorm1d(3),
    "cubes": lambda: nn.BatchNorm3d(3),
}
SHAPES = {"BatchNorm1d": (), "BiasedBatchNorm1d": (), "BatchNorm3d": (2, 2, 3)}
COUNTS = ([5, 2], [4, 4], [0, 6], [1, 1])


def norm_and_samples(name: str, count: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    norm = NORMS[name]().double()
    generator = torch.Generator().manual_seed(7)
    for parameter in norm.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    shape = (count, 3, *SHAPES.get(type(norm).__name__, (4, 5)))
    samples = 100 + 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return norm, samples, torch.randn(shape, generator=generator, dtype=torch.float64)


def passed(norm: nn.Module, samples: torch.Tensor, pull: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs, gradients and state after two passes; the loss is not linear in the outputs."""
    leaf = samples.clone().requires_grad_()
    norm(samples + 1)
    outputs = norm(leaf)
    (outputs * pull + 0.3 * outputs**3).sum().backward()
    gradients = {f"gradient of {name}": p.grad for name, p in norm.named_parameters()}
    return {"outputs": outputs.detach(), "gradient": leaf.grad, **gradients, **norm.state_dict()}


def in_parts(world, counts):
    """In each process: its own rows of every joined batch."""
    first = sum(counts[: world.rank])
    rows = slice(first, first + counts[world.rank])
    told = {}
    for name in NORMS:
        norm, samples, pull = norm_and_samples(name, sum(counts))
        told[name] = passed(synchronise(norm), samples[rows], pull[rows])
    return told


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_two_processes_give_the_values_and_gradients_of_the_joined_batch(together, counts):
    both = together(in_parts, counts)
    for name in NORMS:
        whole = passed(*norm_and_samples(name, sum(counts)))
        parts = [told[name] for told in both]
        for entry, expected in whole.items():
            if entry in ("outputs", "gradient"):
                got = torch.cat([part[entry] for part in parts])
            elif entry.startswith("gradient of"):
                got = sum(part[entry] for part in parts)
            else:
                got = parts[0][entry]
                assert torch.equal(got, parts[1][entry])
            torch.testing.assert_close(
                got, expected, rtol=1e-9, atol=1e-9, msg=lambda m, at=(name, entry): f"{at}: {m}"
            )


def half_precisions(world):
    norm = synchronise(nn.BatchNorm2d(3))
    inputs = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(world.rank)).bfloat16()
    inputs = inputs.to(memory_format=torch.channels_last).requires_grad_()
    outputs = norm(inputs)
    outputs.float().square().sum().backward()
    return inputs.detach(), outputs.detach(), inputs.grad, norm.running_var


def test_half_precisions_are_summed_in_float32(together):
    told = together(half_precisions)
    joined = torch.cat([part[0] for part in told]).float()
    expected = F.batch_norm(joined, None, None, training=True)
    for rank, (inputs, outputs, gradient, var) in enumerate(told):
        assert outputs.dtype == gradient.dtype == torch.bfloat16
        assert outputs.stride() == inputs.stride()
        torch.testing.assert_close(outputs.float(), expected[4 * rank : 4 * rank + 4], rtol=1e-2, atol=1e-2)
        assert var.dtype == torch.float32


def test_the_modules_their_keys_and_what_one_process_computes_stay():
    norms = nn.BatchNorm2d(3), BiasedBatchNorm2d(3), SteadyBatchNorm2d(3)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), *norms, nn.Flatten(), nn.BatchNorm1d(12))
    before, modules = copy.deepcopy(net), list(net)
    assert synchronise(synchronise(net)) is net
    assert all(one is other for one, other in zip(net, modules, strict=True))
    assert isinstance(net[2], BiasedBatchNorm2d)
    images = torch.randn(4, 1, 4, 4)
    assert torch.equal(copy.deepcopy(net)(images), before(images))
    assert net.state_dict().keys() == before.state_dict().keys()


def test_a_batchnorm_with_a_forward_of_its_own_is_refused():
    class Doubled(nn.BatchNorm2d):
        def forward(self, input):
            return 2 * super().forward(input)

    with pytest.raises(ValueError, match=r"'0' is a Doubled.*can be synchronised"):
        synchronise(nn.Sequential(Doubled(3)))


def test_a_synchronised_network_is_saved_and_copied_whole():
    net = synchronise(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), BiasedBatchNorm1d(3)))
    net(torch.randn(4, 3))
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    for other in (torch.load(stream, weights_only=False), copy.deepcopy(net)):
        assert [type(module) for module in other] == [type(module) for module in net]
        assert all(torch.equal(other.state_dict()[name], value) for name, value in net.state_dict().items())
        other.eval()(torch.randn(4, 3))
