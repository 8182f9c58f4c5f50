"""CVAT for images: boxes, turned boxes, polygons, masks, subsets, and what is refused."""

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError

META = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"
BOX = '<box label="cat" occluded="1" xtl="5" ytl="2" xbr="15" ybr="6"/>'


@pytest.fixture
def task(tmp_path):
    def write(*images, meta=META, names=("a.jpg",)):
        root = tmp_path / "task"
        for name in names:
            (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 10), "red").save(root / "images" / name)
        told = "\n".join(f'<image id="{n}" {each}\n</image>' for n, each in enumerate(images))
        (root / "annotations.xml").write_text(f"<annotations>\n<version>1.1</version>{meta}\n{told}\n</annotations>")
        return root

    return write


def test_reads_boxes_from_a_folder_a_zip_and_a_tar(task, packed):
    root = task(f'name="a.jpg">{BOX}', 'name="sub/b.jpg">', names=("a.jpg", "sub/b.jpg"))
    splits = data.open(packed(root))
    assert splits.format == "cvat"
    assert splits.classes == ("dog", "cat")
    annotation = splits.train[0][1]
    assert annotation.boxes_xyxy.tolist() == [[5, 2, 15, 6]]
    assert annotation.labels.tolist() == [1]
    assert annotation.attributes["occluded"].tolist() == [1]
    assert annotation.masks is None
    assert len(splits.train[1][1]) == 0
    assert splits.train.origin(1).endswith("annotations.xml, line 5")


def test_polygons_masks_and_turned_boxes_are_drawn(task):
    shapes = (
        BOX,
        '<polygon label="dog" points="5.0,2.0;15.0,2.0;15.0,6.0;5.0,6.0"/>',
        '<mask label="dog" rle="1, 2, 1" left="18" top="8" width="2" height="2"/>',
        '<box label="dog" xtl="5" ytl="4" xbr="15" ybr="6" rotation="90"/>',
        '<mask label="dog" rle="0, 9" left="-1" top="-1" width="3" height="3"/>',
    )
    annotation = data.open(task(f'name="a.jpg">{"".join(shapes)}')).train[0][1]
    assert annotation.boxes_xyxy.round().tolist() == [
        [5, 2, 15, 6],
        [5, 2, 15, 6],
        [18, 8, 20, 10],
        [9, 0, 11, 10],
        [-1, -1, 2, 2],
    ]
    assert annotation.masks.sum(dim=(1, 2)).tolist() == [40, 40, 2, 20, 4]
    assert annotation.masks[2, 8, 19]
    assert annotation.masks[2, 9, 18]


def test_subsets_are_parts(task):
    root = task('name="a.jpg" subset="Train">', 'name="b.jpg" subset="Validation">', names=("a.jpg", "b.jpg"))
    splits = data.open(root)
    assert {name: len(part) for name, part in splits.parts().items()} == {"train": 1, "validation": 1}


def test_other_shapes_and_missing_pictures_are_named(task):
    root = task(f'name="a.jpg">{BOX}\n<polyline label="cat" points="1,2;3,4"/>', 'name="b.jpg">')
    with pytest.warns(UserWarning, match=r"cannot be used") as told:
        data.open(root)
    assert "1 of 2 annotated pictures" in str(told[0].message)
    assert "line 4: a polyline of cat" in str(told[1].message)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<box label="cat" xtl="5" ytl="x" xbr="1" ybr="2"/>', r"annotations\.xml, line 3: ytl of a <box> is 'x'"),
        ('<box label="cat" xtl="5" ytl="1" xbr="1"/>', r"ybr of a <box> is None"),
        ('<box xtl="5" ytl="1" xbr="1" ybr="2"/>', r"a <box> has no label"),
        ('<polygon label="cat" points="1,2;3"/>', r"points of a polygon are no pairs"),
        ('<mask label="cat" rle="1,99" left="0" top="0" width="3" height="3"/>', "runs of a mask do not fill"),
        ('<mask label="cat" rle="1" left="0" top="0" width="99999999" height="99999999"/>', "do not fill"),
        ('</image></annotations><track label="cat">', r"line 3"),
        ("<box", r"line 4"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(task, shape, words):
    with pytest.raises(DataError, match=words):
        data.open(task(f'name="a.jpg">{shape}'))


def test_tracks_through_a_video_are_refused(task):
    root = task(meta=f"{META}\n<track id='0' label='cat'></track>")
    with pytest.raises(DataError, match=r"line 3: these are tracks.*CVAT for images"):
        data.open(root)


def test_the_real_file_has_its_boxes(real_data):
    splits = data.open(real_data / "formats/voc2012_24_multi.zip", "cvat")
    assert (len(splits.train), splits.train.counts().sum()) == (24, 51)
    assert splits.classes[:2] == ("person", "cat")
