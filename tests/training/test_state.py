"""The file that a run goes on from."""

import pytest
import torch

from lamina.core import sealed
from lamina.core.errors import FileFormatError
from lamina.core.tree import flatten
from lamina.training import state

TREE = {"weights": {"w": torch.arange(3.0)}, "best": None, "rates": (0.1, float("inf")), 3: [True]}


def test_a_state_comes_back(tmp_path):
    state.write(tmp_path / "last.ckpt", flatten(TREE))
    back = state.read(tmp_path / "last.ckpt")
    assert back.pop("weights")["w"].tolist() == [0, 1, 2]
    assert back == {name: value for name, value in TREE.items() if name != "weights"}


def test_a_change_of_any_byte_is_seen(tmp_path):
    path = tmp_path / "last.ckpt"
    state.write(path, flatten(TREE))
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(FileFormatError, match=r"cannot be read|format version"):
            state.read(path)


def test_a_file_cut_at_any_byte_is_seen(tmp_path):
    path = tmp_path / "last.ckpt"
    state.write(path, flatten(TREE))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"cannot be read"):
            state.read(path)


def test_a_file_of_another_program_is_refused(tmp_path):
    sealed.write(tmp_path / "other", {"w": torch.zeros(1)}, {"format": "pt"})
    torch.save({"loop": {}}, tmp_path / "old.ckpt")
    for name in ("other", "old.ckpt"):
        with pytest.raises(FileFormatError, match=r"damaged, cut short, or of another program"):
            state.read(tmp_path / name)
