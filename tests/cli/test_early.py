"""What is wrong with a command line is told before torch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lamina import networks
from lamina.cli import early
from lamina.cli.options import USUAL
from lamina.data.augment import AUGMENTATIONS
from lamina.data.augment.sample import SAMPLE_AUGMENTATIONS
from lamina.data.balance import BALANCES
from lamina.data.formats import FORMATS
from lamina.export import fastest, made_engines, writing
from lamina.models import tta
from lamina.optimizers import OPTIMIZERS, schedules
from lamina.recipes import names as recipes
from lamina.training.averaging import AVERAGES
from lamina.training.runtime import PRECISIONS

TABLES = {
    "optimizer": OPTIMIZERS,
    "schedule": schedules.SCHEDULES,
    "average": AVERAGES,
    "format": FORMATS,
    "precision": PRECISIONS,
    "recipe": recipes(),
    "tta": tta.NAMES,
    "balance": BALANCES,
    "augment": dict.fromkeys([*AUGMENTATIONS, *SAMPLE_AUGMENTATIONS, "usual", "mosaic"]),
    "task": USUAL,
    "backbone": networks.names(),
    "model": [name for task in USUAL for name in networks.names(task)],
}


@pytest.mark.parametrize("option", TABLES)
def test_the_names_read_off_the_source_are_those_of_the_table(option):
    assert sorted(early.known(option)) == sorted(TABLES[option])


def test_the_tables_of_exports_are_read_too():
    assert early.keys("export/writing.py", "ENGINES") == writing.ENGINES
    assert early.keys("export/writing.py", "PRECISIONS") == writing.PRECISIONS
    assert early.keys("export/made_engines.py", "ENGINES") == tuple(made_engines.ENGINES)
    assert early.keys("export/fastest.py", "PRECISIONS") == tuple(fastest.PRECISIONS)


def test_a_table_that_cannot_be_read_so_refuses_nothing(monkeypatch):
    assert early.keys("no/such/file.py", "NAMES") == early.keys("networks/__init__.py", "_NETWORKS") == ()
    monkeypatch.setattr(early, "keys", lambda file, table: ())
    early.check_options(optimizer="mine", schedule=None)


@pytest.mark.parametrize("name", ["timm/resnet18", "mine.py:Net", "package.module:Net", "unet", "resnet18"])
def test_networks_that_may_be_elsewhere_are_let_pass(name):
    early.check_network(name)
    early.check_options(model=name)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "mnist", "--optimizer", "adamm"], "'adam'"),
        (["train", "mnist", "--model", "resnet17"], "--model 'resnet17' is not known. The nearest"),
        (["train", "mnist", "--balance", "smple"], "--balance 'smple' is not known."),
        (["train", "mnist", "--augment", "flip, mosaik"], "--augment 'mosaik' is not known. The nearest"),
        (["find-lr", "mnist", "--model", "resnet17"], "'resnet18'"),
        (["summary", "resnet17"], "There is no network called 'resnet17'"),
        (["compare", "resnet18", "retinanet"], "There is no network called 'retinanet'"),
        (["train", "mnist", "--pretrained=x.npz"], "--weights FILE"),
        (["train", "mnist", "--pretrained", "x.npz"], "--weights FILE"),
        (["predict", "nowhere.safetensors", "cat.jpg"], "There is no file nowhere.safetensors."),
        (["predict", "lamina.safetensors", "cat.jpg", "--engine", "onnx"], "'onnxruntime'"),
        (["predict", "lamina.safetensors", "cat.jpg", "--precision", "float16"], "'bfloat16'"),
        (["evaluate", ".", "--tta", "flop"], "is a folder without best.safetensors"),
        (["export", "lamina.safetensors", "x.h5"], ".onnx (ONNX)"),
        (["serve", "lamina.safetensors", "--engine", "foo"], "'onnxruntime'"),
        (["curves", "nowhere"], "There is no folder nowhere."),
    ],
)
def test_a_slip_is_told_without_torch(words, told, tmp_path):
    (tmp_path / "lamina.safetensors").write_bytes(b"")
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = {['lamina', *words]!r}\nfrom lamina.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert told in ran.stderr
    assert "torch was imported" not in ran.stderr
    assert ran.returncode in (1, 2)
