import pytest
import torch
from torch import nn

from lamina.nn import BiasedBatchNorm1d, BiasedBatchNorm2d, SteadyBatchNorm2d


def documented(images, mean, var, momentum):
    """Keras: moving = moving * momentum + batch * (1 - momentum), the variance being the mean of squares."""
    axes = [axis for axis in range(images.ndim) if axis != 1]
    batch_mean, batch_var = images.mean(axes), images.var(axes, unbiased=False)
    return mean * momentum + batch_mean * (1 - momentum), var * momentum + batch_var * (1 - momentum)


@pytest.mark.parametrize(
    ("norm", "shape"), [(BiasedBatchNorm2d, (3, 4, 2, 2)), (BiasedBatchNorm1d, (5, 4)), (BiasedBatchNorm1d, (2, 4, 3))]
)
def test_moving_averages_follow_keras_formula(norm, shape):
    module = norm(4, momentum=0.1, eps=1e-3)
    mean, var = torch.zeros(4), torch.ones(4)
    for _ in range(3):
        batch = torch.randn(shape) * 3 + 1
        module(batch)
        mean, var = documented(batch, mean, var, 0.9)
    torch.testing.assert_close(module.running_mean, mean)
    torch.testing.assert_close(module.running_var, var)


def test_outputs_and_gradients_are_torchs_own():
    ours, theirs = BiasedBatchNorm2d(4), nn.BatchNorm2d(4)
    one, other = (torch.arange(48.0).reshape(3, 4, 2, 2).sin().requires_grad_() for _ in range(2))
    (ours(one) ** 3).sum().backward()
    (theirs(other) ** 3).sum().backward()
    assert torch.equal(one.grad, other.grad)
    assert torch.equal(ours.weight.grad, theirs.weight.grad)


def test_evaluation_uses_the_moving_averages():
    ours, theirs = BiasedBatchNorm2d(4), nn.BatchNorm2d(4)
    ours(torch.randn(3, 4, 2, 2))
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(3, 4, 2, 2)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_state_is_interchangeable_with_torchs():
    assert list(BiasedBatchNorm1d(3).state_dict()) == list(nn.BatchNorm1d(3).state_dict())


def test_a_last_batch_of_one_sample_trains_where_torch_refuses():
    module = BiasedBatchNorm1d(2, momentum=0.1)
    outputs = module(torch.tensor([[3.0, 5.0]]))
    assert outputs.abs().max() < 1e-3
    torch.testing.assert_close(module.running_mean, torch.tensor([0.3, 0.5]))
    torch.testing.assert_close(module.running_var, torch.full((2,), 0.9))


def test_a_wrong_number_of_axes_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="expected 4D"):
        BiasedBatchNorm2d(2)(torch.zeros(3, 2))


def test_one_value_per_channel_is_normalised_by_the_running_statistics_and_more_as_torch_does():
    ours, theirs = SteadyBatchNorm2d(4, eps=1e-3), nn.BatchNorm2d(4, eps=1e-3)
    for batch in (torch.randn(3, 4, 2, 2), torch.randn(1, 4, 2, 1), torch.randn(2, 4, 1, 1)):
        torch.testing.assert_close(ours(batch), theirs(batch), rtol=0, atol=0)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    alone = torch.randn(1, 4, 1, 1, requires_grad=True)
    answer = ours(alone)
    assert torch.equal(answer, theirs.eval()(alone))
    answer.sum().backward()
    assert alone.grad is not None
    assert ours.weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # without any there is nothing to go by
        SteadyBatchNorm2d(4, track_running_stats=False)(alone)
