import pytest
import torch

from lamina.core.errors import UnknownNameError
from lamina.layers import Dense, regularizers

WEIGHTS = torch.tensor([[1.0, -2.0], [0.0, 3.0]])


@pytest.mark.parametrize(
    ("spec", "penalty"),
    [
        ("l1", 0.06),
        ("l2", 0.14),
        (regularizers.L1(0.1), 0.6),
        (regularizers.L2(0.1), 1.4),
        (regularizers.L1L2(0.1, 0.2), 0.6 + 2.8),
    ],
)
def test_penalty_is_strength_times_sums_of_absolutes_and_squares(spec, penalty):
    assert regularizers.get(spec)(WEIGHTS).item() == pytest.approx(penalty)


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownNameError, match="'l2'"):
        Dense(3, kernel_regularizer="L22")
