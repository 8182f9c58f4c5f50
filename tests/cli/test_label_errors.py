"""`lamina check PATH --labels`, as a person types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lamina.explain import label_errors
from lamina.tasks.classification import label_errors as front_door
from lamina.training.callback import Interrupted

NAMES = ("dark", "middle", "bright")
WRONG = set(range(0, 60, 10))


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Sixty files in folders by class, six of them in the wrong one."""
    noise = torch.randint(0, 20, (60, 28, 28), generator=torch.Generator().manual_seed(0))
    for index in range(60):
        path = tmp_path / "squares" / NAMES[(index + (index in WRONG)) % 3] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((noise[index] + index % 3 * 100).to(torch.uint8).numpy()).save(path)
    return tmp_path


def test_it_prints_the_suspects_writes_them_down_and_says_how_to_go_on(squares: Path, typed_in: Any) -> None:
    typed = typed_in(squares)
    code, out, err = typed("check", "squares", "--labels", "-o", "found", "--folds", 2, "--epochs", 8)
    assert (code, err) == (0, "")
    assert "squares: the labels of 60 train pictures, 3 classes" in out
    assert "Fold 2 of 2" in out
    assert " of 60 labels are suspect" in out
    assert "Look at them: found/suspects.html" in out
    with (squares / "found" / "suspects.csv").open(newline="", encoding="utf-8") as stream:
        found = {int(Path(row["origin"]).stem) for row in csv.DictReader(stream)}
    assert found
    assert found <= WRONG
    for name in ("suspects.html", "suspects.png", "cleaned.csv"):
        assert (squares / "found" / name).stat().st_size > 100
    assert "lamina train found/cleaned.csv" in out
    code, out, _ = typed(
        "check", "squares", "--labels", "-o", "found", "--folds", 2, "--epochs", 8, "--json", "-"
    )  # with what was kept
    assert len(json.loads(out)["suspects"]) == len(found)
    code, _, err = typed("check", "squares", "--labels", "-o", "found", "--folds", 2)
    assert code == 1
    assert "epochs 8 instead of 5" in err


def test_a_network_that_learnt_too_little_is_said_in_typed_words_and_cleans_nothing(
    squares: Path, typed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guessed(data: Any, **told: Any) -> Any:
        return label_errors.from_probs(
            torch.rand(60, 3, generator=torch.Generator().manual_seed(0)).softmax(1), data=data
        )

    monkeypatch.setattr(front_door, "find_label_errors", guessed)
    code, out, err = typed_in(squares)("check", "squares", "--labels", "-o", "found")
    assert code == 0
    advice = "it has learnt too little to judge. Train longer (--epochs N), or try another network (--model NAME)."
    assert (advice in out, err) == (True, "")  # told once
    assert "No cleaned.csv is written" in out
    assert not (squares / "found" / "cleaned.csv").exists()
    assert (squares / "found" / "suspects.csv").exists()
    page = (squares / "found" / "suspects.html").read_text(encoding="utf-8")
    assert page.index("it has learnt too little to judge") < page.index("suspect label")
    with pytest.warns(UserWarning, match="learnt too little"):
        _, out, _ = typed_in(squares)("check", "squares", "--labels", "-o", "found", "--json", "-")
    assert json.loads(out)["is_learnt"] is False


def test_ctrl_c_says_what_is_kept_and_what_to_type(
    squares: Path, typed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = label_errors.find

    def stopped(data: Any, *, train: Any, **told: Any) -> Any:
        calls: list[int] = []

        def once(part: Any, *, seed: int) -> Any:
            calls.append(seed)
            if len(calls) == 2:
                raise Interrupted("Stopped by Ctrl-C in epoch 1 of 1.")
            return train(part, seed=seed)

        return find(data, train=once, **told)

    monkeypatch.setattr(front_door.label_errors, "find", stopped)
    code, _, err = typed_in(squares)("check", "squares", "--labels", "-o", "found", "--folds", 2, "--epochs", 1)
    assert code == 130
    assert "1 of 2 folds are done, and kept in found/folds" in err
    assert "It goes on with: lamina check squares --labels --output found --folds 2 --epochs 1" in err


def test_data_that_is_not_there_or_for_another_task_is_said(tmp_path: Path, typed_in: Any, real_data: Path) -> None:
    typed = typed_in(tmp_path)
    code, _, err = typed("check", "nowhere", "--labels")
    assert code == 2
    assert "nowhere" in err
    code, _, err = typed("check", real_data / "bccd" / "bccd_voc.zip", "--labels")
    assert code == 1
    assert "data set for detection" in err
    assert not (tmp_path / "runs").exists()
