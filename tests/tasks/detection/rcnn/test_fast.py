"""Fast R-CNN on given proposals: it learns squares by heart, in the pictures' own pixels, and mirrors boxes with pictures."""

import pytest
import torch

from lamina import networks
from lamina.core.errors import DataError, LaminaError
from lamina.data.preprocess import Preprocess
from lamina.tasks.detection.rcnn import RCNN, FastRCNNDetector, SelectiveSearch
from lamina.tasks.detection.rcnn.fast import _Batches, in_input

from .squares import SIDE, dataset

pytest.importorskip("cv2")


def detector(**told):
    torch.manual_seed(0)
    proposing = RCNN(networks.create("mobilenet_v2", arguments={"width": 0.1}), proposals=SelectiveSearch(side_px=SIDE))
    given = {"side_px": 64, "arguments": {"strides": [4], "dims": (16, 64)}, **told}
    return FastRCNNDetector(proposing, networks.create("cifar_resnet20"), **given)


def test_squares_are_learnt_by_heart_in_the_pixels_of_the_pictures(tmp_path):
    data, made = dataset(tmp_path, 4, empty=(3,)), detector(side_px=48)
    losses = made.fit(data, epochs=16, batch_size=2)["loss"]
    assert losses[-1] < losses[0] / 2
    assert made.evaluate(data)["AP50"] > 0.8
    found = made.predict(data.paths.name(0), threshold=0.2)
    assert set(found.counts) == {"red", "green"}
    assert set(made.seconds) == {"fit", "judge"}
    data.classes = data.classes[::-1]
    for use in (made.fit, made.evaluate):
        with pytest.raises(DataError, match=r"This Fast R-CNN knows .*, in this order"):
            use(data)


def test_a_path_is_refused():
    with pytest.raises(DataError, match="Fast R-CNN was given str"):
        detector().fit("photos")


def test_an_untrained_one_is_refused():
    with pytest.raises(LaminaError, match="has learnt nothing yet"):
        detector().predict(torch.zeros(3, 9, 9, dtype=torch.uint8))


def test_boxes_go_into_the_padded_input():
    preprocess = Preprocess(size=(64, 64), resize="pad")
    moved = in_input(torch.tensor([[0.0, 0, 128, 64]]), preprocess, (64, 128))
    torch.testing.assert_close(moved, torch.tensor([[0.0, 16, 64, 48]]))


def test_every_second_epoch_is_mirrored_with_its_boxes_and_rows_that_are_none_stay_so():
    image = torch.arange(8, dtype=torch.uint8).expand(3, 8, 8)
    target = torch.tensor([[0.0, 0, 8, 8, -1, 0], [1, 2, 4, 6, 1, 0]])
    other = (image, torch.zeros(0, 4), target[:1])
    batches = _Batches([(image, torch.tensor([[0.0, 0, 2, 4]]), target), other], 2, 0)
    (plain,), (mirrored,) = list(batches.epoch(0)), list(batches.epoch(1))
    row, place = (next(n for n in range(2) if batch.inputs[1][n].any()) for batch in (plain, mirrored))
    assert mirrored.inputs[0][place, 0, 0].tolist() == list(range(7, -1, -1))
    assert plain.inputs[1][row].tolist() == [[0, 0, 2, 4]]
    assert mirrored.inputs[1][place].tolist() == [[6, 0, 8, 4]]
    assert mirrored.targets[place, 1].tolist() == [4, 2, 7, 6, 1, 0]
    assert mirrored.targets[1 - place, 1].tolist() == [0, 0, 0, 0, -1, 0]
    assert len(batches) == 1
