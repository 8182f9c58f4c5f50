"""What the README says is true: its commands exist, its Python runs from top to bottom, its tree is the tree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from lamina.cli import main
from lamina.networks import create

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The contents of the fenced blocks of a language; "" for those without one."""
    return [
        body
        for found, body in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
        if found == language
    ]


COMMANDS = [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines() if line.strip()]
LAMINA = [words for words in COMMANDS if words[0] == "lamina"]


def test_there_is_something_to_check() -> None:
    assert {words[0] for words in COMMANDS} == {"make", "pip", "lamina"}
    assert len(blocks("python")) >= 3


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {words[1] for words in COMMANDS if words[0] == "make"} <= targets
    named = set(re.findall(r"`make ([a-z]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert named <= targets


@pytest.mark.parametrize("words", LAMINA, ids=" ".join)
def test_command_line_knows_the_command_and_its_options(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words[1 : 3 if words[1] == "data" else 2]  # which has commands of its own
    for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["lamina", *command, "--help"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {word for word in words if word.startswith("--")} <= known


def fetched(folder: Path) -> Path:
    """Weights of MobileNet v2 in the place of the published ones, which a test does not fetch."""
    path = folder / "mobilenet_v2.pth"
    torch.save(create("mobilenet_v2").state_dict(), path)
    return path


def test_python_runs_from_top_to_bottom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("lamina.networks.load.download", lambda *_, **__: fetched(folder))
    scope: dict[str, Any] = {"__name__": "readme"}
    for number, block in enumerate(blocks("python")):
        exec(compile(block, f"README.md, Python block {number + 1}", "exec"), scope)
    assert scope["model"].evaluate(scope["x_test"][:1000], scope["y_test"][:1000])["accuracy"] > 0.4
    assert scope["history"].history["val_accuracy"][-1] > 0.9
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "pets.safetensors").exists()


@pytest.mark.filterwarnings("ignore:The best trial")  # two dozen pictures prove nothing, and it says so
def test_commands_run_from_top_to_bottom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in LAMINA:
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code, words
    assert "<html" in (folder / "runs" / "pets" / "report.html").read_text(encoding="utf-8")


def test_tree_is_the_tree() -> None:
    (tree,) = [block for block in blocks("") if block.startswith("src/lamina/")]
    inside = dict(re.findall(r"^  (\w+)/ +(\S.*)$", tree, re.MULTILINE))
    folders = {path.parent.name for path in (ROOT / "src" / "lamina").glob("*/__init__.py")}
    assert set(inside) == folders
    outside = re.findall(r"^(\w+)/ +\S", tree, re.MULTILINE)
    assert outside
    assert [name for name in outside if not any((ROOT / name).rglob("*.py"))] == []
    assert len(inside) + len(outside) + 1 == len(tree.splitlines())


def test_files_that_are_linked_exist() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
        assert [link for link in links if not (ROOT / link).exists()] == []
