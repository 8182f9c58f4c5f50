"""Reports on detectors and segmenters: pictures with what is true and what was answered side by side."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lamina import explain
from lamina.core.errors import DataError
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.preprocess import Preprocess
from lamina.explain.found_sections import best_threshold, errors_by_picture
from lamina.explain.mapped_sections import difference
from lamina.structures.annotation import Annotation
from lamina.structures.detections import Detections
from lamina.structures.segmentation import SegmentationMap

CLASSES = ("cat", "<dog>")
BOX = [8.0, 8.0, 28.0, 28.0]


def truth(*objects):
    return Annotation(
        labels=torch.tensor([label for label, _ in objects], dtype=torch.int64),
        boxes_xyxy=torch.tensor([box for _, box in objects], dtype=torch.float32).reshape(-1, 4),
    )


def pictures(count, size=40):
    return torch.randint(0, 256, (count, 3, size, size + 8), dtype=torch.uint8, generator=torch.manual_seed(0))


def detector(*found):
    """A model that finds these, a list of (label, box, score) for each picture in turn."""
    left = [*found]

    def predict(shown, *, threshold, engine):
        assert threshold == 0.0
        made = []
        for picture in shown:
            some = left.pop(0)
            boxes = np.array([box for _, box, _ in some], np.float32).reshape(-1, 4)
            labels, scores = np.array([each[0] for each in some], int), np.array([each[2] for each in some], float)
            made.append(Detections(CLASSES, boxes, labels, scores, image=picture))
        return made

    return SimpleNamespace(
        task="detection",
        classes=CLASSES,
        name="eyes",
        predict=predict,
        preprocess=Preprocess(size=(40, 40), resize="pad"),
    )


def found_report(tmp_path):
    far = [0.0, 30.0, 10.0, 40.0]
    truths = [truth((0, BOX)), truth((0, BOX), (1, far)), truth()]
    data = AnnotatedArrays(pictures(3), truths, CLASSES, task="detection")
    model = detector([(0, BOX, 0.9)], [(1, BOX, 0.8), (0, [30.0, 0.0, 40.0, 8.0], 0.7)], [(0, BOX, 0.2)])
    return explain.report(model, data, path=tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_detectors_report_shows_the_picture_with_the_most_errors_and_says_what_they_are(tmp_path):
    page = found_report(tmp_path)
    scenes = re.findall(r'<figure class="scene">.*?</figure>', page, re.DOTALL)
    assert len(scenes) == 1, "one picture is right, and of another only an uncertain detection is wrong"
    assert "1 missed, 1 wrong class, 1 background; 1 of 2 objects found" in scenes[0]
    assert scenes[0].count("<img") == 2
    assert "#1<" in scenes[0]
    for heading in ("Worst pictures", "Kinds of error", "Small and large", "Per class", "Precision and recall"):
        assert f"<h2>{heading}</h2>" in page
    assert "3 errors</b> in 3 pictures" in page


def test_the_page_needs_nothing_but_itself_and_escapes_names(tmp_path):
    page = found_report(tmp_path)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    assert "<dog>" not in page
    assert "&lt;dog&gt;" in page


def test_everything_found_is_said(tmp_path):
    data = AnnotatedArrays(pictures(1), [truth((0, BOX))], CLASSES, task="detection")
    path = explain.report(detector([(0, BOX, 0.9)]), data, path=tmp_path / "report.html")
    assert "Everything was found, and nothing else." in path.read_text(encoding="utf-8")


def test_a_report_without_any_object_or_detection_is_written(tmp_path):
    data = AnnotatedArrays(pictures(2), [truth(), truth()], CLASSES, task="detection")
    page = explain.report(detector([], []), data, path=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&ndash;<small>% AP" in page


def test_errors_are_counted_for_each_picture():
    data = AnnotatedArrays(pictures(2), [truth((0, BOX)), truth((1, BOX))], CLASSES, task="detection")
    beside = explain.beside_truth(detector([], [(1, BOX, 0.9), (1, BOX, 0.8), (1, BOX, 0.3)]), data)
    missed, false = errors_by_picture(beside)
    assert missed.tolist() == [1, 0]
    assert false.tolist() == [0, 1], "a duplicate; what is below the usual score is left out"
    assert best_threshold(beside.scores, 1) == pytest.approx((0.9, 1.0))
    assert beside.to_dict()["errors"]["duplicate"] == 1
    assert re.search(r"^AR100 +0\.5", str(beside), re.MULTILINE)


def segmenter(answers):
    left = [*answers]

    def predict(shown, *, engine):
        return [SegmentationMap(left.pop(0), CLASSES, image=picture) for picture in shown]

    return SimpleNamespace(
        task="segmentation",
        classes=CLASSES,
        name="eyes",
        predict=predict,
        preprocess=Preprocess(size=(40, 40), resize="pad"),
    )


def maps():
    """Three true maps: the first with ignored rows, and answers of which the third is half wrong."""
    truths = [np.zeros((40, 48), np.uint8) for _ in range(3)]
    for each in truths:
        each[:, 24:] = 1
    truths[0][:10] = 255
    answers = [each.copy() for each in truths]
    answers[0][answers[0] == 255] = 0
    answers[1][:4] = 1 - answers[1][:4]
    answers[2][:20] = 1 - answers[2][:20]
    return truths, answers


def mapped_data(truths):
    known = [Annotation(class_map=torch.from_numpy(each)) for each in truths]
    return AnnotatedArrays(pictures(len(known)), known, CLASSES, task="segmentation")


def test_a_segmenters_figures_are_those_of_all_labelled_pixels():
    truths, answers = maps()
    beside = explain.beside_truth(segmenter(answers), mapped_data(truths))
    labelled, wrong = 30 * 48 + 2 * 40 * 48, 4 * 48 + 20 * 48
    assert beside.confusion.sum() == labelled
    assert beside.scores.pixel_accuracy == pytest.approx(1 - wrong / labelled)
    assert beside.wrong.tolist() == pytest.approx([0, 0.1, 0.5])
    assert beside.mean_iou.tolist() == pytest.approx([1, 0.9 / 1.1, 1 / 3])


def test_a_segmenters_report_shows_the_worst_picture_first_in_three(tmp_path):
    truths, answers = maps()
    model = segmenter([*answers, answers[2], answers[1]])  # the worst are asked again, to be drawn
    page = explain.report(model, mapped_data(truths), path=tmp_path / "report.html").read_text(encoding="utf-8")
    scenes = re.findall(r'<figure class="scene">.*?</figure>', page, re.DOTALL)
    assert [scene.count("<img") for scene in scenes] == [3, 3]
    assert re.search(r"50\.0.% of its pixels wrong", scenes[0])
    assert "#2<" in scenes[0]
    for heading in ("Worst pictures", "Per class", "Confusion by class"):
        assert f"<h2>{heading}</h2>" in page


def test_the_difference_is_orange_where_wrong_and_black_where_nothing_is_labelled():
    truths, answers = maps()
    shown = np.asarray(difference(torch.full((3, 40, 48), 200, dtype=torch.uint8), truths[0], answers[2]))
    assert shown[5, 5].tolist() == [0, 0, 0]
    red, green, blue = shown[15, 5].tolist()
    assert red > 2 * green > 2 * blue
    assert len(set(shown[30, 5].tolist())) == 1


def test_a_class_without_pixels_is_left_out_and_named(tmp_path):
    alone = [np.zeros((40, 48), np.uint8)]
    path = explain.report(segmenter(alone), mapped_data(alone), path=tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert "No pixel is of &lt;dog&gt;, which the mean leaves out." in page
    assert "Every labelled pixel is right." in page


def test_maps_of_other_classes_are_refused_by_name():
    strange = np.full((40, 48), 7, np.uint8)
    with pytest.raises(DataError, match="holds 1,920 pixels that are none of 2 classes"):
        explain.beside_truth(segmenter([np.zeros((40, 48), np.uint8)]), mapped_data([strange]))


def test_pictures_that_cannot_be_read_are_left_out_and_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    some = [pictures(1)[0], tmp_path / "broken.png"]
    data = AnnotatedArrays(some, [truth((0, BOX)), truth()], CLASSES, task="detection")
    page = explain.report(detector([(0, BOX, 0.9)]), data, path=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 picture could not be read:" in page
    assert "broken.png" in page
    alone = AnnotatedArrays([tmp_path / "broken.png"], [truth()], CLASSES, task="detection")
    with pytest.raises(DataError, match="Not one of 1 pictures"):
        explain.beside_truth(detector(), alone)


def test_a_page_of_many_large_pictures_stays_below_10_mb(tmp_path):
    count = 60
    data = AnnotatedArrays(pictures(count, 400), [truth((0, BOX))] * count, CLASSES, task="detection")
    path = explain.report(detector(*[[]] * count), data, path=tmp_path / "report.html")
    assert path.stat().st_size < 10e6
    assert re.search(r"The worst \d+ of 60 are shown", path.read_text(encoding="utf-8"))
