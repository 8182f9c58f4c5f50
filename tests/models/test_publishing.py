"""Folders for the Hub: written whole, what a person wrote is kept, and nothing is sent unasked."""

from __future__ import annotations

import inspect
import json
import sys

import pytest

import lamina
from lamina import Classifier, Preprocess
from lamina.core.errors import LaminaError, MissingExtraError
from lamina.models import publishing


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = Classifier("lenet5", classes=["a", "b"], preprocess=Preprocess(channels=1, size=(28, 28)))
    return model.save(tmp_path_factory.mktemp("hub") / "pets.safetensors")


def test_the_folder_holds_a_model_that_opens_a_card_and_a_description(saved, tmp_path):
    folder = publishing.write_folder(saved, tmp_path / "pets")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert lamina.load(folder / "model.safetensors").classes == ("a", "b")
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: lamina")
    assert "# pets" in (folder / "README.md").read_text()
    assert json.loads((folder / "config.json").read_text())["classes"] == ["a", "b"]


def test_a_card_that_a_person_has_written_is_kept(saved, tmp_path):
    folder = publishing.write_folder(saved, tmp_path / "pets")
    (folder / "README.md").write_text("mine")
    publishing.write_folder(saved, folder)
    assert (folder / "README.md").read_text() == "mine"


def test_a_folder_with_other_things_is_refused_for_all_of_it_would_be_sent(saved, tmp_path):
    (tmp_path / "secret.txt").write_text("")
    with pytest.raises(LaminaError, match=r"secret\.txt"):
        publishing.write_folder(saved, tmp_path)


class Hub:
    """Stands for huggingface_hub's HfApi, and takes only calls that the real one takes."""

    calls: list[tuple[str, dict[str, object]]]

    def __init__(self, failure=None):
        from huggingface_hub import HfApi

        self.real, self.calls, self.failure = HfApi, [], failure

    def __call__(self):
        return self

    def __getattr__(self, name):
        def called(*args, **told):
            bound = inspect.signature(getattr(self.real, name)).bind(self, *args, **told)
            self.calls.append((name, {k: v for k, v in bound.arguments.items() if k != "self"}))
            if self.failure is not None:
                raise self.failure
            return "https://hub/user/pets"

        return called


def test_upload_makes_the_repository_and_sends_the_folder(saved, tmp_path, monkeypatch):
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    folder = publishing.write_folder(saved, tmp_path / "pets")
    assert hub.calls == []
    assert publishing.upload(folder, "user/pets", private=True) == "https://hub/user/pets"
    assert [name for name, _ in hub.calls] == ["create_repo", "upload_folder"]
    assert hub.calls[0][1] == {"repo_id": "user/pets", "private": True, "exist_ok": True}
    assert hub.calls[1][1]["folder_path"] == str(folder)


def test_what_the_hub_says_is_told_and_the_folder_stays(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", Hub(PermissionError("403 Forbidden")))
    folder = publishing.write_folder(saved, tmp_path / "pets")
    with pytest.raises(LaminaError, match="403 Forbidden"):
        publishing.upload(folder, "user/pets")
    assert (folder / "model.safetensors").is_file()


def test_a_repository_has_an_owner_and_a_name(saved, tmp_path):
    folder = publishing.write_folder(saved, tmp_path / "pets")
    with pytest.raises(LaminaError, match="user/name"):
        publishing.upload(folder, "pets")
    with pytest.raises(LaminaError, match="lacks"):
        publishing.upload(tmp_path, "user/pets")


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"lamina\[hub\]"):
        publishing.upload(tmp_path, "user/pets")
