import pytest
import torch

from lamina.nn import GaussianNoise, Rescaling


def test_rescale_takes_uint8_to_floats():
    scaled = Rescaling(1 / 127.5, -1.0)(torch.tensor([0, 255], dtype=torch.uint8))
    assert scaled.dtype == torch.float32
    assert scaled.tolist() == pytest.approx([-1.0, 1.0])


def test_noise_has_the_deviation_asked_for_in_training_and_none_in_evaluation():
    torch.manual_seed(0)
    noise, inputs = GaussianNoise(0.5), torch.full((100_000,), 3.0)
    assert (noise(inputs) - 3.0).std().item() == pytest.approx(0.5, rel=0.02)
    assert torch.equal(noise.eval()(inputs), inputs)
