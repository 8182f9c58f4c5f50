"""Pascal VOC: the true data sets with their exact counts, the ways tools write it, and every way in which it can be wrong."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import voc
from lamina.data.formats.voc_maps import colour_of
from lamina.data.tree import Tree

OBJECT = """<object><name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def thing(name, *box, difficult=0):
    return OBJECT.format(*box, name=name, difficult=difficult)


def picture(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


def annotate(path, *objects, more=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>x.jpg</filename>{more}{''.join(objects)}</annotation>")


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / "voc"
    for name in ("a", "b", "c"):
        picture(root / f"JPEGImages/{name}.jpg")
    annotate(root / "Annotations/a.xml", thing("cat", 1, 2, 11, 9), thing("dog", 3, 3, 4, 4, difficult=1))
    annotate(root / "Annotations/b.xml", thing("dog", 1, 1, 20, 10))
    annotate(root / "Annotations/c.xml")
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nc\n")
    (lists / "val.txt").write_text("b\n")
    (lists / "trainval.txt").write_text("a\nb\nc\n")
    (lists / "cat_train.txt").write_text("a  1\nc -1\n")
    return root


def test_reads_parts_boxes_and_marks_from_a_folder_a_zip_and_a_tar(devkit, packed):
    splits = data.open(packed(devkit))
    assert splits.format == "voc"
    assert {name: len(part) for name, part in splits.parts().items()} == {"train": 2, "validation": 1, "trainval": 3}
    assert splits.classes == voc.CLASSES
    image, annotation = splits.train[0]
    assert image.shape == (3, 10, 20)
    assert [splits.classes[label] for label in annotation.labels] == ["cat", "dog"]
    assert annotation.boxes_xyxy.tolist() == [[1, 2, 11, 9], [3, 3, 4, 4]]
    assert annotation.boxes_xyxy.dtype == torch.float32
    assert annotation.crowd.tolist() == [False, True]
    assert annotation.attributes["truncated"].tolist() == [1, 1]
    assert voc.POSES[annotation.attributes["pose"][0]] == "Left"
    assert len(splits.train[1][1]) == 0
    assert splits.train.origin(0).endswith("a.xml")


def test_the_blood_cells_have_their_exact_counts_and_keep_both_degenerate_boxes(real_data):
    splits = data.open(real_data / "bccd/bccd_voc.zip")
    assert {name: len(part) for name, part in splits.parts().items()} == {
        "train": 205,
        "validation": 87,
        "test": 72,
        "trainval": 292,
    }
    assert splits.classes == ("Platelets", "RBC", "WBC")
    counts = splits.others["trainval"].counts() + splits.test.counts()
    assert counts.tolist() == [361, 4155, 372]
    degenerate = set()
    for part in (splits.others["trainval"], splits.test):
        for index in range(len(part)):
            boxes = part.annotation(index, (480, 640)).boxes_xyxy
            if ((boxes[:, 2:] - boxes[:, :2]) <= 0).any():
                degenerate.add(part.paths[index].stem)
    assert degenerate == {"BloodImage_00338", "BloodImage_00343"}


def sorted_boxes(part, index):
    annotation = part.annotation(index)
    boxes = zip(annotation.labels.tolist(), annotation.boxes_xyxy.tolist(), strict=True)
    return sorted((part.classes[label], *box) for label, box in boxes)


@pytest.mark.parametrize("form", ["coco", "yolo", "cvat"])
def test_the_same_pictures_in_other_forms_have_the_same_boxes(real_data, form):
    ours = data.open(real_data / "formats/voc2012_24_multi.zip", "voc").train
    others = data.open(real_data / "formats/voc2012_24_multi.zip", form)
    other = next(iter(others.parts().values()))
    assert len(ours) == len(other) == 24
    assert ours.counts().sum() == other.counts().sum() == 51
    rows = {path.name: index for index, path in enumerate(other.paths)}
    worst = 0.0
    for index, path in enumerate(ours.paths):
        for one, two in zip(sorted_boxes(ours, index), sorted_boxes(other, rows[path.name]), strict=True):
            assert one[0] == two[0]
            worst = max(worst, *(abs(a - b) for a, b in zip(one[1:], two[1:], strict=True)))
    assert worst < 0.01  # px


def test_imagenets_detection_files_with_floats_and_an_empty_depth_are_read(real_data, tmp_path):
    zipped = Tree(real_data / "formats/voc2012_24_multi.zip")
    for name in zipped.names:
        if name.startswith(("imagenet_det/", "JPEGImages/")):
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(zipped.read(name))
    ours, det = data.open(zipped.root, "voc").train, data.open(tmp_path).train
    assert (len(det), det.counts().sum()) == (24, 51)
    assert all(sorted_boxes(ours, index) == sorted_boxes(det, index) for index in range(24))


def test_the_sample_of_the_devkit_is_read_for_both_tasks(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip").below("voc")
    splits = voc.open_tree(tree, "detection")
    assert {name: len(part) for name, part in splits.parts().items()} == {"train": 1, "test_unlabelled": 1}
    assert splits.train[0][1].boxes_xyxy.tolist() == [[1, 2, 3, 4], [4, 5, 6, 7]]  # and not the box of the head
    assert splits.others["test_unlabelled"][0][1].labels is None
    maps = voc.open_tree(tree, "segmentation")
    assert maps.classes[:2] == ("background", "aeroplane")
    annotation = maps.train[0][1]
    assert annotation.class_map.unique().tolist() == [2]
    assert annotation.extras["objects"].unique().tolist() == [1]


def test_without_lists_everything_is_train(devkit):
    for path in devkit.rglob("*.txt"):
        path.unlink()
    assert {name: len(part) for name, part in data.open(devkit).parts().items()} == {"train": 3}


def test_files_beside_their_pictures_are_read_by_the_folders_of_parts(tmp_path, packed):
    for part, name in (("train", "x 1.rf.1"), ("train", "y"), ("valid", "y")):
        picture(tmp_path / f"d/{part}/{name}.jpg")
        annotate(tmp_path / f"d/{part}/{name}.xml", thing("zebra", 1, 1, 5, len(name)), thing("ant", 0, 0, 1, 1))
    splits = data.open(packed(tmp_path / "d"))
    assert splits.format == "voc"
    assert (len(splits.train), len(splits.validation)) == (2, 1)
    assert splits.classes == ("ant", "zebra")
    assert splits.validation[0][1].boxes_xyxy[0].tolist() == [1, 1, 5, 1]
    assert splits.validation.paths[0].parent.name == "valid"


def test_two_years_are_read_as_one(tmp_path):
    for year, difference in (("VOC2007", 1), ("VOC2012", 2)):
        picture(tmp_path / f"VOCdevkit/{year}/JPEGImages/1.jpg", size=(20, 10 + difference))
        annotate(tmp_path / f"VOCdevkit/{year}/Annotations/1.xml", thing("cat", 0, 0, 5, 10 + difference))
        lists = tmp_path / f"VOCdevkit/{year}/ImageSets/Main"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("1")
    train = data.open(tmp_path).train
    assert len(train) == 2
    assert all(int(note.boxes_xyxy[0, 3]) == image.shape[1] for image, note in (train[0], train[1]))


def test_pictures_that_are_listed_and_not_annotated_are_parts_of_their_own(devkit):
    (devkit / "Annotations/c.xml").unlink()
    with pytest.warns(UserWarning, match=r"no annotation: 1 of train"):
        splits = data.open(devkit)
    assert {name: len(part) for name, part in splits.parts().items()} == {
        "train": 1,
        "validation": 1,
        "trainval": 2,
        "train_unlabelled": 1,
    }
    assert splits.others["train_unlabelled"].paths[0].name == "c.jpg"


def test_annotations_without_a_picture_are_named(devkit):
    (devkit / "JPEGImages/b.jpg").unlink()
    with pytest.warns(UserWarning, match=r"1 of 3 annotations.*b\.xml"):
        splits = data.open(devkit)
    assert splits.validation is None


def test_objects_without_a_box_are_named(devkit):
    annotate(devkit / "Annotations/a.xml", thing("cat", 1, 1, 2, 2), "<object><name>dog</name></object>")
    with pytest.warns(UserWarning, match=r"1 of 3 objects.*a\.xml, line 2: dog has no <bndbox>"):
        assert len(data.open(devkit).train[0][1]) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<annotation>\n<object>\n<name>cat</na", r"a\.xml, line 3: .*copy or write the file again"),
        ("<annotation>\n<object>\n</annotation>", r"a\.xml, line 3: mismatched tag"),
        ("<annotation>", r"a\.xml, line 1: no element found"),
        (
            f"<annotation>\n{thing('cat', 1, 2, 'x', 4)}</annotation>",
            r"a\.xml, line 3: <xmax> of cat is 'x', which is no number",
        ),
        (f"<annotation>\n{thing('cat', 1, 'nan', 3, 4)}</annotation>", r"a\.xml, line 3: <ymin> of cat is 'nan'"),
        (
            "<annotation><object>\n<name>cat</name>\n<bndbox><xmin>1</xmin></bndbox></object></annotation>",
            r"line 3: <ymin> of cat is ''",
        ),
        (f"<annotation>\n{thing('', 1, 2, 3, 4)}</annotation>", r"a\.xml, line 2: an object has no <name>"),
        ("<!DOCTYPE annotation>\n<annotation/>", r"a\.xml, line 1: the XML declares a document type"),
        ('<?xml version="1.0" encoding="nobody-knows"?>\n<annotation/>', r"a\.xml, line 1"),
        ("<annotation>" * 300 + "</annotation>" * 300, r"a\.xml, line 1: 201 elements lie inside each other"),
    ],
)
def test_broken_files_are_named_with_their_line(devkit, content, words):
    (devkit / "Annotations/a.xml").write_text(content)
    with pytest.raises(DataError, match=words):
        data.open(devkit, "voc")


def test_a_billion_laughs_are_refused_before_one_is_expanded(devkit):
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">\n' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [\n<!ENTITY l0 "ha">\n{levels}]>\n<annotation>&l9;</annotation>'
    (devkit / "Annotations/a.xml").write_text(bomb)
    with pytest.raises(DataError, match=r"a\.xml, line 1: .*entities.*not expanded"):
        data.open(devkit)


def test_entities_that_read_other_files_are_refused(devkit, tmp_path):
    (tmp_path / "secret").write_text("cat")
    told = f'<!DOCTYPE a [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]>\n<annotation>{thing("&s;", 1, 2, 3, 4)}</annotation>'
    (devkit / "Annotations/a.xml").write_text(told)
    with pytest.raises(DataError, match="document type or entities"):
        data.open(devkit)


def test_two_annotations_of_one_picture_are_refused(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg")
    for folder in ("one", "two"):
        annotate(tmp_path / folder / "Annotations/a.xml", thing("cat", 1, 2, 3, 4))
    with pytest.raises(DataError, match=r"two annotations of .*a\.jpg: one/.*two/"):
        data.open(tmp_path, "voc")


def test_classes_that_differ_in_case_alone_are_refused(devkit):
    annotate(devkit / "Annotations/b.xml", thing("Dog", 1, 1, 2, 2))
    with pytest.raises(DataError, match=r"classes .og and .og"):
        data.open(devkit)


def mask(path, values, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values, dtype=np.uint8)
    if mode == "P":
        image = Image.fromarray(values)
        image.putpalette([side for value in range(256) for side in colour_of(value)])
    else:
        image = Image.fromarray(np.array([colour_of(value) for value in range(256)], dtype=np.uint8)[values])
    image.save(path)


VALUES = [[0, 255, 20], [15, 15, 0]]


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_masks_are_classes_by_palette_and_by_colour(tmp_path, packed, mode):
    picture(tmp_path / "v/JPEGImages/a.jpg", size=(3, 2))
    mask(tmp_path / "v/SegmentationClass/a.png", VALUES, mode)
    splits = data.open(packed(tmp_path / "v"), task="segmentation")
    annotation = splits.train[0][1]
    assert annotation.class_map.tolist() == VALUES
    assert splits.classes[15] == "person"
    assert splits.train.origin(0).endswith("a.png")


def test_masks_that_are_all_grey_colours_are_not_taken_for_numbers(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg", size=(2, 1))
    mask(tmp_path / "SegmentationClass/a.png", [[0, 7]], "RGB")  # class 7 is (128, 128, 128)
    assert data.open(tmp_path, task="segmentation").train[0][1].class_map.tolist() == [[0, 7]]


def test_a_labelmap_names_other_classes_and_their_colours(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg", size=(2, 1))
    mask(tmp_path / "SegmentationClass/a.png", [[0, 1]], "RGB")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad: x:128,0,0::\n")
    splits = data.open(tmp_path, task="segmentation")
    assert splits.classes == ("background", "road: x")
    assert splits.train[0][1].class_map.tolist() == [[0, 1]]
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nroad:red::\n")
    with pytest.raises(DataError, match=r"labelmap\.txt, line 2: 'road:red::'"):
        data.open(tmp_path, task="segmentation")


@pytest.mark.parametrize(
    ("values", "mode", "words"),
    [
        ([[0, 21]], "P", r"a\.png holds the value 21.*0\.\.20, 255"),
        ([[0, 21]], "RGB", r"a\.png holds the colour #"),
        ([[0], [1]], "P", r"a\.png has 1 x 2 pixels, and its picture 2 x 1"),
    ],
)
def test_masks_that_do_not_fit_are_named_at_the_sample(tmp_path, values, mode, words):
    picture(tmp_path / "JPEGImages/a.jpg", size=(2, 1))
    mask(tmp_path / "SegmentationClass/a.png", values, mode)
    with pytest.raises(DataError, match=words):
        data.open(tmp_path, task="segmentation").train[0]


def test_the_palette_is_the_one_of_the_devkit():
    assert [colour_of(value) for value in (0, 1, 2, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]
