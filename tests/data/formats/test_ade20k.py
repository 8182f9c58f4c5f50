"""ADE20K: the challenge's numbers, and the objects of the full data set."""

import numpy as np
import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import ade20k, open_tree
from lamina.data.tree import Tree

TEXT = '001 # 0 # 0 # sky # sky # ""\n002 # 0 # 0 # person, somebody # person # ""\n001 # 1 # 0 # head # head # ""\n'


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(path)


def challenge(root, split="training", name="ADE_train_1", pixels=((0, 1), (150, 3))):
    save(root / f"annotations/{split}/{name}.png", pixels)
    save(root / f"images/{split}/{name}.jpg", np.zeros((2, 2, 3)))


def full(root, name="training/s/street/ADE_1", text=TEXT, blues=((0, 1), (1, 2))):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(root / f"{name}.jpg")
    save(root / f"{name}_seg.png", [[[10 * (blue % 3), 7, 60 * blue] for blue in row] for row in blues])
    (root / f"{name}_atr.txt").write_text(text)


def test_of_the_challenge_nothing_is_255_and_classes_begin_at_0(tmp_path, packed):
    challenge(tmp_path / "ADEChallengeData2016")
    challenge(tmp_path / "ADEChallengeData2016", "validation", "ADE_val_1")
    splits = data.open(packed(tmp_path / "ADEChallengeData2016"))
    assert splits.format == "ade20k"
    assert (len(splits.classes), splits.classes[0], splits.classes[149]) == (150, "wall", "flag")
    assert splits.train[0][1].class_map.tolist() == [[255, 0], [149, 2]]
    assert len(splits.validation) == 1


def test_the_names_can_stand_in_the_challenges_text(tmp_path):
    challenge(tmp_path, pixels=((0, 1), (2, 3)))
    rows = "Idx\tRatio\tTrain\tVal\tName\n1\t.1\t5\t1\twall\n2\t.1\t5\t1\tdoor, gate\n3\t.1\t5\t1\tdoor\n"
    (tmp_path / "objectInfo150.txt").write_text(rows)
    assert data.open(tmp_path).classes == ("wall", "door, gate", "door (3)")
    (tmp_path / "objectInfo150.txt").write_text(rows + "4\t.1\n")
    with pytest.raises(DataError, match=r"objectInfo150\.txt, line 5 is no class"):
        data.open(tmp_path)


def test_objects_of_the_full_data_set_are_told_by_their_texts(tmp_path, packed):
    full(tmp_path / "ADE20K_2016")
    full(tmp_path / "ADE20K_2016", "validation/a/ADE_2", blues=((2, 2), (1, 1)))
    splits = data.open(packed(tmp_path / "ADE20K_2016"))
    assert splits.classes == ("person", "sky")
    assert splits.train[0][1].class_map.tolist() == [[255, 1], [1, 0]]
    assert splits.validation[0][1].class_map.tolist() == [[0, 0], [1, 1]]


def test_more_classes_than_a_map_holds_leave_the_rarest_out(tmp_path, monkeypatch):
    monkeypatch.setattr(ade20k, "IGNORED", 2)
    for number in range(2):
        full(tmp_path, f"training/{number}", TEXT)
    full(tmp_path, "training/2", TEXT.replace("sky", "moon"))
    with pytest.warns(UserWarning, match="3 classes; a map holds 2"):
        splits = data.open(tmp_path)
    assert splits.classes == ("person", "sky")


def test_a_text_that_breaks_off_names_its_line(tmp_path):
    full(tmp_path, text=TEXT + "003 # 0\n")
    with pytest.raises(DataError, match=r"ADE_1_atr\.txt, line 4: '003 # 0'"):
        data.open(tmp_path)


def test_a_map_of_another_size_is_an_error_at_the_sample(tmp_path):
    challenge(tmp_path, pixels=((0, 1, 2),))
    with pytest.raises(DataError, match="has 3 x 1 pixels, and its picture 2 x 2"):
        data.open(tmp_path).train[0]


@pytest.mark.parametrize("folder", ["dataset", "dataset_with_meta_file"])
def test_the_samples_of_the_true_layout(real_data, folder):
    splits = open_tree(Tree(real_data / "formats/structure_samples.zip").below(f"ade20k_2017/{folder}"))
    assert splits.format == "ade20k"
    assert splits.classes == ("person", "sky")
    assert set(splits.train[0][1].class_map.unique().tolist()) == {0, 1, 255}
    assert (splits.validation is not None) == (folder == "dataset")
