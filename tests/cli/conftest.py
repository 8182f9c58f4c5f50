"""A person at the command line."""

from __future__ import annotations

import pytest

from lamina.cli import main, patience


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
