"""`lamina train --resume`: which folder is a run to go on with, and with what."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lamina.cli import work
from lamina.cli.commands import app
from lamina.core.errors import UnknownNameError
from lamina.training import RunFolder

OPTIONS = work.TrainOptions(
    model="fastconvnet", epochs=1, batch_size=8, output=Path("run"), device="cpu", precision="float32"
)


def config(run="run"):
    return yaml.safe_load((Path(run) / "config.yaml").read_text())


def test_resume_alone_in_a_run_goes_on_with_the_options_it_began_with(photos, monkeypatch):
    begun = ["train", "photos", "--model", "fastconvnet", "--batch-size", "8", "--lr", "0.02", "--schedule", "cosine"]
    begun += ["--average", "ema", "--seed", "3", "--epochs", "1", "--log-every", "2", "--output", "run"]
    ran = CliRunner().invoke(app, begun)
    assert ran.exit_code == 0, ran.output
    first = config()
    assert Path("run/steps.csv").exists()
    monkeypatch.chdir("run")
    ran = CliRunner().invoke(app, ["train", "--resume", "--epochs", "2"])
    assert ran.exit_code == 0, ran.output
    assert config(".") == {**first, "epochs": 2, "asked": {**first["asked"], "epochs": 2}}
    assert first["asked"]["lr"] == 0.02
    assert len(Path("results.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("left", [("config.yaml",), ("config.yaml", "previous.ckpt")], ids=["config", "previous"])
def test_resume_alone_goes_on_where_there_is_no_last_checkpoint(photos, monkeypatch, left):
    begun = ["train", "photos", "--model", "fastconvnet", "--batch-size", "8", "--epochs", "1", "--output", "run"]
    assert CliRunner().invoke(app, begun).exit_code == 0
    curve = Path("run/results.csv").read_text()
    Path("run/last.ckpt").rename("run/previous.ckpt")
    for path in Path("run").iterdir():
        if path.name not in left:
            path.unlink()
    monkeypatch.chdir("run")
    ran = CliRunner().invoke(app, ["train", "--resume"])
    assert ran.exit_code == 0, ran.output
    assert ("is finished" in ran.output) == ("previous.ckpt" in left)
    assert Path("results.csv").read_text() == curve


def test_a_run_s_config_is_whole_from_the_beginning(photos, monkeypatch):
    begin, kept = RunFolder.on_train_begin, []

    def killed(self, logs):
        begin(self, logs)
        kept.append(config())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_train_begin", killed)
        with pytest.raises(KeyboardInterrupt):
            work.train("photos", OPTIONS)
    assert kept[0]["data"] == str(photos)
    assert "format" not in kept[0]
    work.train(*work.as_begun(None, replace(OPTIONS, resume=True), given={"output", "resume"}))
    assert config() == kept[0]


def test_another_program_s_config_is_no_run_to_go_on_with(photos):
    Path("config.yaml").write_text("name: a project of mine\n")
    options = replace(OPTIONS, output=Path("new"), resume=True)
    assert work.as_begun("photos", options, given={"resume"}) == ("photos", options)
    with pytest.raises(UnknownNameError, match="holds no run"):
        work.train(*work.as_begun(None, options, given={"resume"}))
