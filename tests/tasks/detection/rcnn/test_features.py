"""Features of regions: those of the network, kept until anything that they depend on changes, and what is kept survives damage."""

import pytest
import torch

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.data.preprocess import Preprocess
from lamina.networks import contract
from lamina.tasks.detection.rcnn.features import RegionFeatures
from lamina.tasks.detection.rcnn.kept import Kept, key_of, weights_of

BOXES = torch.tensor([[2.0, 3, 40, 30], [10, 10, 20, 28], [0, 0, 48, 40]])


def picture(seed=0):
    return torch.randint(0, 256, (3, 40, 48), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def net(seed=0):
    torch.manual_seed(seed)
    return networks.create("mobilenet_v2", arguments={"width": 0.1})


def looking(network, kept=None, **told):
    return RegionFeatures(network, Preprocess(), **{"side_px": 64, "context_px": 5.0, **told}, kept=kept)


def test_they_are_the_mean_of_the_last_map_and_the_cells_of_that_of_stride_16():
    network = net().eval()
    look = looking(network, cells=2)
    found = look(picture(), BOXES)
    with torch.no_grad():
        maps = contract.features(network, look.regions(picture(), BOXES))
    torch.testing.assert_close(found.deep, maps[32].mean(dim=(2, 3)), rtol=2e-3, atol=1e-3)
    cells = maps[16].unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(found.places, cells, rtol=2e-3, atol=1e-3)
    assert network.training is False


def test_the_mode_of_the_network_is_left_as_it_was():
    network = net().train()
    looking(network)(picture(), BOXES)
    assert all(module.training for module in network.modules())


def test_no_boxes_have_no_features():
    found = looking(net())(picture(), torch.zeros(0, 4))
    assert found.deep.shape == (0, contract.feature_dims(net())[32])


def test_they_are_kept_until_picture_boxes_weights_or_settings_change(tmp_path):
    kept, network = Kept(tmp_path), net()
    look = looking(network, kept)
    first = look(picture(), BOXES)
    assert kept.holds(look.key(picture(), BOXES))
    network.features[0][0].weight.data.zero_()  # were it asked again, it would see nothing
    again = look(picture(), BOXES)
    assert torch.equal(first.deep, again.deep)
    keys = {look.key(picture(), BOXES), look.key(picture(1), BOXES), look.key(picture(), BOXES + 1)}
    keys |= {looking(network, kept).key(picture(), BOXES), looking(network, kept, side_px=96).key(picture(), BOXES)}
    assert len(keys) == 5


def test_a_damaged_file_is_made_anew(tmp_path):
    kept = Kept(tmp_path)
    made = kept.get("abc", lambda: {"x": torch.arange(3.0)})
    (path,) = tmp_path.rglob("*.npz")
    for content in (b"", b"PK no zip", path.read_bytes()[:-20]):
        path.write_bytes(content)
        assert kept.get("abc", lambda: {"x": torch.arange(3.0)})["x"].tolist() == made["x"].tolist()
    assert kept.get("abc", lambda: 1 / 0)["x"].tolist() == [0, 1, 2]


def test_keys_tell_settings_shapes_types_and_numbers_apart():
    x = torch.zeros(2, 3)
    keys = [
        key_of({}, x),
        key_of({"a": 1}, x),
        key_of({}, x.T),
        key_of({}, x.double()),
        key_of({}, x + 1),
        key_of({}, x, x),
    ]
    assert len(set(keys)) == len(keys)
    assert weights_of(net()) == weights_of(net())
    assert weights_of(net()) != weights_of(net(1))


def test_a_network_without_maps_is_refused():
    with pytest.raises(LaminaError, match="gives no maps"):
        looking(torch.nn.Linear(3, 3))
