"""What is annotated can be seen in the picture."""

import numpy as np
import pytest
import torch

from lamina.core.errors import DataError
from lamina.structures import draw
from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.drawing import annotated, colour

GREY = torch.full((3, 120, 160), 128, dtype=torch.uint8)
MARGIN = 10
CLASSES = ("cat", "dog")


def drawn(annotation, **more):
    """The pixels of the picture itself, drawn at its own size, and the whole sheet."""
    sheet = annotated(GREY, annotation, side_px=160, **more)
    pixels = np.asarray(sheet).astype(int)
    left = (pixels.shape[1] - 160) // 2
    return pixels[MARGIN : MARGIN + 120, left : left + 160], pixels


def near(pixels, shade):
    return (np.abs(pixels - np.array(shade)) < 12).all(axis=-1)


def test_nothing_annotated_is_the_picture():
    picture, _ = drawn(Annotation())
    assert (picture == 128).all()


def test_a_box_is_a_frame_in_the_colour_of_its_class_where_it_stands():
    boxes = torch.tensor([[20.0, 40, 70, 100], [90, 30, 150, 90]])
    picture, _ = drawn(Annotation(boxes_xyxy=boxes, labels=torch.tensor([0, 1])), classes=CLASSES)
    for box, label in zip(boxes.int().tolist(), (0, 1), strict=True):
        ys, xs = near(picture, colour(label)).nonzero()
        assert abs(xs.min() - box[0]) <= 2
        assert abs(ys.max() - box[3]) <= 2
    assert (picture[50:80, 30:60] == 128).all()  # what is in the box can be seen


def test_a_box_of_a_crowd_is_dashed():
    box = torch.tensor([[20.0, 20, 140, 100]])
    whole, _ = drawn(Annotation(boxes_xyxy=box))
    dashed, _ = drawn(Annotation(boxes_xyxy=box, crowd=torch.tensor([True])))
    count = near(dashed, colour(0)).sum() / near(whole, colour(0)).sum()
    assert 0.35 < count < 0.75


def test_a_mask_colours_its_pixels_and_no_others():
    masks = torch.zeros(1, 120, 160, dtype=torch.bool)
    masks[0, 30:60, 40:90] = True
    picture, sheet = drawn(Annotation(masks=masks, labels=torch.tensor([1])), classes=CLASSES)
    changed = (picture != 128).any(axis=-1)
    assert np.array_equal(changed, masks[0].numpy())
    assert near(sheet, colour(1)).any()  # in the legend


def test_a_map_of_classes_is_coloured_and_named_and_what_has_no_class_is_hatched():
    class_map = torch.zeros(120, 160, dtype=torch.uint8)
    class_map[:, 80:] = 1
    class_map[:20] = IGNORED
    picture, sheet = drawn(Annotation(class_map=class_map), classes=CLASSES)
    left, right = picture[110, 20], picture[110, 120]
    assert np.abs(left - right).max() > 40
    assert near(picture[40:, :80], left).mean() > 0.85  # but for its name
    assert near(picture[:, :80], colour(0)).any()
    assert len(np.unique(picture[:8].reshape(-1, 3), axis=0)) == 2
    assert sheet.shape[0] >= 120 + 2 * MARGIN + 16
    assert near(sheet[125:], colour(0)).any()
    assert near(sheet[125:], colour(1)).any()


def test_seen_points_are_filled_hidden_ones_are_rings_and_others_are_not_there():
    keypoints = torch.tensor([[[30.0, 30, 2], [80, 60, 1], [120, 90, 0]]])
    picture, _ = drawn(Annotation(keypoints=keypoints))
    assert near(picture[30, 30], colour(0))
    assert (picture[60, 80] == 128).all()
    assert near(picture[55:66, 75:86], colour(0)).any()
    assert (picture[80:100, 110:130] == 128).all()


def test_captions_and_the_paired_picture_are_beside_it():
    _, plain = drawn(Annotation())
    _, told = drawn(Annotation(captions=("a cat on a mat", "a grey cat " * 9)))
    assert told.shape[0] >= plain.shape[0] + 3 * 16  # the long one takes several lines
    _, pair = drawn(Annotation(other=torch.zeros(3, 120, 160, dtype=torch.uint8)))
    assert pair.shape[1] >= 2 * 160
    assert (pair == 0).all(axis=-1).sum() == 120 * 160


def test_small_pictures_grow_by_whole_pixels_and_large_ones_shrink():
    small = annotated(torch.zeros(1, 10, 20, dtype=torch.uint8), Annotation(), side_px=100)
    assert (np.asarray(small) == 0).all(axis=-1).sum() == 50 * 100
    large = annotated(torch.zeros(3, 600, 300, dtype=torch.uint8), Annotation(), side_px=100)
    assert large.height == 100 + 2 * MARGIN


def test_colours_of_twenty_classes_are_told_apart():
    shades = np.array([colour(number) for number in range(20)])
    far = np.abs(shades[:, None] - shades[None]).sum(-1) + 1000 * np.eye(20)
    assert far.min() > 60
    assert len({colour(number) for number in range(1000)}) > 900


def test_names_are_cut_to_the_picture_and_unknown_classes_have_a_number():
    boxes = torch.tensor([[5.0, 5, 150, 100]])
    named, _ = drawn(Annotation(boxes_xyxy=boxes, labels=torch.tensor([0])), classes=["a very long name " * 5])
    numbered, _ = drawn(Annotation(boxes_xyxy=boxes, labels=torch.tensor([7])), classes=CLASSES)
    assert named.shape == numbered.shape == (120, 160, 3)
    crowd = torch.rand(60, 2) * 100
    many = Annotation(boxes_xyxy=torch.cat([crowd, crowd + 20], dim=1), labels=torch.zeros(60, dtype=torch.int64))
    drawn(many, classes=CLASSES)


def test_a_grid_holds_every_picture():
    cells = [draw.picture(np.full((3, 20 + number, 30), 10 * number, np.uint8)) for number in range(5)]
    sheet = np.asarray(draw.grid(cells, columns=2))
    assert sheet.shape == (22 - 1 + 24 - 1 + 24, 60, 3) or sheet.shape[1] == 60
    for number in range(1, 5):
        assert (sheet == 10 * number).all(axis=-1).sum() == (20 + number) * 30
    with pytest.raises(DataError, match="No picture"):
        draw.grid([])


def test_of_several_classes_one_has_its_colour_where_it_stands_alone_too():
    picture = torch.zeros(3, 40, 40, dtype=torch.uint8)
    boxes = torch.tensor([[4.0, 4, 14, 14], [20, 20, 34, 34]])
    alone = Annotation(labels=torch.tensor([1, 1]), boxes_xyxy=boxes)
    beside = Annotation(labels=torch.tensor([1, 1]), boxes_xyxy=boxes)
    shown = [
        {tuple(pixel) for pixel in np.asarray(annotated(picture, each, classes=classes)).reshape(-1, 3).tolist()}
        for each, classes in ((alone, ("a", "b")), (beside, ("a",)))
    ]
    assert colour(0) not in shown[0]
    assert colour(1) in shown[0]
    assert colour(0) in shown[1], "of one class alone objects are told apart"


def test_a_skeleton_joins_the_points_that_are_annotated():
    points = torch.tensor([[[10.0, 10, 2], [50, 10, 1], [10, 50, 0], [50, 50, 2]]])
    shown = annotated(GREY, Annotation(keypoints=points), skeleton=((0, 1), (0, 2), (2, 3), (1, 9)), side_px=320)
    bare = annotated(GREY, Annotation(keypoints=points), side_px=320)
    changed = np.abs(np.asarray(shown).astype(int) - np.asarray(bare)).sum(2) > 0
    ys, xs = np.nonzero(changed)
    assert ys.max() - ys.min() < 12, "one line, from the first point to the second"
    assert xs.max() - xs.min() > 50
