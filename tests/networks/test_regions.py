"""What a region is pooled from its maps."""

import torch

from lamina.networks.regions import pooled


def test_places_of_regions_are_not_rounded_where_maps_are_in_bfloat16():
    rows = torch.arange(128.0)[None, None, None].expand(1, 1, 128, 128)  # each value is its column
    regions = torch.tensor([[[801.3, 57.7, 841.9, 97.2], [451.3, 257.7, 491.4, 297.9]]])
    exact, rough = pooled({8: rows}, regions), pooled({8: rows.bfloat16()}, regions)
    assert rough.dtype == torch.bfloat16
    assert torch.equal(rough, exact.bfloat16())
