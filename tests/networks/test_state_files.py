"""Files of weights of every usual kind give the same tensors, and whatever is wrong with one is said."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lamina.core import sealed
from lamina.core.errors import FileFormatError
from lamina.core.sealed import digest
from lamina.networks.state_files import read_state

STATE = {"body.weight": torch.arange(6.0).reshape(2, 3), "body.bias": torch.tensor([1.0, -1.0])}


def as_safetensors(path):
    save_file(STATE, path)


def as_npz(path):
    with path.open("wb") as stream:
        np.savez_compressed(stream, **{key: value.numpy() for key, value in STATE.items()})


def as_torch(path):
    torch.save(STATE, path)


def as_old_torch(path):
    torch.save({key: nn.Parameter(value) for key, value in STATE.items()}, path, _use_new_zipfile_serialization=False)


def as_training_script(path):
    torch.save({"epoch": 7, "state_dict": {f"module.{key}": value for key, value in STATE.items()}}, path)


def as_compiled(path):
    torch.save({"model": {f"_orig_mod.module.{key}": value for key, value in STATE.items()}}, path)


def as_pickled_arrays(path):
    path.write_bytes(pickle.dumps({key: value.numpy() for key, value in STATE.items()}, protocol=4))


def as_model_of_lamina(path):
    texts = {"format": "lamina", "version": "1", "model": "{}", "sha256": digest("1", "{}", STATE)}
    sealed.write(path, STATE, texts)


KINDS = [
    as_safetensors,
    as_npz,
    as_torch,
    as_old_torch,
    as_training_script,
    as_compiled,
    as_pickled_arrays,
    as_model_of_lamina,
]


@pytest.mark.parametrize("ending", [".bin", ".pth"])
@pytest.mark.parametrize("write", KINDS)
def test_a_file_is_read_by_its_content_whatever_its_ending(tmp_path, write, ending):
    path = tmp_path / f"weights{ending}"
    write(path)
    state = read_state(path)
    assert state.keys() == STATE.keys()
    assert all(type(value) is torch.Tensor and torch.equal(value, STATE[key]) for key, value in state.items())


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_short_is_named(tmp_path, write, share):
    path = tmp_path / "weights.pth"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    # Old files name their types in clear; cut in the middle of a name, that is one which nobody knows.
    text = r"weights\.pth (is (damaged|empty)|cannot be read|holds more than tensors \(torch\._)"
    with pytest.raises(FileFormatError, match=text):
        read_state(path)


def test_a_model_of_lamina_with_one_bit_flipped_is_damaged(tmp_path):
    path = tmp_path / "m.safetensors"
    as_model_of_lamina(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="does not give the hash"):
        read_state(path)


class Trap:
    def __reduce__(self):
        return print, ("run!",)


@pytest.mark.parametrize("old", [True, False])
def test_a_file_that_would_run_code_is_refused(tmp_path, capsys, old):
    path = tmp_path / "weights.pth"
    torch.save({"w": STATE["body.bias"], "trap": Trap()}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(FileFormatError, match="would run code that it names"):
        read_state(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FileFormatError, match=r"The pickle asks for (builtins|__builtin__)\.print"):
        read_state(path)
    assert capsys.readouterr().out == ""


def test_a_pickled_module_is_refused_with_the_way_out(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(FileFormatError, match=r"save net\.state_dict\(\) to a new file"):
        read_state(tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore:.torch.jit:Warning")
def test_a_torchscript_archive_is_refused_with_the_way_out(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "net.pt")
    with pytest.raises(FileFormatError, match=r"is a TorchScript archive"):
        read_state(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"epoch": 3, "lr": 0.1}, "holds a dict with epoch, lr"),
        ([torch.zeros(1)], "holds list"),
        ({"w": torch.zeros(1), "names": ["a"]}, "holds a dict with names"),
    ],
)
def test_a_file_of_something_else_tells_what_it_holds(tmp_path, content, text):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(FileFormatError, match=text):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<!DOCTYPE html><html>Please log in", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "pointer of git LFS"),
        (b"\x89PNG\r\n\x1a\n123456789", "no file of weights that is known"),
        (b"", "is empty"),
        (b"PK\x03\x04 and nothing more", "is damaged"),
    ],
)
def test_foreign_files_are_told_by_what_they_are(tmp_path, content, text):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(FileFormatError, match=text):
        read_state(tmp_path / "a.pth")


def test_arrays_that_are_objects_or_texts_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([Trap()], dtype=object))
    with pytest.raises(FileFormatError, match=r"objects\.npz is damaged .*Object arrays cannot be loaded"):
        read_state(tmp_path / "objects.npz")
    np.savez(tmp_path / "texts.npz", a=np.array(["one"]))
    with pytest.raises(FileFormatError, match="arrays that are no numbers"):
        read_state(tmp_path / "texts.npz")


def test_a_folder_a_checkpoint_and_nothing_are_told(tmp_path):
    with pytest.raises(FileFormatError, match="is a folder"):
        read_state(tmp_path)
    with pytest.raises(FileFormatError, match="is not there"):
        read_state(tmp_path / "a.pth")
    sealed.write(tmp_path / "c.safetensors", STATE, {"format": "lamina checkpoint"})
    with pytest.raises(FileFormatError, match=r"is a checkpoint.*best\.safetensors"):
        read_state(tmp_path / "c.safetensors")


def test_the_books_parameters_are_read_as_the_networks_state(real_data):
    state = read_state(real_data / "weights" / "book" / "deep_convnet_params_2016.pkl")
    assert state["conv1.weight"].shape == (16, 1, 3, 3)
    assert state["fc2.weight"].shape == (10, 50)
