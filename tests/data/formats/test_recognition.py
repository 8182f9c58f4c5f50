"""Trees as people have them on disk: which format they are taken for, and what is said of those that are none."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError

SYNSETS = ("n01440764", "n01443537")


def _picture(seed, *, kind="JPEG"):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


def _colour(red, green, blue):
    stream = io.BytesIO()
    Image.new("RGB", (10, 12), (red, green, blue)).save(stream, "PNG")
    return stream.getvalue()


def _grey(value):
    stream = io.BytesIO()
    Image.new("L", (10, 12), value).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def tree(tmp_path):
    """`tree(name=content ...)`: a folder of files; for b"" a picture of noise."""

    def made(files):
        for number, (name, content) in enumerate(dict(files).items()):
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content or _picture(number))
        return tmp_path / "set"

    return made


def _of(*folders, count=2):
    return {f"{folder}/{number}.jpg": b"" for folder in folders for number in range(count)}


def _counts(splits):
    return {name: len(part) for name, part in splits.parts().items()}


def test_a_class_may_be_called_train(tree):
    splits = data.open(tree(_of("bus", "car", "train")))
    assert (splits.format, splits.classes, _counts(splits)) == ("image_folder", ("bus", "car", "train"), {"train": 6})


def test_a_train_folder_of_loose_pictures_beside_one_of_a_test_is_no_class(tree):
    with pytest.warns(UserWarning, match="test1"), pytest.raises(DataError, match="begin with cat, dog"):
        data.open(tree({**{f"train/{kind}.{n}.jpg": b"" for kind in ("cat", "dog") for n in (0, 1)}, **_of("test1")}))


def test_splits_may_have_their_name_as_a_word(tree):
    folders = [f"seg_{part}/seg_{part}/{kind}" for part in ("train", "test") for kind in ("forest", "sea")]
    with pytest.warns(UserWarning, match="seg_pred"):
        splits = data.open(tree(_of(*folders, "seg_pred/seg_pred")))
    assert (splits.classes, _counts(splits)) == (("forest", "sea"), {"train": 4, "test": 4})


def test_classes_with_the_word_of_one_split_stay_classes(tree):
    splits = data.open(tree(_of("steam_train", "express_train", "crash_test")))
    assert splits.classes == ("crash_test", "express_train", "steam_train")


def test_a_test_folder_without_classes_is_left_out(tree):
    with pytest.warns(UserWarning, match="2 pictures without folders of classes"):
        splits = data.open(tree(_of("train/cat", "train/dog", "test")))
    assert _counts(splits) == {"train": 4}


@pytest.mark.parametrize("name", ["sampleSubmission.csv", "sample_submission.csv", "Submission.csv"])
def test_what_a_contest_wants_back_is_no_table_of_labels(tree, name):
    files = {**_of("train/cat", "train/dog", "test"), name: "id,label\n0,0\n1,0\n"}
    with pytest.warns(UserWarning, match="left out"):
        assert data.open(tree(files)).format == "image_folder"


def test_the_table_of_skin_lesions_is_preferred_to_its_folders(tree):
    table = "lesion_id,image_id,dx,dx_type\n" + "".join(f"L{n},{n},{'nv' if n else 'mel'},histo\n" for n in (0, 1))
    splits = data.open(tree({"part_1/0.jpg": b"", "part_2/1.jpg": b"", "metadata.csv": table}))
    assert (splits.format, splits.classes) == ("table", ("mel", "nv"))


def test_a_stray_table_does_not_take_over_folders_of_classes(tree):
    root = tree({**_of("ants", "bees", count=9), "bees/x.jpg": b"", "quality.csv": "file,quality\nx.jpg,sharp\n"})
    with pytest.warns(
        UserWarning, match=r"quality\.csv names 1 of 19 pictures; the folders are taken as .*--format table"
    ) as told:
        splits = data.open(root)
    assert (splits.format, splits.classes, _counts(splits), len(told)) == (
        "image_folder",
        ("ants", "bees"),
        {"train": 19},
        1,
    )
    assert len(data.open(root, format="table").train) == 1


def test_a_stray_table_of_pictures_that_are_gone_leaves_the_folders_readable(tree):
    rows = [f"ants/{n}.jpg,good" for n in range(5)] + [f"gone{n}.jpg,bad" for n in range(3)]
    files = {
        **_of("train/ants", "train/bees", "test/ants", "test/bees", count=5),
        "q.csv": "\n".join(["file,q", *rows]),
    }
    with pytest.warns(UserWarning, match=r"q\.csv names 5 of 20 pictures"):
        splits = data.open(tree(files))
    assert (splits.format, _counts(splits)) == ("image_folder", {"train": 10, "test": 10})


@pytest.mark.parametrize("test", ["test", "test_images"])
def test_a_table_of_the_training_pictures_is_taken_beside_a_larger_test_folder(tree, test):
    files = {**{f"{test.replace('test', 'train')}/a{n}.jpg": b"" for n in range(2)}, **_of(test, count=7)}
    splits = data.open(tree({**files, "train.csv": "id,label\na0,x\na1,y\n"}))
    assert (splits.format, splits.classes, _counts(splits)) == ("table", ("x", "y"), {"train": 2})


def test_beside_folders_of_parts_the_table_that_names_most_is_taken(tree):
    few, most = "image,label\na0.jpg,u\n", "image,label\n" + "".join(f"a{n}.jpg,{'xy'[n % 2]}\n" for n in range(6))
    pictures = {f"part_{n % 2}/a{n}.jpg": b"" for n in range(6)}
    splits = data.open(tree({**pictures, "boxes.csv": few, "entries.csv": most}))
    assert (splits.format, splits.classes, _counts(splits)) == ("table", ("x", "y"), {"train": 6})


def test_photographs_in_folders_called_images_and_labels_beside_others_are_classes(tree):
    splits = data.open(tree(_of("train/images", "train/labels", "train/bottles")))
    assert (splits.format, splits.classes) == ("image_folder", ("bottles", "images", "labels"))


def test_images_and_masks_of_other_names_are_an_error_and_not_two_classes(tree):
    with pytest.raises(DataError, match="no picture with a mask of its name"):
        data.open(tree({"images/a.jpg": b"", "images/b.jpg": b"", "masks/c.png": _grey(1), "masks/d.png": _grey(1)}))


def test_masks_are_known_by_an_ending_whatever_the_two_folders_are_called(tree):
    files = {"raw_full/x1.png": b"", "raw_full/x2.png": b"", "label_colors.txt": "64 128 64\tAnimal\n0 0 0\tVoid\n"}
    splits = data.open(tree({**files, **{f"approved_full/x{n}_L.png": _colour(64, 128, 64) for n in (1, 2)}}))
    assert (splits.format, splits.classes, len(splits.train)) == ("masks", ("Animal",), 2)


def test_classes_whose_pictures_share_names_are_no_masks(tree):
    splits = data.open(tree(_of("with_mask", "without_mask")))
    assert (splits.format, splits.classes) == ("image_folder", ("with_mask", "without_mask"))


@pytest.mark.parametrize("first", [0, 255])
def test_masks_that_are_mostly_empty_or_full_are_black_and_white(tree, first):
    masks = {f"masks/{n}.png": _grey(255 - first if n == 69 else first) for n in range(70)}
    splits = data.open(tree({**{f"images/{n}.jpg": b"" for n in range(70)}, **masks}))
    assert splits.classes == ("background", "foreground")
    assert {int(splits.train[n][1].class_map[0, 0]) for n in (0, 69)} == {0, 1}


def test_roboflow_numbers_the_classes_of_its_masks_in_a_table(tree):
    files = {
        "train/a.jpg": b"",
        "train/a_mask.png": _grey(1),
        "train/_classes.csv": "Pixel Value, Class\n0, back\n1, cat\n",
    }
    assert data.open(tree(files)).classes == ("back", "cat")


def test_masks_beside_the_pictures_of_a_class_are_no_pictures_of_it(tree):
    with pytest.warns(UserWarning, match="2 of 2 pictures"):
        splits = data.open(
            tree({f"{kind}/{each}/1.png": b"" for kind in ("covid", "normal") for each in ("images", "masks")})
        )
    assert [path.parent.name for path in splits.train.paths] == ["images", "images"]


def test_labels_in_numbers_need_no_names_of_classes(tree):
    files = {f"images/train2017/{n}.jpg": b"" for n in range(3)}
    labels = {f"labels/train2017/{n}.txt": f"{n} 0.5 0.5 0.2 0.2\n" for n in range(3)}
    with pytest.warns(UserWarning, match="called 0 to 2"):
        splits = data.open(tree({**files, **labels, "README.txt": "COCO"}))
    assert (splits.format, splits.classes) == ("yolo", ("0", "1", "2"))


def test_darknet_labels_of_roboflow_name_the_classes(tree):
    files = {"train/a.jpg": b"", "train/a.txt": "1 0.5 0.5 0.2 0.2\n", "train/_darknet.labels": "cat\ndog\n"}
    assert data.open(tree(files)).classes == ("cat", "dog")


def test_annotations_of_coco_may_lie_in_the_folder_that_its_archive_is_called(tree):
    told = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    files = {"train2017/1.jpg": b"", "annotations_trainval2017/annotations/instances_train2017.json": json.dumps(told)}
    splits = data.open(tree(files))
    assert (splits.format, _counts(splits)) == ("coco", {"train": 1})


@pytest.mark.parametrize("name", ["labels_map.json", "cats/captions_old.json", "export.xml"])
def test_texts_that_are_called_like_annotations_do_not_make_a_format(tree, name):
    content = '{"0": "cat"}' if name.endswith("json") else "<annotations><note/></annotations>"
    assert data.open(tree({**_of("cats", "dogs"), name: content})).format == "image_folder"


def test_a_numeric_box_beyond_32_bits_is_left_out(tree):
    boxes = [[1, 1, 2, 2]] * 9 + [[1, 1, 1e300, 1]]
    told = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    with pytest.warns(UserWarning, match="bbox is not four numbers"):
        splits = data.open(tree({"1.jpg": b"", "annotations.json": json.dumps(told)}))
    assert len(splits.train[0][1]) == 9


def test_folders_of_masks_alone_are_opened_for_segmentation(tree):
    files = {"JPEGImages/1.jpg": b"", "SegmentationClass/1.png": _grey(0), "ImageSets/Segmentation/train.txt": "1\n"}
    splits = data.open(tree(files))
    assert (splits.format, splits.task) == ("voc", "segmentation")


@pytest.mark.parametrize(("folder", "classes"), [("VOC2012", 20), ("holiday", 1)])
def test_only_files_of_voc_have_all_of_its_classes(tree, folder, classes):
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    told = f"<annotation><folder>{folder}</folder><object><name>dog</name>{box}</object></annotation>"
    assert len(data.open(tree({"1.jpg": b"", "1.xml": told})).classes) == classes


def test_tiny_imagenet_is_read_with_the_labels_of_its_validation(tree):
    files = {f"train/{each}/images/{each}_0.JPEG": b"" for each in SYNSETS}
    files |= {"val/images/val_0.JPEG": b"", "test/images/test_0.JPEG": b"", "wnids.txt": "\n".join(SYNSETS)}
    files["val/val_annotations.txt"] = f"val_0.JPEG\t{SYNSETS[1]}\t0\t0\t9\t9\n"
    files["words.txt"] = "n00000001\tentity\n" + "".join(f"{each}\tfish {n}, x\n" for n, each in enumerate(SYNSETS))
    splits = data.open(tree(files))
    assert (splits.format, splits.classes) == ("imagenet", ("fish 0", "fish 1"))
    assert (_counts(splits), splits.validation.labels.tolist()) == ({"train": 2, "validation": 1}, [1])


def test_folders_without_pictures_beside_the_one_with_all_are_named(tree):
    with pytest.warns(UserWarning, match="food-101/meta/"):
        splits = data.open(tree({**_of("food-101/images/pie", "food-101/images/soup"), "food-101/meta/train.txt": "x"}))
    assert splits.classes == ("pie", "soup")


def test_an_empty_folder_beside_one_of_pictures_is_an_empty_class(tree):
    root = tree(_of("cats/lion", "cats/tabby"))
    (root / "dogs").mkdir()
    with pytest.raises(DataError, match="no picture of dogs"):
        data.open(root)


def test_archives_side_by_side_are_to_be_unpacked(tree):
    with pytest.raises(DataError, match=r"Unpack train2017\.zip here"):
        data.open(tree({"train2017.zip": "x"}))


@pytest.mark.parametrize(
    ("name", "content", "task"),
    [
        ("list_attr_celeba.txt", ",\n1.jpg\n", "classification"),
        ("identity_CelebA.txt", "1.jpg\n", "identification"),
        ("wider_face_train_bbx_gt.txt", f"1.jpg\n1\n1 1 5 5 {'9' * 25} 0 0 0 0 0\n", "detection"),
    ],
)
def test_lists_without_values_or_with_endless_ones_are_told(tree, name, content, task):
    files = {"1.jpg": b"", "list_bbox_celeba.txt": "1\nx_1 y_1 width height\n1.jpg 1 1 2 2\n", name: content}
    form = "wider_face" if name.startswith("wider") else "celeba"
    with pytest.raises(DataError):
        data.open(tree(files), format=form, task=task)
