"""Every example runs as it stands and asserts itself that it learned."""

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_runs_and_learns(path, capsys):
    state = torch.get_rng_state()
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        torch.set_rng_state(state)
    assert capsys.readouterr().out.strip()


def test_there_are_examples():
    assert len(EXAMPLES) >= 5
