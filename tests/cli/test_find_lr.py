"""`lamina find-lr`, as a person types it."""

from __future__ import annotations

import json

import pytest

from lamina.cli import main
from lamina.tasks import Classifier


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
        (["mnist", "--size", "big"], "--size 'big'"),
    ],
)
def test_wrong_names_are_told_with_the_nearest(monkeypatch, capsys, arguments, says) -> None:
    code, shown = lamina(monkeypatch, capsys, "find-lr", *arguments)
    assert code == 2
    assert says in shown.err


def test_a_picture_that_cannot_be_written_is_told_before_the_test(monkeypatch, capsys, tmp_path) -> None:
    tmp_path.joinpath("file").touch()
    for path, says in (("lr.xyz", "lr.png"), ("lr", "lr.png"), ("", "is a folder"), ("file/lr.png", "file")):
        code, shown = lamina(monkeypatch, capsys, "find-lr", "no such data", "--plot", tmp_path / path)
        assert code == 1
        assert says in shown.err
        assert "no such data" not in shown.err
    assert not lamina(monkeypatch, capsys, *SMALL, "--plot", tmp_path / "new" / "lr.png")[0]
    assert (tmp_path / "new" / "lr.png").exists()


def test_pictures_are_resized_as_asked(monkeypatch, capsys) -> None:
    seen = []
    monkeypatch.setattr(Classifier, "find_lr", lambda self, *_, **__: seen.append(self.preprocess.size) or Told())
    assert not lamina(monkeypatch, capsys, *SMALL, "--size", "20x24", "--json")[0]
    assert not lamina(monkeypatch, capsys, *SMALL, "--size", "20", "--json")[0]
    assert seen == [(20, 24), (20, 20)]


class Told:
    def to_dict(self):
        return {}
