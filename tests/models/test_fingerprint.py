"""What a fingerprint sees of weights in any order of memory, of any type; and that it takes a still model for still."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess
from lamina.models.fingerprint import Fingerprint


def model(*, channels_last=False, dtype=torch.float32):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(32)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3), norm, nn.Conv2d(32, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)
    )
    net = net.to(dtype).to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    return Classifier(net, classes=list("abc"), preprocess=Preprocess(size=(8, 8)))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_filter_and_most_channels_are_seen_behind_data(channels_last, dtype):
    there = model(channels_last=channels_last, dtype=dtype)
    weight, missed = there.net[2].weight.data, 0
    for row in range(64):
        before = Fingerprint(there)
        weight[row] += 1
        assert not before.holds(there), row
    for channel in range(32):
        before = Fingerprint(there)
        weight[:, channel] += 1
        missed += before.holds(there)
    assert missed == 0


def test_what_changes_nothing_is_no_change():
    there = model()
    there.net[1].running_mean[0] = float("nan")
    there.net.register_buffer("spread", torch.zeros(1).expand(5))
    there.net.register_buffer("empty", torch.zeros(0))
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    there.predict_probs(images)  # which lays the weights out
    before = Fingerprint(there)
    there.net.train()
    there.net.eval()
    there.net[0].register_forward_hook(lambda *told: None).remove()
    there.net[1].num_batches_tracked += 1
    there.predict_probs(images)
    assert before.holds(there)
    with torch.inference_mode():
        frozen = model()
    assert Fingerprint(frozen).holds(frozen)
