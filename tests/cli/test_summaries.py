"""`lamina summary`, as a person types it."""

import json

import pytest
import torch
from torch import nn

import lamina
from lamina.cli import main

NETS = """
from torch import nn

class Tiny(nn.Module):
    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.body, self.head = nn.Conv2d(in_channels, 8, 3), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

class Crash(Tiny):
    def forward(self, x):
        return self.head(self.body(x).flatten(1))
"""


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """What the command prints: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown_nets.py").write_text(NETS)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["lamina", "summary", *words])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return run


def classifier():
    torch.manual_seed(0)
    return lamina.Classifier(
        "fastconvnet", preprocess=lamina.Preprocess(channels=1, size=(28, 28)), classes=["dark", "light"]
    )


def test_an_ensemble_is_shown_member_by_member(typed):
    for name in ("a", "b"):
        classifier().save(f"{name}.safetensors")
    lamina.Ensemble(["a.safetensors", "b.safetensors"]).save("both.safetensors")
    code, out, err = typed("both.safetensors")
    assert code == 0, err
    assert [line for line in out.splitlines() if line.endswith(".safetensors")] == ["a.safetensors", "b.safetensors"]
    members = json.loads(typed("both.safetensors", "--json")[1])["members"]
    alone = json.loads(typed("a.safetensors", "--json")[1])
    assert [member.pop("name") for member in members] == ["a.safetensors", "b.safetensors"]
    assert members == [alone, alone]


def test_a_file_of_a_module_of_ones_own_is_shown_by_its_function(typed):
    class Tiny(nn.Sequential):
        pass

    net = Tiny(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 30 * 30, 2))
    lamina.Classifier(net, preprocess=lamina.Preprocess(size=(32, 32)), classes=["a", "b"]).save("own.safetensors")
    code, _, err = typed("own.safetensors")
    assert (code, "--model FILE.py:function" in err) == (1, True)
    assert "No such option" not in typed("own.safetensors", "--model", "shown_nets.py:Tiny")[2]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["shown_nets.py:Tiny"], 1, "Add --input-shape 3,32,32: channels, height, width."),
        (
            ["shown_nets.py:Tiny", "--input-shape", "224"],
            1,
            "without the batch, of a picture (channels, height, width)",
        ),
        (["shown_nets.py:Tiny", "--input-shape", "224,160,3"], 2, "Use 3,224,160."),
        (["shown_nets.py:Crash", "--input-shape", "3,32,32"], 1, "If (3, 32, 32) is right"),
        (["fastconvnet", "--input-shape", "224"], 2, "Channels, height and width of one picture"),
        (["fastconvnet", "--input-shape", "28,28,1"], 2, "Use 1,28,28."),
        (["fastconvnet", "--input-shape", "1,-28,28"], 2, "is no shape"),
        (["fastconvnet", "--model", "shown_nets.py:Tiny"], 2, "lamina summary shown_nets.py:Tiny"),
    ],
)
def test_what_cannot_be_shown_is_told_with_what_to_type(typed, words, code, says):
    came, _, err = typed(*words)
    assert came == code, err
    assert says in err
    assert ".." not in err


def test_channels_may_come_last_where_the_network_says_so(typed, tmp_path):
    (tmp_path / "keras_like.py").write_text(
        "from lamina import layers, models\n"
        "def net():\n"
        "    x = layers.Input(shape=(32, 32, 3), data_format='channels_last')\n"
        "    return models.Model(x, layers.Dense(2)(layers.Flatten()(x)))\n"
    )
    code, _, err = typed("keras_like.py:net", "--input-shape", "32,32,3")
    assert code == 0, err


def test_a_detector_and_a_segmenter_have_a_table_too(typed):
    code, out, err = typed("unet", "--input-shape", "3,64,64", "--json")
    assert code == 0, err
    assert json.loads(out)["parameters"] == 6_628_970
    assert typed("fcos", "--input-shape", "3,64,64", "--json")[0] == 0
