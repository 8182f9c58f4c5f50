"""`lamina check`, as a person types it."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def typed(tmp_path, typed_in):
    for index in range(8):
        (tmp_path / f"pets/c{index % 2}").mkdir(parents=True, exist_ok=True)
        rough = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(rough).resize((80, 80), Image.Resampling.BICUBIC).save(
            tmp_path / f"pets/c{index % 2}/{index}.png"
        )
    return typed_in(tmp_path)


def test_good_data_end_with_0_and_faults_with_1(typed, tmp_path):
    code, out, err = typed("check", "pets")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "0 errors, 0 conversions, 0 doubts in 8 pictures"
    (tmp_path / "pets/c0/copy.png").write_bytes((tmp_path / "pets/c0/0.png").read_bytes())
    code, out, _ = typed("check", "pets")
    assert code == 0, "a doubt is no error"
    assert "c0/0.png: the same bytes as c0/copy.png" in out
    (tmp_path / "pets/c1/cut.jpg").write_bytes(b"")
    code, out, _ = typed("check", "pets", "--no-duplicates")
    assert code == 1
    assert "c1/cut.jpg: it has no bytes" in out
    assert "copy.png" not in out


def test_json_goes_to_a_file_or_takes_the_place_of_the_table(typed, tmp_path):
    (tmp_path / "pets/c1/cut.jpg").write_bytes(b"")
    code, out, _ = typed("check", "pets", "--json", "-")
    assert code == 1
    assert json.loads(out)["counts"]["errors"] == 1
    code, out, _ = typed("check", "pets", "--json", "found.json")
    assert code == 1
    assert out.splitlines()[-1] == "found.json"
    assert json.loads((tmp_path / "found.json").read_text())["faults"][0]["kind"] == "empty file"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("check", "pets", "--format", "vocc"), 2, "'voc'"),
        (("check", "pets", "--task", "detection"), 2, "classification"),
        (("check", "mnits"), 2, "mnist"),
        (("check", "no/where"), 1, "is not there"),
    ],
)
def test_a_slip_is_told_without_a_trace(typed, words, code, told):
    ended, out, err = typed(*words)
    assert ended == code
    assert told in err
    assert "Traceback" not in err + out


def test_training_can_refuse_what_it_would_replace(typed, tmp_path):
    (tmp_path / "pets/c1/cut.png").write_bytes(b"x")
    words = ("train", "pets", "--model", "fastconvnet", "--size", 28, "--epochs", 1)
    code, _, err = typed(*words, "--on-bad", "raise", "--output", "strict")
    assert code == 1
    assert "cut.png" in err
    code, _, err = typed(*words, "--on-bad", "skip", "--output", "none")
    assert code == 2
    assert "--on-bad 'skip'" in err


def test_ctrl_c_says_what_was_left_with_exit_code_130(typed, tmp_path, monkeypatch):
    from lamina.data import checking

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(checking, "check_duplicates", stop)
    code, out, err = typed("check", "pets", "--json", "found.json")
    assert (code, out) == (130, "")
    assert err == "Stopped by Ctrl-C before all pictures were looked at; nothing was written.\n"
    assert not (tmp_path / "found.json").exists()
