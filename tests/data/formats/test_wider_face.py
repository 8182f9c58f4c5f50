"""WIDER FACE: its list with the line of zeros, its attributes, and what can be wrong with it."""

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import wider_face
from lamina.data.tree import Tree

LIST = """0--Parade/a.jpg
2
1 2 3 4 2 1 0 0 1 0
5 5 0 2 0 0 1 1 0 1
0--Parade/b.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Hall/a.jpg
1
1 1 1 1 0 0 0 0 0 0
"""


@pytest.fixture
def wider(tmp_path):
    root = tmp_path / "wider"
    for part, name in (
        *(("train", each) for each in ("0--Parade/a", "0--Parade/b", "1--Hall/a")),
        ("val", "0--Parade/a"),
        ("test", "0--Parade/z"),
    ):
        path = root / f"WIDER_{part}/images/{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), "red").save(path)
    lists = root / "wider_face_split"
    lists.mkdir()
    (lists / "wider_face_train_bbx_gt.txt").write_text(LIST)
    (lists / "wider_face_val_bbx_gt.txt").write_text("0--Parade/a.jpg\n1\n1 1 2 2 0 0 0 0 0 0 \n")
    (lists / "wider_face_test_filelist.txt").write_text("0--Parade/z.jpg\n")
    return root


def test_reads_parts_faces_and_attributes_from_a_folder_a_zip_and_a_tar(wider, packed):
    splits = data.open(packed(wider))
    assert splits.format == "wider_face"
    assert {name: len(part) for name, part in splits.parts().items()} == {
        "train": 3,
        "validation": 1,
        "test_unlabelled": 1,
    }
    assert splits.classes == ("face",)
    annotation = splits.train[0][1]
    assert annotation.boxes_xyxy.tolist() == [[1, 2, 4, 6], [5, 5, 5, 7]]  # the second has no area, and is kept
    assert annotation.crowd.tolist() == [False, True]
    assert {name: values.tolist() for name, values in annotation.attributes.items()} == {
        "blur": [2, 0],
        "expression": [1, 0],
        "illumination": [0, 1],
        "occlusion": [1, 0],
        "pose": [0, 1],
    }
    assert len(splits.train[1][1]) == 0  # zeros, which are no face
    assert splits.train[2][1].boxes_xyxy.tolist() == [[1, 1, 2, 2]]
    assert "1--Hall" in str(splits.train.paths[2])
    assert "WIDER_val" in str(splits.validation.paths[0])
    assert splits.train.origin(2).endswith("wider_face_train_bbx_gt.txt, line 8")


def test_a_picture_without_faces_needs_no_line_of_zeros(wider):
    (wider / "wider_face_split/wider_face_train_bbx_gt.txt").write_text(
        LIST.replace("0 0 0 0 0 0 0 0 0 0\n1--", "1--").replace(
            "1--Hall/a.jpg\n1\n1 1 1 1 0 0 0 0 0 0", "1--Hall/a.jpg\n0"
        )
    )
    assert len(data.open(wider).train) == 3


def test_missing_pictures_are_named(wider):
    (wider / "WIDER_train/images/0--Parade/b.jpg").unlink()
    with pytest.warns(UserWarning, match=r"line 5: 0--Parade/b\.jpg is not there"):
        assert len(data.open(wider).train) == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1 2 3 4 2 1 0 0 1 0", "1 2 3 4 2 1", r"train_bbx_gt\.txt, line 3: '1 2 3 4 2 1' is no face"),
        ("1 2 3 4 2 1 0 0 1 0", "1 2 x 4 2 1 0 0 1 0", "line 3: .*is no face"),
        ("\n2\n", "\n3\n", r"line 5: '0--Parade/b\.jpg' is no face"),
        ("\n2\n", "\n1\n", r"line 4: .*is no name of a picture; perhaps the number above"),
        ("\n2\n", "\ntwo\n", "line 2: 'two' is not the number of faces in"),
        ("1--Hall/a.jpg\n1\n1 1 1 1 0 0 0 0 0 0\n", "1--Hall/a.jpg\n", "line 8: '' is not the number"),
        ("1--Hall/a.jpg\n1\n1 1 1 1 0 0 0 0 0 0\n", "1--Hall/a.jpg\n1\n", "line 9: '' is no face"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(wider, old, new, words):
    assert old in LIST
    (wider / "wider_face_split/wider_face_train_bbx_gt.txt").write_text(LIST.replace(old, new))
    with pytest.raises(DataError, match=words):
        data.open(wider)


def test_the_sample_is_read(real_data):
    splits = wider_face.open_tree(Tree(real_data / "formats/structure_samples.zip").below("wider_face"), "detection")
    assert (len(splits.train), len(splits.validation)) == (2, 1)
    assert (splits.train.counts().tolist(), splits.validation.counts().tolist()) == ([3], [3])
    assert splits.validation[0][1].boxes_xyxy.tolist() == [[0, 0, 1, 1], [3, 2, 4, 4], [5, 6, 6, 7]]
    assert splits.validation[0][1].attributes["occlusion"].tolist() == [2, 0, 2]
