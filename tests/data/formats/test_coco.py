"""COCO: its layouts, its counts, and files with every fault that people's files have."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError, UnknownNameError
from lamina.data.formats import coco
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED

BOX = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1.5, 2, 3, 4.25], "area": 12.0, "iscrowd": 0}
SQUARE = [[1, 1, 4, 1, 4, 3, 1, 3]]


def listed(*annotations, **changes):
    """A file of two pictures and two categories, whose ids have gaps."""
    images = [
        {"id": 7, "file_name": "a.png", "width": 8, "height": 6},
        {"id": 2, "file_name": "b.png", "width": 8, "height": 6},
    ]
    categories = [{"id": 9, "name": "cat"}, {"id": 3, "name": "dog"}]
    return {"images": images, "annotations": list(annotations), "categories": categories, **changes}


def plant(root, content, name="annotations/instances_train.json", pictures=("train/a.png", "train/b.png")):
    for each in pictures:
        (root / each).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / each)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return root


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


def test_boxes_become_corners_and_ids_with_gaps_positions(folder, packed):
    splits = data.open(
        packed(plant(folder, listed(BOX, {**BOX, "id": 2, "image_id": 2, "category_id": 9, "iscrowd": 1})))
    )
    assert splits.classes == ("cat", "dog")
    assert splits.format == "coco"
    assert splits.recognised == "annotations/instances_train.json is named as COCO's files are"
    picture, told = splits.train[0]
    assert picture.shape == (3, 6, 8)
    assert told.boxes_xyxy.tolist() == [[1.5, 2.0, 4.5, 6.25]]
    assert told.labels.tolist() == [1]
    assert told.area_px.tolist() == [12.0]
    assert told.masks is None
    assert int(told.extras["image_id"]) == 7
    assert splits.train[1][1].crowd.tolist() == [True]
    assert splits.train.origin(1).endswith("instances_train.json, image id 2")


@pytest.mark.parametrize(
    ("name", "pictures", "part"),
    [
        ("annotations/instances_train2017.json", ("train2017/a.png", "train2017/b.png"), "train"),
        ("annotations/instances_val2017.json", ("images/val2017/a.png", "images/val2017/b.png"), "validation"),
        ("annotations/instances_default.json", ("images/default/a.png", "images/default/b.png"), "train"),
        ("coco/instances_default.json", ("JPEGImages/a.png", "JPEGImages/b.png"), "train"),
        ("valid/_annotations.coco.json", ("valid/a.png", "valid/b.png"), "validation"),
        ("_annotations.coco.json", ("a.png", "b.png"), "train"),
        ("labels.json", ("data/a.png", "data/b.png"), "train"),
        ("annotations/test.json", ("images/a.png", "images/b.png"), "test"),
        ("annotations/instances_minival2014.json", ("val2014/a.png", "val2014/b.png"), "minival"),
    ],
)
def test_the_layouts_of_many_tools_are_known(folder, name, pictures, part):
    splits = data.open(plant(folder, listed(BOX), name, pictures))
    assert splits.format == "coco"
    assert list(splits.parts()) == [part]
    assert len(splits[part]) == 2


@pytest.mark.parametrize("name", ["/home/me/pictures/a.png", "pictures\\a.png", "train/a.png", "../a.png"])
def test_a_name_with_folders_of_another_machine_is_found_by_its_end(folder, name):
    content = listed(BOX)
    content["images"][0]["file_name"] = name
    assert len(data.open(plant(folder, content)).train) == 2


def test_pictures_of_another_part_are_not_taken_for_those_of_the_same_name(folder):
    plant(folder, listed(BOX), pictures=("val/a.png", "val/b.png"))
    plant(folder, listed(BOX), "annotations/instances_val.json", ())
    with pytest.warns(
        UserWarning, match=r"instances_train\.json: 2 of 2 pictures that are not there \(a\.png, b\.png\)"
    ):
        assert list(data.open(folder).parts()) == ["validation"]


def test_what_is_wrong_with_entries_is_read_around_and_told_once(folder):
    wrong = [
        {**BOX, "id": 2, "image_id": 99},
        {**BOX, "id": 3, "category_id": 99},
        {**BOX, "id": 4, "bbox": [1, 2, 3]},
        {**BOX, "id": 5, "bbox": None},
        {**BOX, "id": 6, "bbox": [1, "two", 3, 4]},
        {**BOX, "id": 7, "bbox": [1, float("nan"), 3, 4]},
        {key: value for key, value in BOX.items() if key != "image_id"},
        [],
        BOX,
    ]
    content = listed(BOX, *wrong)
    content["images"] += [{"id": 7, "file_name": "c.png"}, {"id": 8, "file_name": "gone.png"}, {"id": 10}]
    content["categories"] += [{"id": 3, "name": "cow"}, {"id": 4}]
    with pytest.warns(UserWarning, match="the rest is read") as caught:
        train = data.open(plant(folder, content)).train
    assert len(caught) == 1
    assert train.counts().tolist() == [0, 2]
    for told in (
        "1 annotations of pictures that it does not list (id 99)",
        "1 annotations of categories that it does not list (id 99)",
        "3 annotations whose bbox is not four numbers (id 4, id 5, id 6)",
        "1 annotations whose bbox is not four numbers (id 7)",
        "1 annotations without image_id or category_id (id 1)",
        "1 entries of annotations that are no objects (line 1)",
        "1 annotations whose id another has, which are kept (id 1)",
        "1 entries of images whose id another has (id 7)",
        "1 of 3 pictures that are not there (gone.png)",
        "1 entries of images without file_name (id 10)",
        "1 categories whose id another has (id 3)",
        "1 categories without id or name (id 4)",
    ):
        if "bbox" not in told:
            assert told in str(caught[0].message)
    assert "4 annotations whose bbox is not four numbers (id 4, id 5, id 6, ...)" in str(caught[0].message)


def test_degenerate_boxes_are_kept(folder):
    train = data.open(plant(folder, listed({**BOX, "bbox": [1, 1, 0, 0]}))).train
    assert train[0][1].boxes_xyxy.tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_outlines_and_runs_are_drawn_and_objects_without_are_their_box(folder):
    shapes = [
        {"segmentation": []},
        {"segmentation": SQUARE},
        {"segmentation": {"size": [6, 8], "counts": [0, 6, 42]}},
        {"segmentation": {"size": [6, 8], "counts": "06Z1"}},
        {},
    ]
    annotations = [{**BOX, "id": at, "bbox": [2, 2, 3, 2], **shape} for at, shape in enumerate(shapes)]
    masks = data.open(plant(folder, listed(*annotations))).train[0][1].masks
    assert masks.sum((1, 2)).tolist() == [6, 6, 6, 6, 6]
    assert torch.equal(masks[1].nonzero()[0], torch.tensor([1, 1]))
    assert torch.equal(masks[0].nonzero()[0], torch.tensor([2, 2]))
    assert torch.equal(masks[2], masks[3])
    assert torch.equal(masks[0], masks[4])


def test_runs_of_another_size_than_the_picture_name_the_picture_and_its_entry(folder):
    train = data.open(plant(folder, listed({**BOX, "segmentation": {"size": [8, 6], "counts": [48]}}))).train
    with pytest.raises(DataError, match="mask of 8 x 6 pixels") as raised:
        train[0]
    assert "a.png" in raised.value.__notes__[0]
    assert "image id 7" in raised.value.__notes__[0]
    assert train.annotation(1, (6, 8)).masks.shape == (0, 6, 8)


def test_without_area_and_crowd_the_box_tells_the_area(folder):
    bare = {key: BOX[key] for key in ("id", "image_id", "category_id", "bbox")}
    told = data.open(plant(folder, listed(bare))).train[0][1]
    assert told.area_px.tolist() == [12.75]
    assert told.crowd.tolist() == [False]


def test_order_of_the_lists_and_white_space_count_for_nothing(folder):
    content = listed(BOX)
    turned = {"annotations": content["annotations"], "more": [1, {"images": []}], **content}
    plant(folder, "\ufeff" + json.dumps(turned, indent=3))
    assert data.open(folder).train.counts().tolist() == [0, 1]


def test_keypoints_are_filled_up_and_named(folder):
    content = listed({**BOX, "keypoints": [1, 2, 2, 3, 4, 1]}, {**BOX, "id": 2}, {**BOX, "id": 3, "keypoints": [1, 2]})
    content["categories"][1]["keypoints"] = ["nose", "tail"]
    content["categories"][1]["skeleton"] = [[2, 1], [1, 3], "1-2", [1], [0, 1], [1.0, 2]]
    train = data.open(plant(folder, content, "annotations/person_keypoints_train.json")).train
    assert train.task == "keypoints"
    assert train.point_names == ("nose", "tail")
    assert train.skeleton == ((1, 0),)
    assert train[0][1].keypoints.tolist() == [[[1, 2, 2], [3, 4, 1]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert train[1][1].keypoints.shape == (0, 2, 3)


def test_a_part_may_lack_annotations(folder):
    plant(folder, listed(BOX))
    plant(
        folder,
        {"images": listed()["images"]},
        "annotations/image_info_test2017.json",
        ("test2017/a.png", "test2017/b.png"),
    )
    splits = data.open(folder)
    assert splits.test[0][1].labels is None
    assert splits.train[0][1].labels.tolist() == [1]


def test_classes_of_all_parts_are_merged_by_name(folder):
    plant(folder, listed(BOX))
    other = listed({**BOX, "category_id": 1}, categories=[{"id": 1, "name": "dog"}, {"id": 2, "name": "cow"}])
    plant(folder, other, "annotations/instances_val.json", ("val/a.png", "val/b.png"))
    with pytest.warns(
        UserWarning, match=r"instances_val\.json: 1 categories that the parts before it do not list \(cow\)"
    ):
        splits = data.open(folder)
    assert splits.classes == ("cat", "dog", "cow")
    assert splits.validation[0][1].labels.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '{"images": [],\n "annotations": [{"id": 1},\n {"id": }]}',
            r"line 3, column 9: the JSON breaks \(Expecting value",
        ),
        (
            '{"images": [],\n "annotations": [{"id": 1}\n {"id": 2}]}',
            r"line 3, column 2: the JSON breaks \(Expecting ','",
        ),
        ('{"images": [{"id": 1}', r"line 1, column 22: the JSON breaks"),
        ('{"images": [],', r"line 1, column 15: the JSON breaks"),
        ('{"images": [{"id": 1},]}', r"the JSON breaks \(Expecting an entry"),
        ("", r"begins with ''"),
        ('[{"image_id": 1}]', r"begins with '\[\{.*mostly one of results"),
        ('{"images": []}', r"has no list 'annotations' and no list 'categories'"),
        ('{"shapes": [], "version": "5.0"}', r"has no list 'images'"),
        ('{"images": ' + "[" * 100_000, r"cannot be read"),
        ('{"images": [], "annotations": [{"id": ' + "9" * 5000 + "}]}", r"cannot be read"),
    ],
)
def test_json_that_breaks_or_is_none_of_coco_says_where_and_what(folder, text, says):
    with pytest.raises(DataError, match=rf"instances_train\.json.*{says}"):
        data.open(plant(folder, text))


def test_classes_that_differ_in_case_alone_are_refused(folder):
    plant(folder, listed(BOX, categories=[{"id": 9, "name": "cat"}, {"id": 3, "name": "Cat"}]))
    with pytest.raises(DataError, match="has the classes cat and Cat"):
        data.open(folder)


def test_text_that_is_no_utf_8_names_its_line(folder):
    plant(folder, "")
    (folder / "annotations/instances_train.json").write_bytes(b'{"images":\n "\xff"}')
    with pytest.raises(DataError, match=r"line 2.*no UTF-8"):
        data.open(folder)


def test_without_any_picture_the_error_names_the_file_and_the_first(folder):
    with pytest.raises(DataError, match=r"none of the 2 pictures that .*instances_train\.json lists \(a\.png"):
        data.open(plant(folder, listed(BOX), pictures=("other/c.png",)))


def test_a_task_without_annotations_says_which_there_are(folder):
    plant(folder, listed(BOX))
    with pytest.raises(DataError, match=r"no COCO file for captioning, only for detection.*Pass task='detection'"):
        data.open(folder, task="captioning")
    with pytest.raises(UnknownNameError, match="task of the format coco called 'pose'"):
        data.open(folder, task="pose")


def test_other_json_beside_pictures_is_no_coco(folder):
    plant(folder, {"a": 1}, "classes.json", ("cats/a.png", "dogs/b.png"))
    assert data.open(folder).format == "image_folder"


@pytest.mark.parametrize(
    ("task", "objects", "crowd"), [("detection", (739, 624), (8, 5)), ("keypoints", (172, 118), None)]
)
def test_coco_mini_has_the_counts_of_its_description(real_data, task, objects, crowd):
    splits = data.open(real_data / "coco-mini/coco_mini.zip", task=task)
    parts = (splits.train, splits.validation)
    assert [len(part) for part in parts] == [80, 79]
    assert tuple(int(part.counts().sum()) for part in parts) == objects
    if crowd:
        assert tuple(int(part.columns["crowd"].values.sum()) for part in parts) == crowd
        assert len(splits.classes) == 80
        assert (splits.classes[0], splits.classes[79]) == ("person", "toothbrush")
        assert int((splits.validation.counts() > 0).sum()) == 78
    else:
        assert splits.train.point_names[0] == "nose"
        assert splits.train.columns["keypoints"].values.shape == (172, 17, 3)


def test_captions_of_coco_mini_have_the_counts_of_its_description(real_data):
    splits = data.open(real_data / "coco-mini/coco_mini.zip", task="captioning")
    captions = [part.columns["captions"] for part in (splits.train, splits.validation)]
    assert [sum(len(column.at(row)) for row in range(len(column))) for column in captions] == [400, 395]


def test_masks_of_coco_mini_cover_what_pycocotools_says(real_data):
    validation = data.open(real_data / "coco-mini/coco_mini.zip").validation
    areas = [validation[row][1].masks.sum((1, 2)) for row in range(6)]
    assert int(torch.cat(areas).sum()) == 315_379  # by frPyObjects, merge and area of pycocotools 2.0.11
    assert sum(map(len, areas)) == 64


def test_the_fields_of_the_official_evaluator_survive(real_data, folder):
    content = json.loads((real_data / "coco_eval/gt_instances.json").read_text())
    for image in content["images"]:
        image["file_name"] = f"{image['id']}.png"
    plant(folder, content, pictures=[f"train/{image['id']}.png" for image in content["images"]])
    train = data.open(folder).train
    rows = {int(key): row for row, key in enumerate(train.columns["image_id"].values)}
    names = {each["id"]: each["name"] for each in content["categories"]}
    seen = dict.fromkeys(rows, 0)
    for each in content["annotations"]:
        told, at = train.annotation(rows[each["image_id"]], (6, 8)), seen[each["image_id"]]
        seen[each["image_id"]] += 1
        x, y, width, height = each["bbox"]
        assert told.boxes_xyxy[at].tolist() == pytest.approx([x, y, x + width, y + height], rel=1e-6)
        assert float(told.area_px[at]) == pytest.approx(each["area"], rel=1e-6)
        assert bool(told.crowd[at]) == bool(each["iscrowd"])
        assert train.classes[int(told.labels[at])] == names[each["category_id"]]


LAYOUTS = [
    ("coco", "detection", (1, 2)),
    ("coco", "keypoints", (1, 2)),
    ("coco", "panoptic", (1, 2)),
    ("coco_instances", "detection", (1, 2)),
    ("coco_roboflow", "detection", (1, 2)),
    ("mmdet_coco", "detection", (1, 2)),
    ("coco_person_keypoints", "keypoints", (1, 2)),
    ("coco_panoptic", "panoptic", (1, 2)),
    ("coco_captions", "captioning", None),
    ("coco_stuff", "segmentation", None),
    ("coco_image_info", "detection", None),
]


@pytest.mark.parametrize(("layout", "task", "objects"), LAYOUTS)
def test_the_layouts_of_the_samples_are_read(real_data, layout, task, objects):
    tree = Tree(real_data / "formats/structure_samples.zip").below(f"coco/{layout}")
    assert coco.matches(tree)
    assert layout == "coco" or next(iter(coco.tasks_there(tree))) == task
    splits = coco.open_tree(tree, task)
    parts = (splits.train, splits.validation)
    assert [len(part) for part in parts] == [1, 1]
    assert [int(part.columns["image_id"].values[0]) for part in parts] == [5, 40]
    if objects:
        assert tuple(int(part.counts().sum()) for part in parts) == objects
    elif task == "captioning":
        assert [part[0][1].captions for part in parts] == [("hello",), ("world", "text")]
    elif task == "segmentation":
        maps = [part[0][1].class_map for part in parts]
        assert [int((each != IGNORED).sum()) for each in maps] == [20, 20]
        assert [int(each.min()) for each in maps] == [0, 1]


def test_several_labels_a_picture_are_for_classification(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip").below("coco/coco_labels")
    splits = coco.open_tree(tree, next(iter(coco.tasks_there(tree))))
    assert splits.task == "classification"
    assert [part.labels.tolist() for part in (splits.train, splits.validation)] == [[[0, 1]], [[1, 1]]]


def test_panoptic_masks_come_from_the_colours_of_the_png(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip").below("coco/coco")
    splits = coco.open_tree(tree, "panoptic")
    told = splits.validation[0][1]
    assert told.masks.shape == (2, 10, 5)
    assert told.masks.any(2).any(1).all()
    assert told.crowd.tolist() == [False, True]
    assert splits.train.things == (False, False)


def test_voc_written_as_coco_has_its_counts(real_data):
    splits = data.open(real_data / "formats/voc2012_24_multi.zip", "coco")
    assert (len(splits.train), int(splits.train.counts().sum()), len(splits.classes)) == (24, 51, 20)
    assert np.isfinite(splits.train.columns["boxes_xyxy"].values).all()
