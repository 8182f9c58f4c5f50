import math

import pytest
import torch

from lamina import layers
from lamina.core.errors import LaminaError
from lamina.layers import initializers
from lamina.layers.initializers import TRUNCATED_STD, fill, get, kernel_fans


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", lambda i, o: 2 / (i + o)),
        ("glorot_normal", lambda i, o: 2 / (i + o)),
        ("he_uniform", lambda i, _: 2 / i),
        ("he_normal", lambda i, _: 2 / i),
        ("lecun_uniform", lambda i, _: 1 / i),
        ("lecun_normal", lambda i, _: 1 / i),
    ],
)
def test_variance_and_limits_are_as_documented(name, variance):
    torch.manual_seed(0)
    weights = torch.empty(400, 300)
    fill(name, weights)
    std = math.sqrt(variance(300, 400))
    assert weights.std().item() == pytest.approx(std, rel=0.01)
    assert weights.mean().item() == pytest.approx(0, abs=std / 50)
    limit = math.sqrt(3) * std if "uniform" in name else 2 * std / TRUNCATED_STD
    assert weights.abs().max().item() == pytest.approx(limit, rel=0.02)
    assert weights.abs().max() <= limit * (1 + 1e-6)


def test_fans_of_a_convolution_count_its_window():
    assert kernel_fans(torch.empty(16, 3, 5, 5)) == (75, 400)


def test_truncation_factor_is_the_deviation_of_a_unit_normal_cut_at_two():
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    inside = math.erf(2 / math.sqrt(2))
    assert math.sqrt(1 - 4 * density / inside) == pytest.approx(TRUNCATED_STD, rel=1e-9)


@pytest.mark.parametrize(("rows", "columns"), [(5, 8), (8, 5)])
def test_orthogonal_rows_or_columns_are_orthonormal_times_the_gain(rows, columns):
    weights = torch.empty(rows, columns)
    fill(initializers.Orthogonal(2.0), weights)
    product = weights @ weights.T if rows < columns else weights.T @ weights
    torch.testing.assert_close(product, 4.0 * torch.eye(min(rows, columns)), atol=1e-5, rtol=0)


def test_constants_and_scales_are_the_ones_given():
    weights = torch.empty(1000, 100)
    for spec, value in ((initializers.Zeros(), 0), (initializers.Ones(), 1), (initializers.Constant(0.5), 0.5)):
        fill(spec, weights)
        assert weights.eq(value).all()
    fill(initializers.RandomNormal(stddev=0.01), weights)
    assert weights.std().item() == pytest.approx(0.01, rel=0.02)
    fill(initializers.RandomUniform(-1.0, 3.0), weights)
    assert (weights.min().item(), weights.max().item()) == (pytest.approx(-1, abs=0.01), pytest.approx(3, abs=0.01))
    fill(initializers.TruncatedNormal(stddev=1.0), weights)
    assert weights.abs().max() <= 2


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(LaminaError, match="'he_normal'"):
        get("he_norml")
    with pytest.raises(LaminaError, match="no initializer"):
        layers.Dense(3, kernel_initializer="gloro")


def std_of(layer, suffix, shape):
    torch.manual_seed(0)
    layer(layers.Input(shape))
    return layer.modules[suffix].weight.std().item()


def test_each_layer_uses_keras_fans():
    shape, he = (64, 8, 8), "he_normal"
    # Keras's kernels: (h, w, in, out), transposed (h, w, out, in), depthwise (h, w, in, multiplier)
    assert std_of(layers.Conv2D(128, 3, kernel_initializer=he), "", shape) == pytest.approx(
        math.sqrt(2 / (9 * 64)), rel=0.02
    )
    assert std_of(layers.Conv2DTranspose(128, 3, kernel_initializer=he), "", shape) == pytest.approx(
        math.sqrt(2 / (9 * 128)), rel=0.02
    )
    assert std_of(layers.DepthwiseConv2D(5, depthwise_initializer=he), "", shape) == pytest.approx(
        math.sqrt(2 / (25 * 64)), rel=0.06
    )
    assert std_of(layers.SeparableConv2D(256, 3, pointwise_initializer=he), "_pointwise", shape) == pytest.approx(
        math.sqrt(2 / 64), rel=0.02
    )
    assert std_of(layers.Dense(500), "", (700,)) == pytest.approx(math.sqrt(2 / 1200), rel=0.02)
