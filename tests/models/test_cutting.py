import pytest
from torch import nn

from lamina.models.cutting import closing


@pytest.mark.parametrize(
    ("module", "rank", "activation"),
    [
        (nn.Sigmoid(), None, "sigmoid"),
        (nn.Softmax(1), 2, "softmax"),
        (nn.Softmax(-1), 2, "softmax"),
        (nn.Softmax(1), 4, "softmax"),
        (nn.Softmax(-1), 4, None),
        (nn.Softmax(1), 3, None),
        (nn.Softmax(-1), 3, "softmax"),
        (nn.Softmax(0), None, None),
        (nn.LogSoftmax(1), 2, None),
        (nn.ReLU(), None, None),
        (nn.Sequential(nn.Softmax(1)), None, None),
    ],
)
def test_finds_softmax_over_classes_and_sigmoid(module, rank, activation):
    found = closing(module, rank=rank)
    assert (found.activation if found else None) == activation


def test_nested_chains_keep_their_keys():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()))
    found = closing(net)
    assert found.activation == "sigmoid"
    assert list(found.rest.state_dict()) == list(net.state_dict())
    assert len(net[1]) == 2
