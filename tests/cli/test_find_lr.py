"""`lamina find-lr`, as a person types it."""

from __future__ import annotations

import json

import pytest

from lamina.cli import main


def lamina(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["lamina", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr()


SMALL = ("find-lr", "mnist", "--model", "fastconvnet", "--limit", 40, "--batch-size", 8, "--steps", 10)


def test_prints_what_suggests_itself_and_draws_it(monkeypatch, capsys, tmp_path) -> None:
    code, shown = lamina(monkeypatch, capsys, *SMALL, "--plot", tmp_path / "lr.png")
    assert not code
    assert shown.out.startswith("Learning-rate range test: ")
    assert shown.out.splitlines()[-1] == str(tmp_path / "lr.png")
    assert (tmp_path / "lr.png").stat().st_size > 5000


def test_prints_json_with_the_verdict(monkeypatch, capsys) -> None:
    code, shown = lamina(monkeypatch, capsys, *SMALL, "--check", "1e-9", "--json")
    assert not code
    told = json.loads(shown.out)
    assert told["verdict"]["word"] == "too low"
    assert len(told["rates"]) == len(told["losses"]) <= 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mnits"], "'mnist'"),
        (["mnist", "--model", "deepconvet"], "'deepconvnet'"),
        (["mnist", "--optimizer", "adamm"], "'adam'"),
    ],
)
def test_wrong_names_are_told_with_the_nearest(monkeypatch, capsys, arguments, says) -> None:
    code, shown = lamina(monkeypatch, capsys, "find-lr", *arguments)
    assert code == 2
    assert says in shown.err
