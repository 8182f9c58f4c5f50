"""CSV and TSV with any columns: what they are taken for, how to say it, and how they break."""

import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError, UnknownNameError


def plant(root, *names, size=(10, 20)):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, number).save(root / name)


def write(root, text, name="labels.csv"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def labels(part):
    return {path.name: part.classes[label] for path, label in zip(part.paths, part.labels.tolist(), strict=True)}


def test_a_table_of_names_and_labels_and_splits(tmp_path, packed):
    root = tmp_path / "pets"
    plant(root, "photos/1.jpg", "photos/2.jpg", "photos/10.jpg")
    write(root, "file,breed,age,split\n1.jpg,pug,3,train\n10.jpg,boxer,4,val\n2.jpg,boxer,1,train\n")
    splits = data.open(packed(root))
    assert splits.format == "table"
    assert splits.classes == ("boxer", "pug")
    assert labels(splits.train) == {"1.jpg": "pug", "2.jpg": "boxer"}
    assert labels(splits.validation) == {"10.jpg": "boxer"}
    assert splits.train.origin(1).endswith("labels.csv, line 4")
    assert "pictures in the column 'file', labels in 'breed', splits in 'split'" in splits.recognised


def test_the_tables_own_path_opens_it_on_the_disk_and_in_an_archive(tmp_path, packed):
    root = tmp_path / "pets"
    plant(root, "1.jpg", "2.jpg")
    write(root, "image,label\n1.jpg,a\n2.jpg,b\n")
    where = packed(root)
    assert labels(data.open(where / "labels.csv").train) == {"1.jpg": "a", "2.jpg": "b"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.tsv", "id\tlabel\n1\ta, b\n2\tc\n"),
        ("labels.csv", "id;label\n1;a, b\n2;c\n"),
        ("labels.csv", '\ufeffid,label\r\n1,"a, b"\r\n2,c\r\n'),
        ("labels.csv", '1.png,"a, b"\n2.png,c\n'),
        ("labels.csv", "label|path\na, b|/home/me/pets/1.png\nc|C:\\pets\\2.png\n"),
        ("labels.csv", 'id,label\n\n1,"a, b"\n\n2,c\n'),
    ],
)
def test_delimiters_marks_quotes_and_missing_headers_and_endings(tmp_path, name, text):
    plant(tmp_path, "x/1.png", "x/2.png")
    write(tmp_path, text, name)
    assert labels(data.open(tmp_path).train) == {"1.png": "a, b", "2.png": "c"}


def test_quoted_values_may_hold_lines(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    write(tmp_path, 'image,caption\n1.png,"two\nlines, and ""quotes"""\n2.png,one\n')
    splits = data.open(tmp_path / "labels.csv")
    assert splits.task == "captioning"
    assert splits.train[0][1].captions == ('two\nlines, and "quotes"',)
    assert splits.train.origin(1).endswith("line 4")


def test_a_table_for_each_split(tmp_path):
    plant(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    write(tmp_path, "id,label\n1,a\n2,b\n", "train.csv")
    write(tmp_path, "id,label\n1,b\n", "test.csv")
    write(tmp_path, "id,label\n1,a\n2,a\n", "sample_submission.csv")
    splits = data.open(tmp_path)
    assert labels(splits.train) == {"1.png": "a", "2.png": "b"}
    assert labels(splits.test) == {"1.png": "b"}
    assert splits.test.paths[0].parent.name == "test"
    write(tmp_path, "id,kind\n1,b\n", "test.csv")
    with pytest.raises(DataError, match=r"test\.csv has other columns than train\.csv"):
        data.open(tmp_path)


def test_tables_in_the_folders_of_splits(tmp_path, packed):
    root = tmp_path / "exported"
    for split in ("train", "valid"):
        plant(root, f"{split}/1.jpg")
        write(
            root / split,
            "filename,width,height,class,xmin,ymin,xmax,ymax\n1.jpg,10,20,cell,1,2,3,4\n",
            "_annotations.csv",
        )
    splits = data.open(packed(root))
    assert splits.task == "detection"
    assert splits.train[0][1].boxes_xyxy.tolist() == splits.validation[0][1].boxes_xyxy.tolist() == [[1, 2, 3, 4]]
    assert splits.validation.paths[0].parent.name == "valid"


def test_several_rows_of_a_picture_are_several_objects(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    write(tmp_path, "image,x,y,width,height,label\n1.png,1,2,3,4,cat\n2.png,,,,,\n1.png,5,5,1,1,ant\n")
    splits = data.open(tmp_path)
    assert "boxes (x, y, width, height)" in splits.recognised
    assert splits.classes == ("ant", "cat")
    assert splits.train[0][1].boxes_xyxy.tolist() == [[1, 2, 4, 6], [5, 5, 6, 6]]
    assert splits.train[0][1].labels.tolist() == [1, 0]
    assert splits.train[1][1].boxes_xyxy.shape == (0, 4)
    assert splits.train.counts().tolist() == [1, 1]


def test_shares_of_the_picture_become_pixels_and_boxes_need_no_class(tmp_path):
    plant(tmp_path, "1.png", "2.png", size=(10, 20))
    write(tmp_path, "image,xmin,ymin,xmax,ymax\n1.png,0.1,0.5,1,1\n2.png,0,0,1,1\n")
    splits = data.open(tmp_path)
    assert splits.classes == ("object",)
    assert splits.train[0][1].boxes_xyxy[0].tolist() == pytest.approx([1, 10, 10, 20])


def test_a_box_in_one_column_and_what_its_numbers_are(tmp_path):
    plant(tmp_path, "1.png")
    table = write(tmp_path, 'image_id,bbox\n1,"[8, 7, 2.0, 3]"\n')
    assert data.open(tmp_path).train[0][1].boxes_xyxy.tolist() == [[8, 7, 10, 10]]
    write(tmp_path, 'image_id,bbox\n1,"[1, 1, 2, 3]"\n')
    assert data.open(tmp_path).train[0][1].boxes_xyxy.tolist() == [[1, 1, 2, 3]]
    assert data.open_table(table, box_format="xywh").train[0][1].boxes_xyxy.tolist() == [[1, 1, 3, 4]]
    with pytest.raises(DataError, match="box_format is 'cxcywh'"):
        data.open_table(table, box_format="cxcywh")


@pytest.mark.parametrize(
    "text",
    [
        "image,cat,dog,old\n1.png,1,0,1\n2.png,0,0,0\n3.png,0,1,0\n",
        "image,tags\n1.png,cat|old\n2.png,\n3.png,dog\n",
        "image,tags\n1.png,cat old\n2.png,old cat dog\n3.png,dog\n",
        'image,tags\n1.png,"cat, old"\n2.png,"old, dog"\n3.png,"dog, cat"\n',
    ],
)
def test_several_labels_of_a_picture(tmp_path, text):
    plant(tmp_path, "1.png", "2.png", "3.png")
    write(tmp_path, text)
    train = data.open(tmp_path).train
    assert train.classes == ("cat", "dog", "old")
    assert train.labels.shape == (3, 3)
    assert train.labels[0].tolist() == [1, 0, 1]
    assert train.labels.dtype == torch.int64


def test_one_of_several_columns_in_each_row_is_one_label(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    write(tmp_path, "image,melanoma,nevus\n1.png,0.0,1.0\n2.png,1.0,0.0\n")
    assert labels(data.open(tmp_path).train) == {"1.png": "nevus", "2.png": "melanoma"}


def test_blanks_and_commas_in_names_are_no_separators(tmp_path):
    plant(tmp_path, "1.png", "2.png", "3.png")
    write(tmp_path, 'image,label\n1.png,"tench, Tinca tinca"\n2.png,great white shark\n3.png,great auk\n')
    assert len(data.open(tmp_path).classes) == 3


def test_columns_can_be_named(tmp_path):
    plant(tmp_path / "photos", "1.png", "2.png")
    write(tmp_path, "a,b,c,d,e\n1.png,x,t1,hello,2.png\n2.png,y,t2,world,1.png\n")
    table = tmp_path / "labels.csv"
    with pytest.raises(DataError, match=r"columns a, b, c, d, e;.*open_table"):
        data.open(table)
    splits = data.open_table(table, label="b")
    assert labels(splits.train) == {"1.png": "x", "2.png": "y"}
    assert labels(data.open_table(table, image="e", label="b").train) == {"1.png": "y", "2.png": "x"}
    assert data.open_table(table, caption="d").train[1][1].captions == ("world",)
    assert list(data.open_table(table, label="b", split="c").others) == ["t1", "t2"]
    assert len(data.open_table(table, label="b", pictures=tmp_path / "photos").train) == 2
    with pytest.raises(UnknownNameError, match="no column called 'breed'"):
        data.open_table(table, label="breed")
    with pytest.raises(DataError, match="3 columns are named for boxes"):
        data.open_table(table, boxes=("a", "b", "c"))
    with pytest.raises(DataError, match="not there"):
        data.open_table(tmp_path / "other.csv")


def test_a_task_can_be_asked_for_and_must_have_its_columns(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    write(tmp_path, "image,label,caption\n1.png,a,A cat\n2.png,b,A dog\n")
    assert data.open(tmp_path).task == "classification"
    assert data.open(tmp_path, task="captioning").train[1][1].captions == ("A dog",)
    with pytest.raises(DataError, match=r"which is for classification\. Columns for detection"):
        data.open(tmp_path, task="detection")


def test_a_few_bad_rows_are_told_with_file_and_line(tmp_path):
    plant(tmp_path, *(f"{number}.png" for number in range(30)))
    rows = [f"{number}.png,{'ab'[number % 2]}" for number in range(30)]
    rows[3], rows[7], rows[9] = "3.png", "gone.png,a", "9.png,"
    write(tmp_path, "image,label\n" + "\n".join(rows) + "\n")
    with pytest.warns(UserWarning, match=r"3 of 30 rows") as caught:
        assert len(data.open(tmp_path).train) == 27
    told = str(caught[0].message)
    for words in (
        "labels.csv, line 5 has 1 of 2 columns",
        "line 9 names 'gone.png', which is not there",
        "line 11 has no label",
    ):
        assert words in told
    assert len(caught) == 1
    rows[11:15] = [row.replace(".png", ".gone") for row in rows[11:15]]
    write(tmp_path, "image,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match="7 of 30 rows"):
        data.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'image,label\n1.png,a\n2.png,"b\n', r"labels\.csv, line 3: the row .* breaks off"),
        (b"image,label\n1.png,a\n2.png,caf\xe9\n", r"labels\.csv, line 3: .*no UTF-8"),
        (b"", r"labels\.csv is empty"),
        (b"image,label\n", r"columns image, label"),
        (b"image,label\n1.png,Cat\n2.png,cat\n", r"the classes Cat and cat"),
        (b"image,label\n1.png,a\n2.png,b\n1.png,b\n", r"labels\.csv, line 4: 1\.png is labelled b, and a in line 2"),
        (b"image,x1,y1,x2,y2\n1.png,1,1,nan,3\n", r"line 2 has a box of 4 numbers: 1, 1, nan, 3"),
        (b"image,x1,y1,x2,y2\n1.png,1,1,two,3\n", r"line 2 has a box that is no numbers"),
    ],
)
def test_a_table_that_is_broken_names_the_line(tmp_path, content, words):
    plant(tmp_path, "1.png", "2.png")
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        data.open(tmp_path / "labels.csv")


def test_a_row_that_comes_again_counts_once(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    write(tmp_path, "image,label\n1.png,a\n2.png,b\n1.png,a\n")
    with pytest.warns(UserWarning, match="1 of 3 rows .*name a picture again"):
        assert len(data.open(tmp_path).train) == 2


def test_names_never_lead_out_of_the_folder(tmp_path):
    plant(tmp_path, "outside/1.png", "inside/2.png")
    write(tmp_path / "inside", "image,label\n../outside/1.png,a\n2.png,b\n2.png,b\n")
    with pytest.warns(UserWarning, match="which is not there|again"):
        assert [path.name for path in data.open(tmp_path / "inside").train.paths] == ["2.png"]


def test_a_table_of_ones_own_may_name_pictures_anywhere_by_their_whole_path(tmp_path, packed):
    plant(tmp_path / "pets", "a/1.png", "b/1.png", "b/2.png")
    pets = packed(tmp_path / "pets")
    named = "".join(f"{pets / name},{name[0]}\n" for name in ("a/1.png", "b/1.png", "b/2.png"))
    table = write(tmp_path / "mine", "file,label\n" + named)
    train = data.open(table).train
    assert [(str(path), int(label)) for path, label in zip(train.paths, train.labels, strict=True)] == [
        (str(pets / "a/1.png"), 0),
        (str(pets / "b/1.png"), 1),
        (str(pets / "b/2.png"), 1),
    ]
    assert train[2][0].shape[-2:] == (20, 10)


def test_a_table_in_a_folder_of_data_names_nothing_outside(tmp_path):
    plant(tmp_path, "outside/1.png", "inside/2.png")
    write(tmp_path / "inside", f"image,label\n{tmp_path / 'outside' / '1.png'},a\n2.png,b\n2.png,b\n")
    with pytest.warns(UserWarning, match="which is not there|again"):
        assert [path.name for path in data.open(tmp_path / "inside").train.paths] == ["2.png"]


def test_folders_of_classes_with_a_table_of_something_else_stay_an_image_folder(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png")
    write(tmp_path, "epoch,loss\n1,0.5\n2,0.25\n", "log.csv")
    assert data.open(tmp_path).format == "image_folder"


def test_a_hundred_thousand_rows_take_seconds_and_are_linear(tmp_path, within):
    plant(tmp_path, "1.png", "2.png")
    write(tmp_path, "image,label\n" + "1.png,a\n2.png,b\n" * 50_000)
    with within(20), pytest.warns(UserWarning, match="99,998 of 100,000"):
        assert len(data.open(tmp_path).train) == 2
