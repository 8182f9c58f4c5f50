"""A folder for the Hugging Face Hub: the model file, its card, its description. Uploaded only when a person says so."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from lamina.core.errors import LaminaError, MissingExtraError
from lamina.core.files import replacing
from lamina.models import card

MODEL, CARD, CONFIG = "model.safetensors", "README.md", "config.json"


def write_folder(model: str | os.PathLike[str], folder: str | os.PathLike[str], *, title: str = "") -> Path:
    """Writes model file, card (README.md) and description (config.json) into a folder; a card that is there is kept.

    Raises FileFormatError for a file that is damaged, LaminaError for a folder that holds other things.
    """
    told, target = card.read(model), Path(folder)
    there = sorted(path.name for path in target.iterdir() if not path.name.startswith(".")) if target.is_dir() else []
    foreign = [name for name in there if name not in (MODEL, CARD, CONFIG)]
    if foreign or (target.exists() and not target.is_dir()):
        raise LaminaError(
            f"{target} holds {', '.join(foreign[:3])}." if foreign else f"{target} is a file.",
            f"A new folder, or one with {MODEL}, {CARD} and {CONFIG}, was expected.",
            "Name another folder: all of it would be uploaded.",
        )
    target.mkdir(parents=True, exist_ok=True)
    with replacing(target / MODEL) as path:
        shutil.copyfile(model, path)
    with replacing(target / CONFIG) as path:
        described = {"library_name": "lamina", **{k: v for k, v in told.to_dict().items() if k != "file"}}
        path.write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")
    if CARD not in there:  # it may hold what a person has written
        (target / CARD).write_text(told.to_markdown(title=title or target.name), encoding="utf-8")
    return target


def upload(folder: str | os.PathLike[str], repository: str, *, private: bool = False) -> str:
    """Uploads a folder of `write_folder` to the Hub's repository "user/name", made where it is not there; gives its address.

    The token is huggingface_hub's own: HF_TOKEN, or that of `hf auth login`. Raises MissingExtraError, and LaminaError with what the Hub
    answered.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtraError("Uploading to the Hugging Face Hub", "hub") from None
    missing = [name for name in (MODEL, CARD, CONFIG) if not (Path(folder) / name).is_file()]
    if missing or repository.count("/") != 1:
        raise LaminaError(
            f"{folder} lacks {', '.join(missing)}." if missing else f"The repository is {repository!r}.",
            "A folder of `lamina publish` and a name such as user/pets were expected.",
            "Write the folder first." if missing else "Name it user/name.",
        )
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        told = api.upload_folder(repo_id=repository, folder_path=os.fspath(folder), commit_message="A model of Lamina")
    except Exception as error:  # of the network, of the Hub, of a missing token: each library's own
        raise LaminaError(
            f"The Hub did not take {folder} ({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}).",
            "A repository that your token may write to was expected.",
            "Log in with `hf auth login`, or set HF_TOKEN; the folder is whole and can be uploaded later.",
        ) from error
    return str(getattr(told, "repo_url", told))
