"""What the site says is true: the Python of each page runs, its commands exist, examples and pages are all listed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from lamina.cli import main
from lamina.networks import create

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("[0-9]*.py"))


def blocks(page: str, language: str) -> list[str]:
    """The contents of a page's fenced blocks of a language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_of_a_page_runs_from_top_to_bottom(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object, **__: object) -> Path:
        torch.save(create("mobilenet_v2").state_dict(), folder / "mobilenet_v2.pth")
        return folder / "mobilenet_v2.pth"

    torch.manual_seed(0)
    monkeypatch.setattr("lamina.networks.load.download", fetched)
    scope: dict[str, object] = {"__name__": "docs"}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"docs/{page}, Python block {number + 1}", "exec"), scope)


def test_commands_and_their_options_exist(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for variable, value in {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(variable, value)
    lines = {line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()}
    typed = [shlex.split(line, comments=True) for line in lines if line.startswith("lamina ")]
    assert len(typed) > 10
    told: dict[str, str] = {}
    for words in typed:
        command = words[1 : 3 if words[1] == "data" else 2]
        name = " ".join(command)
        if name not in told:
            monkeypatch.setattr("sys.argv", ["lamina", *command, "--help"])
            with pytest.raises(SystemExit):
                main()
            told[name] = capsys.readouterr().out
        options = {word for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", told[name])), words


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == PAGES
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["theme"]["font"] is False


def test_every_example_is_shown() -> None:
    shown = re.findall(r'--8<-- "examples/([^:"]+)', (DOCS / "examples.md").read_text(encoding="utf-8"))
    assert shown == EXAMPLES
