import torch

from lamina.nn import Permute, Reshape


def test_permute_is_a_view_of_the_same_memory():
    images = torch.randn(2, 3, 4, 5)
    moved = Permute((0, 2, 3, 1))(images)
    assert moved.shape == (2, 4, 5, 3)
    assert moved.data_ptr() == images.data_ptr()


def test_reshape_keeps_the_batch_and_fills_in_one_size():
    inputs = torch.arange(24).reshape(2, 12)
    assert torch.equal(Reshape((3, -1))(inputs), inputs.reshape(2, 3, 4))
