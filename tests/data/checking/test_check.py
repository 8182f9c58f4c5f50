"""What the check reads, how it tells, and how it behaves on much data."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.core.errors import DataError, UnknownNameError
from lamina.data import AnnotatedDataset, ImageDataset, Splits
from lamina.data.checking import duplicates, places
from lamina.data.checking import report as reports
from lamina.data.checking import scan as scanning
from lamina.data.checking.duplicates import ALIKE, check_duplicates
from lamina.data.checking.report import Findings
from lamina.data.columns import Ragged, ends_of


def waves(seed, side=80):
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    for index in range(8):
        (tmp_path / f"c{index % 2}").mkdir(exist_ok=True)
        waves(index).save(tmp_path / f"c{index % 2}/{index}.png")
    return tmp_path


def kinds(report):
    return {(fault.level, fault.kind) for fault in report.faults}


def test_it_checks_a_path_splits_and_a_data_set(folder):
    opened = lamina.data.open(folder)
    for data in (folder, str(folder), opened, opened.train):
        report = lamina.data.check(data)
        assert (report.pictures, report.faults) == (8, ())


def test_nothing_there_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(DataError, match="is not there"):
        lamina.data.check(tmp_path / "nothing")
    with pytest.raises(UnknownNameError, match="mnist"):
        lamina.data.check("mnits")
    with pytest.raises(UnknownNameError, match="format"):
        lamina.data.check(tmp_path, format="none")


def test_what_no_reader_opens_is_told_and_its_pictures_are_checked(folder):
    (folder / "c1/bad.png").write_bytes(b"")
    report = lamina.data.check(folder, format="coco")
    assert kinds(report) == {("error", "not opened"), ("error", "empty file")}
    assert report.pictures == 9


def test_loose_pictures_and_a_single_one_are_checked(folder):
    (folder / "c1/bad.jpg").write_bytes(b"")
    assert kinds(lamina.data.check(folder / "c1")) == {("error", "empty file")}
    assert kinds(lamina.data.check(folder / "c1/bad.jpg")) == {("error", "empty file")}
    assert lamina.data.check(folder / "c0/0.png").pictures == 1


def test_the_report_is_a_table_json_and_a_file(folder, tmp_path):
    (folder / "c1/bad.jpg").write_bytes(b"")
    report = lamina.data.check(folder)
    assert [fault.where for fault in report.errors] == [str(folder / "c1/bad.jpg")]
    assert "c1/bad.jpg: it has no bytes" in str(report)
    assert str(folder) + "/c1" not in str(report)
    assert str(report).splitlines()[-1] == "1 error, 0 conversions, 0 doubts in 9 pictures"
    told = json.loads(report.to_json(tmp_path / "made/report.json"))
    assert told == json.loads((tmp_path / "made/report.json").read_text()) == report.to_dict()
    assert told["counts"] == {"errors": 1, "conversions": 0, "doubts": 0}
    assert told["faults"][0]["what"] == "it has no bytes"


def test_faults_beyond_many_are_counted_and_not_kept(folder, monkeypatch):
    monkeypatch.setattr(reports, "MOST_NAMED", 3)
    for index in range(7):
        (folder / f"c1/bad{index}.jpg").write_bytes(b"")
    report = lamina.data.check(folder)
    assert len(report.errors) == 3
    assert report.count("error") == 7
    assert "7 errors" in str(report)


def test_a_bomb_is_not_decoded(folder):
    """A hundred million white pixels: a few kilobytes as a file, and 300 MB decoded."""
    Image.new("1", (10_000, 10_000)).save(folder / "c1/huge.png")
    tracemalloc.start()
    report = lamina.data.check(folder)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert kinds(report) == {("doubt", "huge")}
    assert "10,000 x 10,000" in report.faults[0].what


def test_a_part_that_joins_others_is_no_leak_and_says_nothing_twice(folder):
    """VOC's trainval, say: its pictures are those of train and val."""
    paths = sorted(folder.rglob("*.png"))
    boxes = Ragged(np.array([[3, 3, 3, 9]] * 8, np.float32), ends_of([1] * 8))
    whole = AnnotatedDataset(paths, {"boxes_xyxy": boxes}, ("cell",), task="detection", root=folder)
    report = lamina.data.check(Splits(whole.subset(range(6)), None, whole.subset([6, 7]), others={"trainval": whole}))
    assert [fault.kind for fault in report.faults] == ["box without area"] * 8
    alone = lamina.data.check(Splits(whole.subset(range(6)), None, others={"trainval": whole}))
    assert alone.count("error") == 8


def test_box_numbers_and_origins_say_where_a_box_is(folder):
    from lamina.data.origins import Origins

    paths = sorted(folder.rglob("*.png"))[:3]
    values = np.array([[1, 1, 9, 9], [2, 2, 9, 9], [1, 1, 9, 9], [5, 5, 5, 5]], np.float32)
    columns = {
        "boxes_xyxy": Ragged(values, ends_of([2, 0, 2])),
        "labels": Ragged(np.array([0, 0, 0, 1]), ends_of([2, 0, 2])),
    }
    origins = Origins(["boxes.csv"], np.array([2, 4, 5]))
    made = AnnotatedDataset(paths, columns, ("red", "white"), task="detection", root=folder, origins=origins)
    (fault,) = lamina.data.check(made).errors
    assert (fault.where, fault.origin) == (str(paths[2]), "boxes.csv, line 5")
    assert fault.what == "box 2 (white) has 0 x 0 pixels: 5, 5, 5, 5"


def test_shares_of_a_picture_become_pixels_before_they_are_judged(folder):
    paths = sorted(folder.rglob("*.png"))[:1]
    values = np.array([[0.5, 0.5, 0.5, 0.9], [0.0, 0.0, 1.005, 1.0], [0.0, 0.0, 1.2, 1.0]], np.float32)
    boxes = Ragged(values, ends_of([3]), per_picture=True)
    made = AnnotatedDataset(paths, {"boxes_xyxy": boxes}, ("cell",), task="detection", root=folder)
    report = lamina.data.check(made)
    assert [fault.kind for fault in report.faults] == ["box without area", "box partly outside"]
    assert "0 x 32 pixels" in report.faults[0].what


def pictures_of_one_hash(count, side):
    """What a scan of `count` different pictures would have seen, whose hashes are all the same."""
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    pictures = scanning.Pictures({"train": ImageDataset(images, [0] * count, ("a", "b"))})
    pictures.height[:], pictures.width[:] = side, side
    pictures.content[:] = pictures.pixels[:] = np.arange(1, count + 1)
    pictures.look[:], pictures.told_apart[:] = 7, True
    return pictures


def test_small_pictures_are_near_only_where_their_brightness_agrees():
    """Digits share their frequencies: of two strokes the hash may say the same, and their pixels do not."""
    pictures = pictures_of_one_hash(3, 28)
    ramp, noise = np.linspace(0, 250, 256), np.random.default_rng(0).normal(0, 40, 256)
    for row, values in enumerate((ramp, 0.9 * ramp, ramp + noise)):
        pictures.detail[row] = values.clip(0, 255)
    for small, expected in ((True, ["picture 1"]), (False, ["picture 1", "picture 2"])):
        pictures.small[:] = small
        findings = Findings()
        check_duplicates(pictures, findings)
        (fault,) = findings.report("", "", 3).faults
        assert (fault.kind, fault.where) == ("near duplicate", "train, picture 0")
        assert [word for word in ("picture 1", "picture 2") if word in fault.what] == expected
    assert 0.9 < ALIKE < 1


def test_thousands_of_one_hash_make_neither_pairs_nor_faults_without_end(monkeypatch):
    """4,000 pictures of one look: a group, of 64 pairs a picture at most, and not of eight million pairs."""
    count, compared = 4000, []
    confirmed = duplicates._confirmed
    monkeypatch.setattr(
        duplicates,
        "_confirmed",
        lambda pictures, one, two: (compared.append(len(one)), confirmed(pictures, one, two))[1],
    )
    pictures, findings = pictures_of_one_hash(count, 80), Findings()
    check_duplicates(pictures, findings)
    assert count <= sum(compared) < 64 * count
    (fault,) = findings.report("", "", count).faults
    assert "and 3,995 more" in fault.what


def test_the_order_of_threads_changes_nothing(folder):
    for index in range(0, 8, 3):
        (folder / f"c{index % 2}/{index}b.jpg").write_bytes(b"x")
    assert lamina.data.check(folder, threads=1) == lamina.data.check(folder, threads=4)


def test_ctrl_c_ends_it_at_once(folder, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lamina.data.check(folder, progress=stop)


def test_progress_counts_every_picture(folder):
    seen = []
    lamina.data.check(folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 8)]


def test_without_duplicates_copies_are_not_looked_for(folder):
    (folder / "c1/copy.png").write_bytes((folder / "c1/1.png").read_bytes())
    assert kinds(lamina.data.check(folder)) == {("doubt", "duplicate")}
    assert lamina.data.check(folder, duplicates=False).faults == ()


def test_many_single_files_are_told_of_shards(folder, monkeypatch):
    monkeypatch.setattr(places, "MANY_FILES", 8)
    (fault,) = lamina.data.check(folder).faults
    assert fault.kind == "many files"
    assert f"lamina data shard {folder}" in fault.what


def test_a_strict_folder_refuses_what_it_would_replace(folder):
    (folder / "c1/bad.png").write_bytes(b"x")
    train = lamina.data.open(folder).train
    preprocess = lamina.Preprocess(size=(8, 8))
    with pytest.warns(UserWarning, match="others are drawn"):
        assert len(train.in_memory(preprocess, on_error="replace")) == 9
    with pytest.raises(DataError, match=r"bad\.png"):
        train.strict().in_memory(preprocess, on_error="replace")
    batches = lamina.data.WorkerBatches(train.strict().prepared(preprocess), 4, workers=0)
    with pytest.raises(DataError, match=r"bad\.png"):
        list(batches.epoch(0))


def test_both_boxes_without_area_in_the_blood_cells_are_named(real_data):
    report = lamina.data.check(real_data / "bccd/bccd_voc.zip", duplicates=False)
    named = sorted(fault.where.rsplit("/", 1)[1] for fault in report.errors)
    assert named == ["BloodImage_00338.jpg", "BloodImage_00343.jpg"]
    assert {fault.kind for fault in report.errors} == {"box without area"}
    assert report.exit_code == 1


def test_ants_and_bees_have_no_fault(real_data):
    assert lamina.data.check(real_data / "hymenoptera/hymenoptera.zip").faults == ()


def test_a_shard_whose_bytes_were_changed_is_named(folder, tmp_path):
    lamina.data.write_shards(lamina.data.open(folder), tmp_path / "shards", samples_per_shard=4)
    first = min((tmp_path / "shards/train").glob("*.tar"))
    assert lamina.data.check(tmp_path / "shards", duplicates=False).count("error") == 0
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    (fault,) = lamina.data.check(tmp_path / "shards", duplicates=False).errors
    assert (fault.kind, fault.where) == ("shard changed", str(first))


def test_an_empty_folder_is_told_in_a_word(tmp_path):
    (fault,) = lamina.data.check(tmp_path).errors
    assert fault.what == "it holds no file"


def test_pictures_beside_a_table_are_no_links(folder):
    named = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{name},{name[:2]}\n" for name in named))
    report = lamina.data.check(folder / "labels.csv")
    assert report.pictures == 8
    assert "link out of the folder" not in {kind for _, kind in kinds(report)}
