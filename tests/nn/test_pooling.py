import math

import numpy as np
import pytest
import torch

from lamina.nn import GlobalAvgPool2d, GlobalMaxPool2d, SameAvgPool2d


def windows(image, kernel, stride):
    """Means of an (H, W) array over windows of "same" padding, counting only pixels that are there."""
    height, width = image.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    top = max((rows - 1) * stride + kernel - height, 0) // 2
    left = max((columns - 1) * stride + kernel - width, 0) // 2
    out = np.zeros((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            y, x = r * stride - top, c * stride - left
            out[r, c] = image[max(y, 0) : y + kernel, max(x, 0) : x + kernel].mean()
    return out


@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (3, 2), (4, 2), (5, 3), (3, 3)])
@pytest.mark.parametrize("size", [(7, 8), (9, 5)])
def test_the_mean_counts_no_padding(kernel, stride, size):
    image = torch.randn(1, 1, *size)
    ours = SameAvgPool2d((kernel, kernel), stride=(stride, stride))(image)
    np.testing.assert_allclose(ours[0, 0].numpy(), windows(image[0, 0].numpy(), kernel, stride), atol=1e-6)


def test_global_pools_are_mean_and_maximum_over_all_pixels():
    images = torch.randn(2, 3, 4, 5)
    assert torch.equal(GlobalAvgPool2d()(images), images.mean((2, 3)))
    assert torch.equal(GlobalMaxPool2d(keepdims=True)(images), images.flatten(2).max(2).values[:, :, None, None])
