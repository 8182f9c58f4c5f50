"""A person at the command line."""

from __future__ import annotations

from html import escape

import numpy as np
import pytest
from PIL import Image

from lamina.cli import main, opening, patience

PARAMETERS_OF = opening.parameters_of


@pytest.fixture(autouse=True)
def unlaboured(monkeypatch):
    """Spares most of what a short run costs: the figures of its report are only named, and of all networks that `lamina models` lists one
    is built. tests/explain draws figures, and tests/test_readme.py types `lamina models` for all.
    """

    def named(figure, *, label):
        return f'<svg role="img" aria-label="{escape(label)}"></svg>'

    monkeypatch.setattr("lamina.explain.drawn.inline", named)
    monkeypatch.setattr(opening, "parameters_of", lambda name: PARAMETERS_OF(name) if name == "cifar_resnet20" else "-")


@pytest.fixture
def typed_in(monkeypatch, capsys):
    """Goes to a folder; what is given back types a command there: (exit code, stdout, stderr)."""

    def go(folder):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(patience, "_QUIET_S", 600.0)  # a slow machine says no more than a fast one
        return run

    def run(*words):
        monkeypatch.setattr("sys.argv", ["lamina", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return go


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 40 pictures without parts, in the current directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = (rng.random((32, 32)) * 100 + index * 120).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"
