"""ImageNet as synset folders, as Kaggle's folders, as the devkit's lists, and as synsets.txt with train.txt."""

import numpy as np
import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import imagenet, open_tree
from lamina.data.tree import Tree

MAPPING = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn02123045 tabby, tabby cat\n"


def plant(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)


def write(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", ".")
        path.write_text(text)


def test_all_classes_of_the_mapping_are_there_in_its_order(tmp_path, packed):
    plant(tmp_path / "in", "train/n03126707/a.jpg", "train/n01440764/b.jpg", "val/n02123045/c.jpg")
    write(tmp_path / "in", LOC_synset_mapping__txt=MAPPING)
    splits = data.open(packed(tmp_path / "in"))
    assert splits.format == "imagenet"
    assert splits.classes == ("tench", "crane (n02012849)", "crane (n03126707)", "tabby")
    assert sorted(splits.train.labels.tolist()) == [0, 2]
    assert splits.validation.labels.tolist() == [3]


def test_kaggles_validation_labels_stand_in_a_table(tmp_path):
    base = "ILSVRC/Data/CLS-LOC"
    plant(tmp_path, f"{base}/train/n01440764/n01440764_1.JPEG", f"{base}/val/ILSVRC2012_val_00000001.JPEG")
    plant(tmp_path, f"{base}/val/ILSVRC2012_val_00000002.JPEG", f"{base}/test/ILSVRC2012_test_00000001.JPEG")
    solution = "ImageId,PredictionString\nILSVRC2012_val_00000002,n02123045 1 2 3 4 \n"
    solution += "ILSVRC2012_val_00000001,n03126707 1 2 3 4 n03126707 5 6 7 8 \n"
    write(tmp_path, LOC_synset_mapping__txt=MAPPING, LOC_val_solution__csv=solution)
    splits = data.open(tmp_path)
    told = {
        path.name: label for path, label in zip(splits.validation.paths, splits.validation.labels.tolist(), strict=True)
    }
    assert told == {"ILSVRC2012_val_00000002.JPEG": 3, "ILSVRC2012_val_00000001.JPEG": 2}
    assert splits.validation.origin(0).endswith("LOC_val_solution.csv, line 2")
    assert splits.test is None


def test_the_devkits_numbers_are_told_by_map_clsloc(tmp_path):
    plant(tmp_path, "train/n01440764/1.JPEG", *(f"val/ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2)))
    write(tmp_path, LOC_synset_mapping__txt=MAPPING, ILSVRC2012_validation_ground_truth__txt="2\n1\n")
    with pytest.raises(DataError, match=r"ground_truth.txt labels .* own numbers.*map_clsloc\.txt"):
        data.open(tmp_path)
    write(tmp_path, map_clsloc__txt="n02123045 1 tabby\nn03126707 2 crane\nn01440764 3 tench\nn02012849 4 crane\n")
    splits = data.open(tmp_path)
    assert splits.validation.labels.tolist() == [2, 3]
    assert splits.validation.origin(1).endswith("ground_truth.txt, line 2")


def meta(path):
    scipy_io = pytest.importorskip("scipy.io")
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object), ("num_children", object)]
    told = [
        (2, "n03126707", "crane, machine", "lifts", 0),
        (1, "n02123045", "tabby, tabby cat", "striped", 0),
        (3, "n01440764", "tench, Tinca tinca", "a fish", 0),
        (4, "n02084071", "dog", "has others below it", 2),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io.savemat(path, {"synsets": np.array(told, dtype=kind)[:, None]}, do_compression=True)


def test_the_devkit_as_it_is_packed_tells_classes_and_labels(tmp_path):
    plant(tmp_path, "train/n01440764/1.JPEG", *(f"val/ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2)))
    devkit = tmp_path / "ILSVRC2012_devkit_t12/data"
    meta(devkit / "meta.mat")
    (devkit / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n")
    splits = data.open(tmp_path)
    assert splits.format == "imagenet"
    assert splits.classes == ("tench", "tabby", "crane")
    assert splits.train.labels.tolist() == [0]
    assert splits.validation.labels.tolist() == [2, 1]
    write(tmp_path, LOC_synset_mapping__txt=MAPPING)  # whose order counts where it is there
    assert data.open(tmp_path).validation.labels.tolist() == [2, 3]


def test_a_meta_mat_without_synsets_is_told(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    plant(tmp_path, "train/n01440764/1.JPEG")
    scipy_io.savemat(tmp_path / "meta.mat", {"synsets": {"WNID": "n01440764"}})
    with pytest.raises(DataError, match=r"meta\.mat does not tell the synsets \(KeyError"):
        data.open(tmp_path)


def test_map_clsloc_alone_names_the_classes_in_the_usual_order(tmp_path):
    plant(tmp_path, "train/n01440764/1.JPEG", "train/n02123045/1.JPEG")
    write(tmp_path, map_clsloc__txt="n02123045 1 tabby_cat\nn01440764 2 tench\n")
    assert data.open(tmp_path).classes == ("tench", "tabby cat")


def test_validation_pictures_without_any_labels_say_what_is_missing(tmp_path):
    plant(tmp_path, "train/n01440764/1.JPEG", "val/ILSVRC2012_val_00000001.JPEG")
    write(tmp_path, LOC_synset_mapping__txt=MAPPING)
    with pytest.raises(DataError, match=r"1 pictures of val .* without labels.*LOC_val_solution\.csv"):
        data.open(tmp_path)


def test_a_folder_that_the_mapping_does_not_name_is_an_error(tmp_path):
    plant(tmp_path, "train/n01440764/1.jpg", "train/n99999999/1.jpg")
    write(tmp_path, LOC_synset_mapping__txt=MAPPING)
    with pytest.raises(DataError, match=r"n99999999.*LOC_synset_mapping\.txt does not name"):
        data.open(tmp_path)


def test_a_line_of_the_mapping_that_is_none_is_named(tmp_path):
    plant(tmp_path, "train/n01440764/1.jpg")
    write(tmp_path, LOC_synset_mapping__txt=f"{MAPPING}tench again\n")
    with pytest.raises(DataError, match=r"mapping\.txt, line 5: 'tench again'"):
        data.open(tmp_path)


def test_folders_of_synsets_without_a_mapping_stay_an_image_folder(tmp_path):
    plant(tmp_path, "train/n01440764/1.jpg", "train/n02012849/1.jpg")
    splits = data.open(tmp_path)
    assert splits.format == "image_folder"
    assert splits.classes == ("n01440764", "n02012849")


def test_a_list_of_pictures_and_the_lines_of_synsets(tmp_path):
    plant(tmp_path, "images/1.jpg", "images/2.jpg")
    write(tmp_path, synsets__txt="cat\ndog\nfox\n", train__txt="1.jpg 0\n2.jpg 2\n")
    splits = data.open(tmp_path)
    assert splits.classes == ("cat", "dog", "fox")
    assert splits.train.labels.tolist() == [0, 2]
    write(tmp_path, train__txt="1.jpg 0\n2.jpg 3\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2: '2\.jpg 3'.*number below 3"):
        data.open(tmp_path)


def test_the_sample_with_a_list_of_more_pictures_than_there_are(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip").below("imagenet_txt")
    assert imagenet.matches(tree)
    with pytest.warns(UserWarning, match=r"2 of 4 pictures .*line 3: 3\.jpg is not there"):
        splits = open_tree(tree)
    assert splits.train.labels.tolist() == [0, 5]
    assert splits.classes == tuple(f"label_{number}" for number in range(10))


def test_the_real_samples_have_the_class_indices_that_their_index_tells(real_data):
    source = real_data / "imagenet-samples/imagenet_samples_200.zip"
    splits, tree = data.open(source), Tree(source)
    index = {row.split(",")[0]: int(row.split(",")[1]) for _, row in list(tree.lines("index.csv"))[1:]}
    assert len(splits.train) == 200
    assert len(splits.classes) == len(set(splits.classes)) == 1000
    assert {
        path.stem: label for path, label in zip(splits.train.paths, splits.train.labels.tolist(), strict=True)
    } == index
    assert splits.classes[0] == "tench"
    assert splits.classes[2] == "great white shark"
    assert splits.train[3][0].shape[0] == 3
