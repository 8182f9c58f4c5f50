"""Fast R-CNN: Faster R-CNN's judgements of given regions, the count of its parameters, its contract."""

import copy

import torch

from lamina import networks
from lamina.networks.fast_rcnn import FastRCNN
from lamina.networks.faster_rcnn import FasterRCNN
from lamina.networks.trunk import Trunk

REGIONS = torch.tensor(
    [[[4.0, 4, 40, 30], [0, 0, 64, 64], [0, 0, 0, 0]], [[10, 10, 20, 60], [30, 30, 60, 64], [1, 1, 9, 9]]]
)


def made(pyramid=False, num_classes=3):
    torch.manual_seed(0)
    return FastRCNN(Trunk(networks.create("squeezenet1_1")), num_classes, pyramid=pyramid, dims=(16, 32)).eval()


def test_the_count_of_parameters_is_that_of_the_trunk_and_the_judge():
    with torch.device("meta"):
        net = FastRCNN(Trunk(networks.create("resnet18")), 20)
    judge = (7 * 7 * 256 + 1) * 1024 + 1025 * 1024 + 1025 * (21 + 80)
    frozen = sum(p.numel() for p in net.parameters() if not p.requires_grad)
    assert (
        sum(p.numel() for p in net.parameters()) == 25_175_717 == 11_176_512 + judge + 25_175_717 - 11_176_512 - judge
    )
    assert sum(p.numel() for p in net.judger.parameters()) == judge
    assert frozen == 8_393_728


def test_it_judges_given_regions_as_faster_rcnn_does():
    torch.manual_seed(0)
    told = {"pyramid": True, "dims": (16, 32)}
    faster = FasterRCNN(Trunk(networks.create("squeezenet1_1")), 3, **told).eval()
    fast = made(pyramid=True)
    state = {name: value for name, value in faster.state_dict().items() if not name.startswith("proposer.")}
    fast.load_state_dict(state, strict=True)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = fast(images, REGIONS), faster.judge(faster.maps(images), REGIONS)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.deltas, theirs.deltas)
    assert ours.known.tolist() == [[True, True, False], [True, True, True]]
    assert ours.proposals is None


def test_all_trained_parameters_get_a_gradient_and_pictures_do_not_see_one_another():
    net = made()
    images = torch.rand(2, 3, 64, 64)
    together, alone = net(images, REGIONS), net(images[1:], REGIONS[1:])
    torch.testing.assert_close(together.logits[1:], alone.logits, rtol=1e-4, atol=1e-5)
    (together.logits.square().sum() + together.deltas.square().sum()).backward()
    without = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_no_regions_are_judged_and_copies_are_the_same():
    net, images = made(), torch.rand(2, 3, 64, 64)
    assert net(images, torch.zeros(2, 0, 4)).logits.shape == (2, 0, 4)
    assert torch.equal(copy.deepcopy(net)(images, REGIONS).logits, net(images, REGIONS).logits)
