"""In a notebook, a real one: data sets, histories, cards and results draw themselves, and bars survive re-running a cell."""

from __future__ import annotations

import warnings

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = {
    "data": "from lamina import Classifier, data\nmnist = data.load('mnist')\nsmall = mnist.train.limit(400)\nsmall",
    "splits": "mnist",
    "fit": "model = Classifier('lenet5')\nhistory = model.fit(small, epochs=2)\nhistory",
    "summary": "model.summary()",
    "card": "model.card()",
    "result": "model.predict(mnist.test.images[0])",
}


@pytest.fixture(scope="module")
def notebook():
    """Output of each cell, of which "fit" was run twice."""
    pages = {name: nbformat.v4.new_code_cell(source) for name, source in CELLS.items()}
    client = NotebookClient(nbformat.v4.new_notebook(cells=list(pages.values())), timeout=120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the notebook's own parts: loops, ports
        with client.setup_kernel():
            for number, cell in enumerate(pages.values()):
                client.execute_cell(cell, number)
            client.execute_cell(pages["fit"], list(pages).index("fit"))
    return {name: cell["outputs"] for name, cell in pages.items()}


def html(outputs):
    return [each["data"]["text/html"] for each in outputs if "text/html" in each.get("data", {})]


def test_a_data_set_shows_a_few_of_its_samples(notebook):
    (page,) = html(notebook["data"])
    assert "400 pictures 1x28x28" in page
    assert "data:image/jpeg;base64," in page
    assert "60,000 train, 10,000 test" in html(notebook["splits"])[0]


def test_a_cell_that_is_run_again_shows_its_epochs_once(notebook):
    bar, history = html(notebook["fit"])
    assert [line.split("  ")[0] for line in bar.removeprefix('<pre style="margin:0">').splitlines()] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert "<progress" not in bar
    assert "val_accuracy" in history
    assert "<polyline" in history


def test_nothing_is_printed_twice_or_warned_of(notebook):
    for name, outputs in notebook.items():
        assert not [each for each in outputs if each["output_type"] == "error"], name
        assert not [each for each in outputs if each.get("name") == "stderr" and "Warning" in each["text"]], name


@pytest.mark.parametrize("name", ["summary", "card", "result"])
def test_results_and_summaries_draw_themselves(notebook, name):
    assert html(notebook[name])
