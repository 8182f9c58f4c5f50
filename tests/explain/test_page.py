import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from torch import nn

from lamina import explain
from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.explain import page as composing
from lamina.explain import report
from lamina.explain.labellings import THRESHOLDS, threshold_curves
from lamina.models.summary import summarize

VOID = {"meta", "img", "br", "use", "path", "rect", "circle"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects text, attributes and pictures."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.attributes, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def made(tmp_path, probs, labels, *, classes=None, size=8, channels=1, images=None, **more):
    if images is None:
        images = np.zeros((len(labels), channels, size, size), np.uint8)
    classes = classes or tuple(str(k) for k in range(probs.shape[1]))
    data = SimpleNamespace(images=images, labels=np.asarray(labels), classes=classes, name="toys")
    model = SimpleNamespace(predict_probs=lambda _: probs, name="tiny")
    return report(model, data, path=tmp_path / "report.html", **more).read_text(encoding="utf-8")


def answers(count, num_classes, *, wrong):
    """`wrong` of the samples are taken for the next class, with falling confidence."""
    labels = np.arange(count) % num_classes
    predicted = np.where(np.arange(count) < wrong, (labels + 1) % num_classes, labels)
    confidence = np.linspace(0.99, 0.6, count)[:, None]
    rest = (1 - confidence) / (num_classes - 1)
    return np.where(np.arange(num_classes) == predicted[:, None], confidence, rest), labels


def test_tells_accuracy_mistakes_and_samples_first(tmp_path):
    page = Page(made(tmp_path, *answers(1000, 10, wrong=7)))
    assert "tiny on toys" in page.text
    assert re.search(r"99\.30 ?%.*7 mistakes in 1,000 samples.*95 % interval", page.text)


def test_needs_nothing_from_elsewhere(tmp_path):
    text = made(tmp_path, *answers(50, 3, wrong=9), history={"loss": [1.0, 0.5], "val_loss": [1.0, 0.7]})
    assert not re.search(r"https?:|url\((?!#)|@import|src=\"(?!data:)", text)
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    loads = [value for _, name, value in page.attributes if name in ("src", "srcset", "href", "xlink:href")]
    assert loads
    assert all(value.startswith(("data:image/", "#")) for value in loads)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text


def test_each_mistake_shows_prediction_upper_left_and_truth_lower_right(tmp_path):
    text = made(tmp_path, *answers(20, 4, wrong=2), classes=("ant", "bee", "cat", "dog"))
    shown = text[text.index('id="mistakes"') :]
    tiles = re.findall(
        r'<figure>.*?class="said"[^>]*>(.*?)</b>.*?class="truth"[^>]*>(.*?)</b>.*?#(\d+)', shown, re.DOTALL
    )
    assert tiles[:2] == [("bee", "ant", "0"), ("cat", "bee", "1")]
    assert len(tiles) == 4  # the same two stand behind their cells of the matrix
    assert re.search(r"\.picture \.said \{ top: 0; left: 0;", text)
    assert re.search(r"\.picture \.truth \{ bottom: 0; right: 0;", text)


def test_the_confusion_table_has_the_truth_in_rows(tmp_path):
    text = made(tmp_path, *answers(20, 4, wrong=2), classes=("ant", "bee", "cat", "dog"))
    row = re.search(r'<tr><th scope="row">ant</th>(.*?)</tr>', text).group(1)
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["4", '<a href="#cell-0-1">1</a>', "", ""]


def test_the_table_of_classes_marks_the_worst(tmp_path):
    text = made(tmp_path, *answers(20, 4, wrong=1), classes=("ant", "bee", "cat", "dog"))
    assert '<th scope="row">ant</th><td>100.00</td><td class="worst">80.00</td>' in text


def test_a_model_without_a_mistake_gets_a_good_page(tmp_path):
    page = Page(made(tmp_path, *answers(300, 3, wrong=0)))
    assert re.search(r"100\.00 ?%.*Not one mistake in 300 samples", page.text)
    assert "Every picture was classified right." in page.text
    assert "Hardest class" not in page.text
    assert 'class="worst"' not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("num_classes", [2, 12, 13, 40, 41, 1000])
def test_any_number_of_classes_makes_a_page(tmp_path, num_classes):
    text = made(tmp_path, *answers(3 * num_classes, num_classes, wrong=num_classes // 2), size=2)
    page = Page(text)
    assert ("Top-5 accuracy" in page.text) == (num_classes > 10)
    assert ('alt="confusion matrix' in text) == (num_classes > 40)
    assert len(text) < 2_000_000


def test_ten_thousand_wrong_digits_stay_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (10_000, 1, 28, 28), dtype=np.uint8)  # does not compress
    text = made(tmp_path, *answers(10_000, 10, wrong=10_000), images=noise)
    assert len(text.encode()) < 2_000_000
    assert text[: text.index('id="confusion-matrix"')].count("<figure>") == 300
    assert text.count("<figure>") == 300 + 10 * 12  # those behind the cells
    assert "The 300 most confident of 10,000 are shown." in text


def test_photographs_stay_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), dtype=np.uint8).repeat(300, axis=0)
    text = made(tmp_path, *answers(300, 3, wrong=300), images=noise)
    assert len(text.encode()) < 10_000_000


def test_names_cannot_break_the_page(tmp_path):
    classes = ("<script>alert(1)</script>", 'a"b&c', "日本")
    settings = {"<i>": "</dl><script>", "nested": {"lr": 0.1}}
    text = made(tmp_path, *answers(30, 3, wrong=6), classes=classes, title="<h1>", settings=settings)
    page = Page(text)
    assert "script" not in page.tags
    assert "i" not in page.tags[page.tags.index("nav") :]
    assert "日本" in page.text
    assert '{"lr": 0.1}' in page.text


def test_learning_curves_are_drawn_in_the_colours_of_the_page(tmp_path):
    text = made(tmp_path, *answers(30, 3, wrong=6), history={"loss": [1, 0.5], "accuracy": [0.5, 0.8], "lr": [1, 1]})
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) == 4 + 2
    assert all("var(--ink)" in svg and "<text" in svg for svg in drawn)
    assert all(re.findall(r"#[0-9a-f]{6}(?=[;\"])", svg) in ([], ["#000000"]) for svg in drawn)
    assert "Learning curves" not in made(tmp_path, *answers(30, 3, wrong=6))


def test_shows_the_layers_where_the_model_can_tell_them(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    probs, labels = answers(30, 3, wrong=6)

    class Wrapped:
        def predict(self, images):
            return probs

        def summary(self, input_shape=None, *, show=True):
            if input_shape is None:
                raise LaminaError("No shape.", "One is needed.", "Give it.")
            return summarize(net, [input_shape])

    data = SimpleNamespace(images=np.zeros((30, 1, 8, 8), np.uint8), labels=labels, classes=("a", "b", "c"))
    page = Page(report(Wrapped(), data, path=tmp_path / "report.html").read_text(encoding="utf-8"))
    assert re.search(r"Layers 475 parameters.*0 Conv2d 4 x 6 x 6 40 1,296 3 .*3 Linear 3 435", page.text)


def test_a_network_whose_layers_cannot_be_listed_gets_its_report(tmp_path):
    class Opaque:
        def predict(self, images):
            return answers(30, 3, wrong=6)[0]

        def summary(self, input_shape=None, *, show=True):
            raise LaminaError("It cannot.", "It should.", "Nothing to do.")

    data = SimpleNamespace(images=np.zeros((30, 1, 8, 8), np.uint8), labels=np.arange(30) % 3, classes=("a", "b", "c"))
    page = Page(report(Opaque(), data, path=tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "6 mistakes in 30 samples" in page.text
    assert "Layers" not in page.text


def test_tells_how_it_was_made(tmp_path):
    page = Page(made(tmp_path, *answers(30, 3, wrong=6), settings={"batch_size": 128}))
    for words in ("batch_size 128", "30 of 1 x 8 x 8", "torch 2", "lamina ", "Python 3"):
        assert words in page.text


def test_leaves_matplotlib_as_it_was(tmp_path):
    def settings():  # the backend is chosen when somebody looks
        return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}

    before = settings()
    made(tmp_path, *answers(30, 3, wrong=6), history={"loss": [1.0, 0.5]})
    assert settings() == before


def test_a_report_that_fails_leaves_the_old_one(tmp_path):
    old = made(tmp_path, *answers(30, 3, wrong=6))
    with pytest.raises(DataError, match=r"label 0 is 7.*0 to 2"):
        made(tmp_path, np.eye(3), [7, 1, 2])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == old


def test_a_full_disk_leaves_the_old_report(tmp_path, monkeypatch):
    old = made(tmp_path, *answers(30, 3, wrong=6))

    def half(path, text, **_):
        path.write_bytes(text.encode()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        made(tmp_path, *answers(30, 3, wrong=9))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == old


def test_a_model_of_other_classes_is_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"2 class names for 3 classes.*trained on"):
        made(tmp_path, *answers(30, 3, wrong=6), classes=("a", "b"))


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"empty.*At least one"):
        made(tmp_path, np.zeros((0, 3)), [])


def test_a_mistake_is_named_by_its_file_where_that_is_known(tmp_path):
    probs, labels = answers(40, 4, wrong=3)
    data = SimpleNamespace(images=np.zeros((40, 1, 8, 8), np.uint8), labels=labels, classes=tuple("abcd"), name="toys")
    data.sources = [f"/photos/{'abcd'[label]}/<{index}>.jpg" for index, label in enumerate(labels)]
    model = SimpleNamespace(predict_probs=lambda _: probs, name="tiny")
    page = Page(report(model, data, path=tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "<0>.jpg" in page.text
    assert "#0" not in page.words
    assert ("span", "title", "/photos/a/<0>.jpg") in page.attributes
    assert "name of its file" in page.text
    assert "#0" in Page(made(tmp_path, probs, labels)).words


def test_each_cell_of_the_matrix_leads_to_the_pictures_behind_it(tmp_path):
    text = made(tmp_path, *answers(200, 4, wrong=30), classes=("ant", "bee", "cat", "dog"))
    links = set(re.findall(r'href="#(cell-[\d-]+)"', text))
    assert links == set(re.findall(r'id="(cell-[\d-]+)"', text)) == {"cell-0-1", "cell-1-2", "cell-2-3", "cell-3-0"}
    panel = re.search(r'id="cell-1-2".*?</div>\n(?=<div class="cell"|</div>)', text, re.DOTALL).group(0)
    assert "<b>bee</b> taken for <b>cat</b>: 8 pictures" in panel
    assert panel.count("<figure>") == 8
    assert re.findall(r"#(\d+)</span>", panel) == ["1", "5", "9", "13", "17", "21", "25", "29"]
    assert ".cell:target { display: block" in text


def test_cells_show_the_surest_pictures_and_say_how_many_there_are(tmp_path):
    text = made(tmp_path, *answers(200, 2, wrong=60))
    assert text.count("30 pictures, the 12 most confident of them") == 2


def test_a_matrix_too_large_for_numbers_links_from_the_list_of_pairs(tmp_path):
    text = made(tmp_path, *answers(500, 50, wrong=120), size=2)
    assert re.search(r'<td>0</td><td>1</td><td><a href="#cell-0-1">3</a></td>', text)


@pytest.mark.parametrize(
    ("num_classes", "side", "shown"), [(1000, 224, 300), (3, 500, 5000)], ids=["many classes", "large pictures"]
)
def test_no_data_set_makes_a_page_beyond_ten_megabytes(tmp_path, num_classes, side, shown):
    one = np.random.default_rng(0).integers(0, 256, (3, side, side), dtype=np.uint8)  # compresses badly
    probs, labels = answers(2 * num_classes + 900, num_classes, wrong=num_classes + 500)
    images = np.broadcast_to(one, (len(labels), 3, side, side))
    text = made(tmp_path, probs, labels, images=images, shown=shown)
    assert len(text.encode()) < 10_000_000
    assert "More would make this page too large." in text


def test_a_section_that_finds_no_room_is_left_out_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(composing, "SECTIONS", (("Big", lambda _: "x" * 20_000_000), ("Small", lambda _: "y")))
    text = made(tmp_path, *answers(30, 3, wrong=6))
    assert "Left out, for its 20.0 MB would make this page too large." in text
    assert "y</details>" in text


def test_a_section_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    def failing(_):
        raise LaminaError("<b> came.", "Other things.", "Do that.")

    monkeypatch.setattr(composing, "SECTIONS", (("Bad", failing), ("None", lambda _: "")))
    text = made(tmp_path, *answers(30, 3, wrong=6))
    assert "Not drawn: &lt;b&gt; came." in text
    assert 'href="#bad"' in text
    assert 'href="#none"' not in text


def test_sections_fold_and_stand_open(tmp_path):
    text = made(tmp_path, *answers(30, 3, wrong=6))
    assert '<section id="calibration"><details open class="part"><summary><h2>Calibration</h2></summary>' in text


def test_tells_calibration_and_ranking(tmp_path):
    said = Page(made(tmp_path, *answers(300, 3, wrong=30)))
    for words in ("expected calibration error", "Brier score", "Logits divided by", "mean average precision"):
        assert words in said.text
    drawn = [value for tag, name, value in said.attributes if tag == "svg" and name == "aria-label"]
    assert {"Reliability", "Mistakes where it is sure", "ROC", "Precision and recall"} <= set(drawn)


def test_a_model_without_a_mistake_is_told_no_temperature(tmp_path):
    assert "Logits divided by" not in made(tmp_path, *answers(300, 3, wrong=0))


def test_a_temperature_that_makes_it_worse_is_not_advised(tmp_path):
    probs, labels = answers(300, 3, wrong=60)  # the surest answers are wrong, which no temperature mends
    found = explain.fit_temperature(probs, labels)
    assert found.after.ece > found.before.ece
    said = made(tmp_path, probs, labels)
    assert "A temperature does not help" in said
    assert "model.calibrate" not in said


def test_a_folder_as_report_and_a_number_that_is_none_are_refused(tmp_path):
    data = SimpleNamespace(images=np.zeros((4, 1, 8, 8), np.uint8), labels=np.zeros(4, int), classes=("a", "b"))
    model = SimpleNamespace(predict_probs=lambda _: 1 / 0)  # before anything is asked of it
    with pytest.raises(LaminaError, match=r"which is a folder.*report\.html"):
        report(model, data, path=tmp_path)
    for shown in (-1, "3", True):
        with pytest.raises(LaminaError, match="shown is"):
            report(model, data, path=tmp_path / "report.html", shown=shown)


def test_two_classes_are_drawn_larger(tmp_path):
    assert 'class="confusion few"' in made(tmp_path, *answers(30, 2, wrong=6))
    assert 'class="confusion few"' not in made(tmp_path, *answers(30, 5, wrong=6))


def test_one_sample_makes_a_page(tmp_path):
    assert "1 mistake in 1 sample" in Page(made(tmp_path, *answers(1, 3, wrong=1))).text


def test_gradient_norms_of_the_run_are_drawn(tmp_path):
    (tmp_path / "gradients.csv").write_text("step,conv,head\n5,0.1,0.5\n10,0.2,0.4\n15,nan,0\n")
    said = Page(made(tmp_path, *answers(30, 3, wrong=6), run=tmp_path))
    assert "Gradients" in said.text
    (tmp_path / "gradients.csv").write_text("step,conv,head\n")
    assert "By depth" not in Page(made(tmp_path, *answers(30, 3, wrong=6), run=tmp_path)).text


def several(tmp_path, probs, labels, **more):
    images = np.zeros((len(labels), 1, 8, 8), np.uint8)
    data = SimpleNamespace(images=images, labels=labels, classes=("sky", "<sea>", "sun"), name="beach", **more)
    model = SimpleNamespace(predict_probs=lambda _: probs, name="tiny", multi_label=True)
    return report(model, data, path=tmp_path / "report.html").read_text(encoding="utf-8")


def test_several_labels_a_picture_have_a_page_of_their_own(tmp_path):
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]] * 10)
    probs = np.where(labels, 0.9, 0.2).astype(np.float32)
    probs[0, 0], probs[2, 0] = 0.1, 0.95
    text = several(tmp_path, probs, labels)
    said = Page(text)
    assert "2 wrong labels" in said.text
    assert re.search(r"Labels right 98\.\d+ ?%.*Hardest label sky", said.text)
    assert "sky: 2 mistakes" in said.text
    assert "1 picture: has it and was not given it" in said.text
    assert "1 picture: was given it and has it not" in said.text
    assert re.search(r'<th scope="row">sun</th>(<td>&ndash;</td>){2}', text)
    assert "Confusion matrix" not in said.text
    assert "script" not in said.tags
    assert {"Thresholds", "ROC", "Reliability"} <= {value for _, name, value in said.attributes if name == "aria-label"}


def test_thresholds_of_several_labels_are_counted_by_hand():
    probs, labels = np.array([[0.9], [0.6], [0.4], [0.2]]), np.array([[1], [0], [1], [0]])
    found = threshold_curves(probs, labels)
    at = list(np.round(THRESHOLDS, 2)).index
    assert found.precision[0, at(0.5)] == found.recall[0, at(0.5)] == found.f1[0, at(0.5)] == 0.5
    assert (found.precision[0, at(0.3)], found.recall[0, at(0.3)]) == pytest.approx((2 / 3, 1))
    assert np.isnan(found.precision[0, at(0.95)])


def test_of_several_labels_none_may_have_a_picture(tmp_path):
    probs = np.full((30, 3), 0.1, np.float32)
    assert "0 wrong labels" in Page(several(tmp_path, probs, np.zeros((30, 3), int))).text
