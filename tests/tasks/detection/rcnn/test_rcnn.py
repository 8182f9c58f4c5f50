"""R-CNN from pictures to boxes, on coloured squares: it learns, goes on from its cache, and each stage can be called alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import networks
from lamina.core.errors import DataError, LaminaError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Ragged
from lamina.data.preprocess import Preprocess
from lamina.tasks.detection.rcnn import RCNN, SelectiveSearch

from .squares import SIDE, dataset

pytest.importorskip("cv2")
pytest.importorskip("sklearn")


def made(cache=None, **told):
    torch.manual_seed(0)
    net = networks.create("mobilenet_v2", arguments={"width": 0.25})
    return RCNN(net, proposals=SelectiveSearch(side_px=SIDE), side_px=64, cache=cache, **told)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    return dataset(folder / "train", 8, empty=(3,)), dataset(folder / "test", 4, seed=1)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return made(tmp_path_factory.mktemp("cache")).fit(data[0])


def test_squares_are_found_in_new_pictures(data, trained):
    scores = trained.evaluate(data[1])
    assert scores["recall@0.5"] == 1.0
    assert scores["AP50"] > 0.4  # with a network that has never learnt anything
    assert scores["mean_ap"] == pytest.approx(scores["AP50"], abs=0.05)
    found = trained.predict(data[1], threshold=-1.0)
    assert [each.path for each in found] == [str(data[1].paths.name(index)) for index in range(4)]
    assert set(found[0].counts) == {"red", "green"}
    assert found[0].draw().size[0] > 0


def test_a_file_a_picture_and_a_list_are_answered_alike(data, trained):
    path, picture = data[1].paths.name(0), data[1].picture(0)
    answers = [trained.predict(path), trained.predict(picture), *trained.predict([path])]
    assert all(np.array_equal(each.boxes_xyxy, answers[0].boxes_xyxy) for each in answers)
    assert len(trained.predict(path, threshold=50.0)) == 0


def test_a_second_run_takes_everything_from_the_cache_and_learns_the_same(data, trained):
    again = made(trained.kept.folder).fit(data[0])
    assert set(again.seconds) == {"fit_svms", "fit_regressions"}
    assert torch.equal(again.svms.weights, trained.svms.weights)
    assert torch.equal(again.regressions.weights, trained.regressions.weights)
    assert set(trained.seconds) >= {"propose", "look", "fit_svms", "fit_regressions"}
    assert "propose" in trained.timing()


def test_boxes_of_one_class_do_not_overlap_by_more_than_0_3(data, trained):
    from torchvision.ops import box_iou

    found = trained.predict(data[1].picture(1), threshold=-1.0)
    assert len(found) > 2
    for label in range(2):
        mine = torch.from_numpy(found.boxes_xyxy[found.labels == label])
        shared = box_iou(mine, mine) - torch.eye(len(mine))
        assert len(mine) < 2 or shared.max() <= 0.3 + 1e-4


def test_without_box_regression_the_proposals_themselves_are_given(data, trained):
    alone = made(trained.kept.folder)
    alone.fit_svms(data[0])
    picture = data[1].picture(0)
    proposals = {tuple(box.tolist()) for box in alone.propose(picture)}
    assert {tuple(box.tolist()) for box in alone.predict(picture).boxes_xyxy} <= proposals


def test_fine_tuning_changes_what_is_seen_and_asks_for_new_svms(data, trained):
    tuned = made(trained.kept.folder).fit(data[0])
    before = tuned.features(data[1].picture(0), tuned.propose(data[1].picture(0))).deep
    tuned.fine_tune(data[0], epochs=1, regions=16)
    assert tuned.svms is None
    after = tuned.features(data[1].picture(0), tuned.propose(data[1].picture(0))).deep
    assert not torch.equal(before, after)
    tuned.fit(data[0])
    assert tuned.evaluate(data[1])["AP50"] > 0.2


def test_an_untrained_one_and_other_data_are_refused(data, trained, tmp_path):
    with pytest.raises(LaminaError, match="has learnt nothing yet"):
        made().predict(data[1].picture(0))
    with pytest.raises(DataError, match="R-CNN was given str"):
        made().fit("photos")
    other = dataset(tmp_path, 1)
    other.classes = ("blue", "white")
    with pytest.raises(DataError, match="The data has the classes blue, white"):
        trained.evaluate(other)


def test_boxes_that_cover_nothing_teach_nothing_and_are_told(data, trained):
    train = data[0]
    columns = dict(train.columns)
    wrong = np.array([[200.0, 200, 300, 300], [np.nan, 1, 20, 20], [50, 50, 20, 20]], np.float32)
    told = {"labels": np.ones(3, np.int64), "boxes_xyxy": wrong}
    for name, more in told.items():  # in the last picture
        column = columns[name]
        columns[name] = Ragged(np.concatenate([column.values, more]), np.append(column.ends[:-1], column.ends[-1] + 3))
    spoilt = AnnotatedDataset(train.paths, columns, train.classes, task="detection", root=train.root)
    with pytest.warns(UserWarning, match="2 boxes cover nothing of their picture"):
        learnt = made(trained.kept.folder).fit(spoilt)
    assert torch.equal(learnt.svms.weights, trained.svms.weights)
    assert torch.equal(learnt.regressions.weights, trained.regressions.weights)
    assert learnt.recall(spoilt) == trained.recall(train)


def test_grey_files_are_seen_in_three_colours_that_are_alike(data, tmp_path):
    grey = dataset(tmp_path, 4)
    for path in grey.paths:
        Image.open(path).convert("L").save(path)
    detector = made(preprocess=Preprocess(mean=(0.5,), std=(0.25,))).fit(grey)
    assert [len(each.classes) for each in detector.predict(grey)] == [2] * 4
    assert detector.evaluate(grey)["objects"] == 8
