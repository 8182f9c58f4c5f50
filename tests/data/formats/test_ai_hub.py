"""AI-Hub: a JSON for each picture, in the many spellings that its data sets have."""

import json

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]


@pytest.fixture
def hub(tmp_path):
    root = tmp_path / "hub"

    def write(told, name="a", part="1.Training"):
        for folder in ("원천데이터", "라벨링데이터"):
            (root / part / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), "red").save(root / part / "원천데이터" / f"{name}.jpg")
        text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
        (root / part / "라벨링데이터" / f"{name}.json").write_text(text, encoding="utf-8")
        return root

    return write


def usual(*annotations, **more):
    image = {"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}
    return {"images": [image], "categories": CATEGORIES, "annotations": list(annotations), **more}


def test_reads_parts_and_boxes_from_a_folder_a_zip_and_a_tar(hub, packed):
    hub(usual({"category_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 1}))
    root = hub(usual(), part="2.Validation")
    splits = data.open(packed(root))
    assert splits.format == "ai_hub"
    assert {name: len(part) for name, part in splits.parts().items()} == {"train": 1, "validation": 1}
    assert splits.classes == ("dog", "cat")  # by their ids
    annotation = splits.train[0][1]
    assert annotation.boxes_xyxy.tolist() == [[1, 2, 4, 6]]
    assert (annotation.labels.tolist(), annotation.crowd.tolist()) == ([1], [True])
    assert "2.Validation" in str(splits.validation.paths[0])
    assert splits.train.origin(0).endswith("a.json")


@pytest.mark.parametrize(
    "annotation",
    [
        {"category_id": 7, "bbox": [[5, 2, 10, 4]]},
        {"category_id": "7", "bbox": {"x": 5, "y": 2, "width": 10, "height": 4}},
        {"class": "cat", "box": [5, 2, 15, 6]},
        {"Label": "cat", "BBox": ["5", "2", "10", "4"]},
        {"category_id": 7, "segmentation": [[5, 2, 15, 2, 15, 6, 5, 6]]},
        {"category_id": 7, "polygon": [5, 2, 15, 2, 15, 6, 5, 6]},
        {"category_name": "cat", "points": [[5, 2], [15, 2], [15, 6], [5, 6]]},
        {"category_name": "cat", "points": [{"x": 5, "y": 2}, {"x": 15, "y": 2}, {"x": 15, "y": 6}, {"x": 5, "y": 6}]},
        {"category_id": 7, "segmentation": [[[5, 2], [15, 2], [15, 6], [5, 6]]]},
    ],
)
@pytest.mark.parametrize(
    "image", [{"image": {"filename": "a.jpg"}}, {"Images": {"name": "old/a.jpg"}}, {"image": [{"id": "x"}]}]
)
def test_every_spelling_gives_the_same_box(hub, annotation, image):
    told = data.open(hub({**image, "categories": CATEGORIES, "annotation": [annotation]}), "ai_hub").train[0][1]
    assert told.boxes_xyxy.tolist() == [[5, 2, 15, 6]]
    if {"segmentation", "polygon", "points"} & set(annotation):
        assert told.masks.sum().item() == 40


def test_classes_are_sorted_where_files_number_them_differently(hub):
    hub(
        {
            **usual({"category_id": 1, "bbox": [1, 1, 2, 2]}),
            "categories": [{"id": 1, "name": "zebra"}, {"id": 2, "name": "ant"}],
        },
        name="a",
    )
    root = hub(
        {
            "image": {"file_name": "b.jpg"},
            "categories": [{"id": 1, "name": "ant"}],
            "annotations": [{"category_id": 1, "bbox": [1, 1, 2, 2]}],
        },
        name="b",
    )
    splits = data.open(root)
    assert splits.classes == ("ant", "zebra")
    assert [int(splits.train[index][1].labels) for index in (0, 1)] == [1, 0]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"category_id": 9, "bbox": [1, 1, 2, 2]}, r"a\.json, annotation 5: its class '?9'? is in no category"),
        ({"bbox": [1, 1, 2, 2]}, "it has no class"),
        ({"category_id": 7}, "it has neither bbox nor polygon"),
        ({"category_id": 7, "bbox": [1, 1, 2]}, "are not 4 numbers"),
        ({"category_id": 7, "bbox": [1, 1, None, 2]}, "are not 4 numbers"),
        ({"category_id": 7, "polygon": [1, 1, 2, 2, 3, 3, 4]}, "are not pairs of numbers"),
        ("nothing", "it has no class"),
    ],
)
def test_few_wrong_objects_are_left_out_and_named(hub, annotation, words):
    good = {"category_id": 7, "bbox": [1, 1, 2, 2]}
    root = hub(usual(*[good] * 5, annotation))
    with pytest.warns(UserWarning, match=f"1 of 6 objects.*{words}"):
        assert len(data.open(root).train[0][1]) == 5


def test_many_wrong_objects_are_an_error(hub):
    with pytest.raises(DataError, match="4 of 4 objects"):
        data.open(hub(usual(*[{"category_id": 7}] * 4)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"image":\n {"file_name": "a.jpg"},\n "annotations": [', r"a\.json, line 3: the JSON breaks off"),
        ("[" * 100_000, r"a\.json, .*nested|a\.json, line 1"),
        ('{"flags": {}, "shapes": []}', "1 of 1 JSON files cannot be used: .*it has flags, shapes"),
        ("[1, 2]", "it has no keys"),
    ],
)
def test_broken_and_foreign_files_are_named(hub, content, words):
    with pytest.raises(DataError, match=words):
        data.open(hub(content), "ai_hub")
