"""Whatever is done to a picture, what is known of it stays where it belongs."""

import dataclasses

import pytest
import torch
from torchvision.transforms import v2

from lamina.core import random
from lamina.core.errors import DataError, ShapeError
from lamina.data.augment import sample
from lamina.data.augment.sample.moving import exchanged
from lamina.structures.annotation import IGNORED, Annotation

from .conftest import HEIGHT, MARK, WIDTH, marked

TRANSFORMS = {
    "flip": sample.RandomFlip(p=1),
    "flip upside down": sample.RandomFlip(p=1, vertical=True),
    "crop": sample.RandomCrop(),
    "resize, larger": sample.Resize((150, 130)),
    "resize, smaller": sample.Resize((40, 60)),
    "letterbox, wide": sample.Letterbox((64, 128)),
    "letterbox, high": sample.Letterbox((100, 50)),
    "rotation": sample.RandomAffine(degrees=60),
    "shift": sample.RandomAffine(shift=0.3),
    "zoom": sample.RandomAffine(zoom=(0.5, 2)),
    "all three": sample.RandomAffine(30, 0.2, (0.7, 1.5)),
    "scaled crop": sample.RandomScaledCrop((48, 64)),
    "brightness": v2.ColorJitter(brightness=0.5),
    "contrast": v2.ColorJitter(contrast=0.5),
    "saturation": v2.ColorJitter(saturation=0.5),
    "trivial": sample.TrivialAugment(),
    "trivial, wide": sample.TrivialAugment(wide=True),
    "rand": sample.RandAugment(),
    "augmix": sample.AugMix(),
    "detection": v2.Compose(list(sample.augmentation("detection", size=96).transforms)),
    "segmentation": v2.Compose(list(sample.augmentation("segmentation", size=96).transforms)),
    "keypoints": v2.Compose(list(sample.augmentation("keypoints", size=96).transforms)),
    "classification": v2.Compose(list(sample.augmentation("classification", size=96).transforms)),
    "panoptic": v2.Compose(list(sample.augmentation("panoptic", size=96).transforms)),
    "translation": v2.Compose(list(sample.augmentation("translation", size=96).transforms)),
    "captioning": v2.Compose(list(sample.augmentation("captioning", size=96).transforms)),
    "grayscale": v2.RandomGrayscale(p=0.3),
    # torchvision's own
    "v2 rotation, grown": v2.RandomRotation(40, expand=True),
    "v2 perspective": v2.RandomPerspective(0.3, p=1),
    "v2 crop with a border": v2.RandomCrop(64, padding=12, pad_if_needed=True),
    "v2 resized crop": v2.RandomResizedCrop(64, antialias=True),
    "v2 flip": v2.RandomHorizontalFlip(p=1),
    "v2 zoom out": v2.RandomZoomOut(p=1),
}


def drawn_with(seed, transform, picture, annotation, names=("x",)):
    random.reseed_host(random.key(seed))
    return sample.SampleTransforms([transform], names)(picture, annotation)


def grown(area, *, by):
    return torch.nn.functional.max_pool2d(area[None].float(), 2 * by + 1, 1, by)[0] > 0


def where_the_mark_is(picture, class_map):
    """The pixels (H W) that stand out from the ground, and which could: what came in from outside, and its blend, could not."""
    inside = torch.nn.functional.pad(~grown(class_map == IGNORED, by=2)[1:-1, 1:-1], (1, 1, 1, 1))
    pixels = picture.float()
    ground = pixels[:, inside].median(dim=1).values
    far = (pixels - ground[:, None, None]).abs().sum(0) * inside
    return far > far.max() / 2, inside


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_mark_its_box_its_mask_its_class_and_its_point_move_to_the_same_place(name):
    kept = middles = 0
    most = 1.5 if "grown" in name else 1  # torchvision puts boxes of a canvas that grows off by half a pixel
    for seed in range(12):
        picture, before = marked(seed)
        picture, after = drawn_with(seed, TRANSFORMS[name], picture, before)
        height, width = picture.shape[1:]
        assert picture.dtype == torch.uint8
        assert after.class_map.shape == (height, width)
        assert after.other.shape == picture.shape
        assert len({len(after.labels), len(after.boxes_xyxy), len(after.masks), len(after.keypoints)}) == 1
        if not len(after):  # its centre is out of the picture: not much of it is left in there
            assert int((after.class_map == 1).sum()) <= int((before.class_map == 1).sum()) * 4
            continue
        mark, ground = where_the_mark_is(picture, after.class_map)
        assert torch.equal(after.masks[0], after.class_map == 1)
        if int((after.masks[0] & ground).sum()) < 6:  # nearly all at the border
            continue
        if not bool(mark.any()):  # a negative of the brightest of two colours is the other
            assert len(picture.flatten(1).unique(dim=1).T) == 1
            continue
        kept += 1
        ys, xs = mark.nonzero().float().add(0.5).unbind(1)
        left, top, right, bottom = after.boxes_xyxy[0].tolist()
        assert left - most <= xs.min(), seed
        assert xs.max() <= right + most, seed
        assert top - most <= ys.min(), seed
        assert ys.max() <= bottom + most, seed
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        # no larger than what it encloses, but for what a border cuts off and the blend of pixels
        assert right - left <= xs.max() - xs.min() + 6, seed
        assert bottom - top <= ys.max() - ys.min() + 6, seed
        both, either = (mark & after.masks[0]).sum(), ((mark | after.masks[0]) & ground).sum()
        assert not bool((mark & ~grown(after.masks[0], by=1)).any()), seed  # to a pixel
        assert both / either > 0.5, seed
        whole = bool((grown(after.masks[0], by=3) & (after.class_map == IGNORED)).sum() == 0)
        if whole and left >= 1 and top >= 1 and right <= width - 1 and bottom <= height - 1:
            middles += 1
            x, y, seen = after.keypoints[0, 0].tolist()
            assert seen == 2
            assert abs(x - xs.mean()) <= most, seed
            assert abs(y - ys.mean()) <= most, seed
    assert kept >= 4
    assert middles >= 2


@pytest.mark.parametrize("name", ["flip", "crop", "resize, smaller", "rotation", "letterbox, wide", "scaled crop"])
def test_the_picture_of_a_pair_moves_alike(name):
    for seed in range(5):
        picture, annotation = marked(seed)
        picture, annotation = drawn_with(seed, TRANSFORMS[name], picture, annotation)
        assert torch.equal(annotation.other, picture)


@pytest.mark.parametrize("name", ["brightness", "augmix"])
def test_light_changes_the_picture_and_nothing_else(name):
    picture, before = marked(0)
    changed, after = drawn_with(1, TRANSFORMS[name], picture, before)
    assert not torch.equal(changed, picture)
    assert after is before


def test_a_pixel_goes_exactly_where_a_mirror_puts_it():
    picture, annotation = marked(3)
    mirrored, after = drawn_with(0, sample.RandomFlip(p=1), picture, annotation)
    assert torch.equal(mirrored, picture.flip(2))
    assert torch.equal(after.masks, annotation.masks.flip(2))
    left, top, right, bottom = annotation.boxes_xyxy[0].tolist()
    assert after.boxes_xyxy.tolist() == [[WIDTH - right, top, WIDTH - left, bottom]]
    assert after.keypoints[0, 0].tolist() == [WIDTH - left - MARK / 2, top + MARK / 2, 2]
    assert after.area_px.tolist() == [MARK**2]


def people():
    """Two people with the eyes and the nose; of the second the left eye is not annotated."""
    keypoints = torch.tensor([[[10.0, 5, 2], [20, 5, 1], [15, 9, 2]], [[0, 0, 0], [60, 30, 2], [55, 35, 2]]])
    boxes = torch.tensor([[8.0, 2, 22, 12], [50, 25, 65, 40]])
    return torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8), Annotation(keypoints=keypoints, boxes_xyxy=boxes)


def test_left_and_right_are_exchanged_in_a_mirror():
    names = ["left_eye", "right_eye", "nose"]
    for vertical in (False, True):
        _, after = drawn_with(0, sample.RandomFlip(p=1, vertical=vertical), *people(), names)
        first = after.keypoints[0]
        assert first[:, 2].tolist() == [1, 2, 2]  # the hidden eye is the left one now
        assert (first[0, 0] > first[1, 0]) == vertical
        assert after.keypoints[1, 1].tolist() == [0, 0, 0]  # what is not annotated has no place
    _, after = drawn_with(0, v2.RandomRotation((180, 180)), *people(), names)
    assert after.keypoints[0, :, 2].tolist() == [2, 1, 2]  # no mirror


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["left_eye", "right_eye", "nose"], [1, 0, 2]),
        (["lefteye", "righteye", "nose", "leftmouth", "rightmouth"], [1, 0, 2, 4, 3]),
        (["L_knee", "tail", "R_knee"], [2, 1, 0]),
        (["left_ear"], [0]),
        ([], [0, 1]),
    ],
)
def test_twins_are_known_by_their_names(names, pairs):
    assert exchanged(names, len(pairs)) == pairs


def test_a_mirror_without_names_of_the_points_is_refused():
    with pytest.raises(DataError, match=r"3 points.*no names.*point_names=dataset.point_names"):
        drawn_with(0, sample.RandomFlip(p=1), *people(), None)
    drawn_with(0, sample.RandomFlip(p=0), *people(), None)


def test_an_object_that_leaves_goes_with_all_that_belongs_to_it():
    picture = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    masks = torch.zeros(4, HEIGHT, WIDTH, dtype=torch.bool)
    boxes = torch.tensor(
        [[0.0, 0, 20, 20], [30, 10, 60, 50], [5, 5, 5, 9], [5, 12, 30, 40]]
    )  # of the last a part stays
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    annotation = Annotation(
        labels=torch.tensor([0, 1, 2, 3]),
        boxes_xyxy=boxes,
        masks=masks,
        keypoints=torch.tensor([[[5.0, 5, 2]], [[32, 12, 2]], [[5, 5, 1]], [[25, 25, 2]]]),
        crowd=torch.tensor([False, True, False, False]),
        area_px=torch.tensor([400.0, 1200, 0, 700]),
        extras={"licence": 4},
    )
    _, after = drawn_with(0, v2.CenterCrop(40), picture, annotation)  # from x 20 and y 10 on
    assert after.labels.tolist() == [1]
    assert after.boxes_xyxy.tolist() == [[10, 0, 40, 40]]
    assert after.masks.shape == (1, 40, 40)
    assert after.keypoints.tolist() == [[[12, 2, 2]]]
    assert after.crowd.tolist() == [True]
    assert after.area_px.tolist() == [1200]
    assert after.extras == {"licence": 4}


def test_a_box_is_cut_and_its_area_with_it_and_a_point_outside_is_not_seen():
    annotation = Annotation(
        boxes_xyxy=torch.tensor([[10.0, 10, 30, 30]]),
        area_px=torch.tensor([200.0]),
        keypoints=torch.tensor([[[12.0, 20, 2], [25, 20, 2]]]),
    )
    _, after = drawn_with(
        0, v2.Lambda(lambda each: v2.functional.crop(each, 0, 15, 60, 65), torch.Tensor), people()[0], annotation, ()
    )
    assert after.boxes_xyxy.tolist() == [[0, 10, 15, 30]]
    assert after.area_px.tolist() == [150]
    assert after.keypoints.tolist() == [[[0, 0, 0], [10, 20, 2]]]


def test_what_leaves_in_one_step_does_not_come_back_in_the_next():
    annotation = Annotation(boxes_xyxy=torch.tensor([[0.0, 0, 8, 8]]), labels=torch.tensor([0]))
    both = v2.Compose([v2.CenterCrop(40), v2.Pad(30)])
    _, after = drawn_with(0, both, people()[0], annotation)
    assert len(after) == 0
    assert after.boxes_xyxy.shape == (0, 4)


def test_the_area_grows_with_the_picture():
    picture, annotation = marked(0)
    without = dataclasses.replace(annotation, masks=None)
    for given in (annotation, without):
        _, after = drawn_with(0, sample.Resize((2 * HEIGHT, 3 * WIDTH)), picture, given)
        assert after.area_px.tolist() == pytest.approx([6 * MARK**2])


def test_a_turned_box_is_no_larger_than_its_mask():
    picture, annotation = marked(11)
    without = dataclasses.replace(annotation, masks=None)
    turn = v2.RandomRotation((45, 45))
    tight, loose = (drawn_with(0, turn, picture, each)[1] for each in (annotation, without))
    ys, xs = tight.masks[0].nonzero().unbind(1)
    assert tight.boxes_xyxy.tolist() == [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]
    assert torch.allclose(loose.boxes_xyxy, tight.boxes_xyxy, atol=1.01)


def test_what_was_outside_has_no_class_whatever_the_transform():
    picture, annotation = marked(5)
    annotation.class_map[0, 0] = IGNORED
    for transform in (v2.Pad(7), v2.RandomZoomOut(p=1), v2.RandomRotation((45, 45))):
        _, after = drawn_with(1, transform, picture, annotation)
        assert {0, IGNORED} <= set(after.class_map.unique().tolist()) <= {0, 1, IGNORED}
        assert after.class_map[0, 0] == IGNORED or isinstance(transform, v2.RandomZoomOut)
    assert torch.equal(drawn_with(0, v2.Pad(7), picture, annotation)[1].class_map[7:-7, 7:-7], annotation.class_map)


def test_a_picture_without_annotations_changes_too():
    picture, _ = marked(0)
    changed, after = drawn_with(0, sample.Letterbox((30, 50)), picture, Annotation())
    assert changed.shape == (3, 30, 50)
    assert len(after) == 0
    empty = Annotation(boxes_xyxy=torch.zeros(0, 4), masks=torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool))
    for transform in TRANSFORMS.values():
        changed, after = drawn_with(0, transform, picture, empty)
        assert after.boxes_xyxy.shape == (0, 4)
        assert after.masks.shape == (0, *changed.shape[1:])


def test_pairs_of_other_sizes_and_transforms_that_drop_boxes_are_refused():
    picture, annotation = marked(0)
    other = dataclasses.replace(annotation, other=torch.zeros(3, 5, 5, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"\(60, 80\) and \(5, 5\)"):
        drawn_with(0, v2.Pad(1), picture, other)
    gone = dataclasses.replace(annotation, boxes_xyxy=torch.zeros(1, 4))
    with pytest.raises(DataError, match=r"left out boxes by itself.*RandomCrop"):
        drawn_with(0, v2.SanitizeBoundingBoxes(labels_getter=None), picture, gone)


def test_attributes_go_with_the_objects_that_leave():
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 10, 14, 14], [1, 9, 3, 15]])
    pose = torch.tensor([[1, 1], [2, 2], [3, 3]])
    known = Annotation(labels=torch.arange(3), boxes_xyxy=boxes, attributes={"pose": pose})
    _, left = sample.moved(v2.CenterCrop((8, 8)), torch.zeros(3, 24, 24, dtype=torch.uint8), known)
    assert left.labels.tolist() == [1]
    assert left.attributes["pose"].tolist() == [[2, 2]]


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (60, 60), (40, 160)])
def test_three_quarters_of_what_segmentation_learns_from_is_picture(shape):
    picture = torch.full((3, *shape), 200, dtype=torch.uint8)
    class_map = torch.ones(shape, dtype=torch.uint8)
    change, shares = sample.augmentation("segmentation", size=96), []
    for seed in range(20):
        random.reseed_host(random.key(seed))
        seen, known = change(picture, Annotation(class_map=class_map))
        assert seen.shape == (3, 96, 96)
        inside = known.class_map != IGNORED
        assert seen[:, ~inside].unique().numel() < 2
        assert bool((seen[:, inside] > 90).all())
        shares.append(float(inside.float().mean()))
    assert min(shares) >= 0.74
    assert max(shares) == 1
