import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from torch import nn

from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.explain import report
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
    tiles = re.findall(
        r'<figure>.*?class="said"[^>]*>(.*?)</b>.*?class="truth"[^>]*>(.*?)</b>.*?#(\d+)', text, re.DOTALL
    )
    assert tiles == [("bee", "ant", "0"), ("cat", "bee", "1")]
    assert re.search(r"\.picture \.said \{ top: 0; left: 0;", text)
    assert re.search(r"\.picture \.truth \{ bottom: 0; right: 0;", text)


def test_the_confusion_table_has_the_truth_in_rows(tmp_path):
    text = made(tmp_path, *answers(20, 4, wrong=2), classes=("ant", "bee", "cat", "dog"))
    row = re.search(r'<tr><th scope="row">ant</th>(.*?)</tr>', text).group(1)
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["4", "1", "", ""]


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
    assert text.count("<figure>") == 300
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
    assert len(drawn) == 2
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
