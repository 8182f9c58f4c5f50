"""What made the page hard to read: words that wrapped apart, tables without end, legends over the edge."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lamina import explain
from lamina.explain import drawn, html
from lamina.explain.profile_table import LayerTime, Profile
from lamina.models.summary import Row, Summary


def test_a_number_and_its_per_cent_sign_stay_on_one_line():
    page = html.document("Title", subtitle="", sections=[("Part", "<p>says 84.5 %, right in 80 % of 3 %x</p>")])
    assert "84.5\N{NO-BREAK SPACE}%" in page
    assert "80\N{NO-BREAK SPACE}% of" in page


def layers(count):
    return Summary(
        tuple(Row(f"conv{k}", "Conv2d", ((8, 4, 4),), 10, 100 + k, (3, 3)) for k in range(count)), 10, 10, 1000
    )


def test_a_long_table_of_layers_shows_those_with_the_most_work_and_unfolds():
    told = html.layer_table(layers(160))
    seen, _, folded = told.partition("<details>")
    assert re.findall(r"conv\d+", seen) == [f"conv{k}" for k in range(148, 160)]
    assert "<summary>All 160 layers</summary>" in folded
    assert folded.count("<tr>") == 161
    assert "<details>" not in html.layer_table(layers(30))


def profile_of(count):
    row = [LayerTime(f"conv{k}", "convolution", 1, 0.001 * (k + 1), None, 10, 10, 10) for k in range(count)]
    whole = sum(one.forward_s for one in row)
    return Profile("net", (1, 3, 8, 8), "cpu", tuple(row), whole, None, None, 1e9, 1, None, None, None)


def test_a_profile_has_a_bar_for_each_layer_that_is_shown_and_none_for_the_rest():
    figure = profile_of(40).figure()
    names = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert len(names) == 24
    assert not [name for name in names if "more" in name]
    assert re.search(r"24 slowest \(the other 16 take 16\.6 %\)", figure.axes[1].get_title())
    assert figure.axes[1].get_title() != profile_of(5).figure().axes[1].get_title() == "by layer"


@pytest.mark.parametrize(("name", "across"), [("cat", 2), ("a rather long name of a class", 1)])
def test_the_legend_of_curves_stays_within_the_figure(name, across):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    probs = rng.dirichlet(np.ones(3), 90)
    ranked = explain.rankings(probs, labels, classes=[f"{name} {k}" for k in range(3)])
    for figure in (explain.roc_figure(ranked), explain.precision_recall_figure(ranked)):
        figure.draw_without_rendering()
        legend = figure.legends[0]
        assert legend._ncols == across
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_perfect_curves_do_not_run_beyond_all():
    labels = np.arange(30) % 3
    ranked = explain.rankings(np.eye(3)[labels], labels, classes=["a", "b", "c"])
    assert explain.roc_figure(ranked).axes[0].get_ylim()[1] <= 1.0002


def test_pictures_of_plots_have_no_paper_of_their_own_in_the_page():
    figure = profile_of(3).figure()
    assert drawn.png_url(figure) != drawn.png_url(figure, transparent=True)
