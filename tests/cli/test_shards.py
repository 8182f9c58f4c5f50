"""`lamina data shard` and `lamina datasets`."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lamina import data
from lamina.cli.commands import app
from lamina.core.errors import DataError, UnknownNameError
from lamina.data import shards


@pytest.fixture
def pictures(tmp_path):
    for name in ("ants", "bees"):
        for number in range(6):
            path = tmp_path / "pictures" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((6, 5, 3), number * 9, np.uint8)).save(path)
    return tmp_path / "pictures"


def lamina(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_folder_becomes_shards_that_are_data_again(pictures, tmp_path):
    told = lamina("data", "shard", pictures, tmp_path / "out", "--samples-per-shard", 5, "--seed", 3)
    assert re.search(r"shard-000002\.tar: 2 samples, 0\.0 MB", told)
    assert (
        told.splitlines()[-1]
        == f"Pictures are in there as they came: lamina check {tmp_path / 'out'} finds broken ones."
    )
    read = data.open(tmp_path / "out")
    assert read.classes == ("ants", "bees")
    assert sorted(read.train.labels.tolist()) == [0] * 6 + [1] * 6
    with pytest.raises(DataError, match="is not empty"):
        lamina("data", "shard", pictures, tmp_path / "out")


def test_two_sizes_of_a_shard_are_refused(pictures, tmp_path):
    with pytest.raises(UnknownNameError, match="Leave one out"):
        lamina("data", "shard", pictures, tmp_path / "out", "--samples-per-shard", 5, "--megabytes", 1)


def test_the_data_sets_are_listed_with_what_a_person_wants_to_know(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    lines = {line.split()[0]: line for line in lamina("datasets").splitlines()[1:] if line}
    assert re.search(r"mnist +classification +70,000 +at hand +CC BY-SA 3\.0", lines["mnist"])
    assert re.search(r"coco2017 +detection +123,287 +20,405 MB +fetched +annotations CC BY 4\.0", lines["coco2017"])
    assert re.search(r"imagenet +classification +1,331,167 +by hand +research", lines["imagenet"])
    listed = json.loads(lamina("datasets", "--json"))
    assert [entry["name"] for entry in listed] == data.names()


def test_ctrl_c_says_what_is_left_and_the_same_command_begins_anew(pictures, tmp_path, monkeypatch):
    for name in ("ants", "bees"):
        (tmp_path / "parts/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts/val").mkdir(parents=True, exist_ok=True)
        shutil.copytree(pictures / name, tmp_path / "parts/train" / name)
        shutil.copytree(pictures / name, tmp_path / "parts/val" / name)
    words = ["data", "shard", str(tmp_path / "parts"), str(tmp_path / "out"), "--samples-per-shard", "4"]
    write, written = shards._write_file, []

    def stop(stream, name, *rest):
        written.append(name)
        if len(written) > 30:  # of the 24 pictures, two files each: in the second part
            raise KeyboardInterrupt
        return write(stream, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write_file", stop)
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 130
    last = f"before all shards were written; the same command replaces those in {tmp_path / 'out'}.\n"
    assert done.stderr == f"Stopped by Ctrl-C {last}"
    with pytest.raises(DataError, match="whose writing was not finished"):
        data.open(tmp_path / "out")
    lamina(*words)
    assert len(data.open(tmp_path / "out").train) == len(data.open(tmp_path / "out").validation) == 12
