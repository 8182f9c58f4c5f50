"""Tars from their front to their back: of any writer, hostile, damaged, and of other tasks."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data import tar_stream
from lamina.data.preprocess import Preprocess
from lamina.data.tar_bytes import Stop

SMALL = Preprocess(size=(6, 6))
LOOKED = "ignore:.*without an index were looked through"


def png(number):
    made = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), number, np.uint8)).save(made, "PNG")
    return made.getvalue()


def tar(path, files, **arguments):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **arguments) as made:
        for name, content in files:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return path


def numbered(count, form="{}"):
    return [
        pair
        for number in range(count)
        for pair in (
            (form.format(number) + ".png", png(number)),
            (form.format(number) + ".cls", b"%d\n" % (number % 3)),
        )
    ]


def read(path):
    return list(tar_stream.samples(str(path), Stop()))


def told(batches):
    return [number for batch in batches for number in batch.inputs[:, 0, 0, 0].tolist()]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["{}", "./a/b/{}", "x" * 60 + "/" + "y" * 60 + "/{}", "käfer/{}"])
def test_every_kind_of_tar_is_read_as_tarfile_reads_it(tmp_path, form, name):
    path = tar(tmp_path / "0.tar", numbered(5, name), format=form)
    assert [(sample.picture, sample.label) for sample in read(path)] == [(png(n), n % 3) for n in range(5)]
    assert read(path)[2].name.endswith(f"/{name.format(2).removeprefix('./')}.png")


def test_long_names_of_gnu_and_pax_are_read(tmp_path):
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tar(tmp_path / "0.tar", numbered(3, "z" * 300 + "{}"), format=form)
        assert [sample.label for sample in read(path)] == [0, 1, 2]
        assert "z" * 300 in read(path)[1].name


def test_folders_links_and_other_files_are_passed_over(tmp_path):
    link, folder, device = tarfile.TarInfo("0.jpg"), tarfile.TarInfo("d"), tarfile.TarInfo("n")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    folder.type, device.type = tarfile.DIRTYPE, tarfile.CHRTYPE
    (a, b), (c, d) = numbered(2)[:2], numbered(2)[2:]
    path = tar(
        tmp_path / "0.tar",
        [(folder, b""), (link, b""), (device, b""), a, ("0.txt", b"x" * 700), b, c, ("1.npy", b"1"), d],
    )
    assert [(sample.picture, sample.label) for sample in read(path)] == [(png(0), 0), (png(1), 1)]


def test_hostile_names_are_texts_and_nothing_is_written(tmp_path):
    outside = tmp_path / "victim.png"
    names = [f"../../{outside.name[:-4]}", str(outside)[:-4], "..", "a\x1b[31m/b"]
    files = [pair for n, name in enumerate(names) for pair in ((f"{name}.png", png(n)), (f"{name}.cls", b"0"))]
    before = sorted(tmp_path.rglob("*"))
    path = tar(tmp_path / "in" / "0.tar", files)
    assert len(read(path)) == 4
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path, path.parent])


@pytest.mark.filterwarnings(LOOKED)
def test_a_list_of_tars_of_any_writer_is_streamed(tmp_path):
    paths = [tar(tmp_path / f"{n}.tar", numbered(40)[n * 20 : n * 20 + 20]) for n in range(4)]
    batches = data.stream(paths, SMALL, classes=["a", "b", "c"], batch_size=8, shuffle=15, workers=0)
    whole = list(batches.epoch(0))
    assert Counter(told(whole)) == Counter(range(40))
    assert all(batch.targets.tolist() == (batch.inputs[:, 0, 0, 0] % 3).tolist() for batch in whole)
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert data.stream(tmp_path, SMALL, workers=0).classes == ("x", "y", "z")
    assert data.stream(tmp_path / "{0..3}.tar", SMALL, workers=0).samples == 40
    with pytest.raises(DataError, match=r"There are 2 classes\. The labels go up to 2"):
        data.stream(paths, SMALL, classes=["a", "b"])


def test_counting_is_told_once_with_its_remedy(tmp_path):
    path = tar(tmp_path / "0.tar", numbered(3))
    with pytest.warns(UserWarning, match="1 shards without an index were looked through .* `lamina data shard`"):
        data.stream([path], SMALL)


@pytest.mark.filterwarnings(LOOKED)
def test_samples_without_picture_or_label_are_named_and_left_out(tmp_path):
    files = [*numbered(3), ("a.png", png(9)), ("b.cls", b"1"), *numbered(2, "z{}")]
    path = tar(tmp_path / "0.tar", files)
    with pytest.warns(UserWarning, match=r"2 samples have no picture, or no label: a in 0\.tar, b in 0\.tar"):
        batches = data.stream([path], SMALL, workers=0)
    assert told(batches) == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("cut", [0.3, 0.72, 0.999])
def test_a_shard_that_is_cut_short_names_its_last_whole_sample(tmp_path, cut):
    path = tar(tmp_path / "0.tar", numbered(10))
    content = path.read_bytes().rstrip(b"\0")  # its mark of the end too
    path.write_bytes(content[: int(len(content) * cut)])
    whole = len([1 for n in range(10) if n * 2048 + 2048 <= path.stat().st_size])
    last = f"its last whole sample is {whole - 1}" if whole else "no sample is whole"
    for pictures in (True, False):
        with pytest.raises(DataError, match=rf"0\.tar is cut short or damaged \(it ends .*\); {last}\."):
            list(tar_stream.samples(str(path), Stop(), pictures=pictures))


def test_a_cut_between_two_files_is_seen(tmp_path):
    path = tar(tmp_path / "0.tar", numbered(4))
    path.write_bytes(path.read_bytes()[: 2 * 2048])
    with pytest.raises(DataError, match="it ends without the mark of a tar's end"):
        read(path)


def test_a_damaged_header_in_the_middle_is_seen(tmp_path):
    path = tar(tmp_path / "0.tar", numbered(4))
    content = bytearray(path.read_bytes())
    content[2 * 2048 + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad checksum\); its last whole sample is 1\."):
        read(path)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + b"x" * 2000, b"<html>" * 200, b"\xff" * 512])
def test_what_is_no_tar_is_named(tmp_path, content):
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"0\.tar is cut short or damaged \(.*\); no sample is whole"):
        read(tmp_path / "0.tar")


def test_damage_anywhere_is_an_error_or_harmless_and_never_hangs(tmp_path, within):
    path = tar(tmp_path / "0.tar", numbered(3, "z" * 150 + "{}"), format=tarfile.PAX_FORMAT)
    content, draws = path.read_bytes(), random.Random(0)
    with within(60):
        for _ in range(400):
            broken = bytearray(content)
            for _ in range(draws.choice([1, 3, 40])):
                broken[draws.randrange(len(broken))] = draws.randrange(256)
            path.write_bytes(broken[: draws.choice([len(broken), draws.randrange(len(broken))])])
            with contextlib.suppress(DataError):
                read(path)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.tar cannot be read \(No such file"):
        data.stream([tmp_path / "none.tar"], SMALL)
    with pytest.raises(DataError, match="is no folder"):
        data.stream(tmp_path / "none", SMALL)
    with pytest.raises(DataError, match="list of shards is empty"):
        data.stream([], SMALL)


def test_the_folder_above_the_parts_is_told_from_a_part(tmp_path):
    tar(tmp_path / "val" / "0.tar", numbered(2))
    with pytest.raises(DataError, match=r"holds no \.tar\..*Pass the folder of one part: .*val\."):
        data.stream(tmp_path, SMALL)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", b"a cat", "has captions"),
        ("a.json", json.dumps({"labels": [0], "boxes_xyxy": [[0, 0, 1, 1]]}).encode(), "has boxes_xyxy"),
    ],
)
def test_shards_of_other_tasks_are_for_data_open(tmp_path, name, content, match):
    path = tar(tmp_path / "0.tar", [("a.png", png(0)), (name, content)])
    with pytest.raises(DataError, match=rf"{match}\. .*data\.open"):
        data.stream([path], SMALL)


def test_an_index_of_another_task_says_so(tmp_path):
    table = {"format": "lamina shards 1", "task": "detection", "classes": [], "samples": 0, "shards": [], "arrays": {}}
    (tmp_path / "index.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=r"index\.json lists shards for detection\..*data\.open"):
        data.stream(tmp_path, SMALL)


@pytest.mark.parametrize("change", [{"shards": [{}]}, {"shards": [{"name": "0.tar", "samples": -1}]}, {"shards": 3}])
def test_a_damaged_index_is_named(tmp_path, change):
    table = {"format": "lamina shards 1", "task": "classification", "classes": ["a"], "samples": 1, "arrays": {}}
    (tmp_path / "index.json").write_text(json.dumps(table | {"shards": []} | change))
    with pytest.raises(DataError, match=r"index\.json is damaged"):
        data.stream(tmp_path, SMALL)


def indexed(folder, count, name="0.tar"):
    table = {
        "format": "lamina shards 1",
        "task": "classification",
        "classes": ["a", "b", "c"],
        "samples": count,
        "arrays": {},
    }
    (folder / "index.json").write_text(json.dumps(table | {"shards": [{"name": name, "samples": count}]}))


def test_an_index_cannot_lead_out_of_its_folder(tmp_path):
    tar(tmp_path / "0.tar", numbered(2))
    (tmp_path / "in").mkdir()
    indexed(tmp_path / "in", 2, "../0.tar")
    with pytest.raises(DataError, match=r"in/0\.tar cannot be read"):
        list(data.stream(tmp_path / "in", SMALL, workers=0))


@pytest.mark.parametrize(
    ("count", "match"), [(7, "holds only 5 samples; its last whole sample is .*/4.png"), (3, "holds more than 3")]
)
def test_a_shard_of_another_count_than_the_index_has_is_an_error(tmp_path, count, match):
    tar(tmp_path / "0.tar", numbered(5))
    indexed(tmp_path, count)
    with pytest.raises(DataError, match=match):
        list(data.stream(tmp_path, SMALL, workers=0, batch_size=2).epoch(0))


@pytest.mark.parametrize("label", [b"", b"cat", b"-1", b"\xb2"])
def test_a_class_that_is_no_number_is_named(tmp_path, label):
    path = tar(tmp_path / "0.tar", [("a.png", png(0)), ("a.cls", label)])
    with pytest.raises(DataError, match=r"0\.tar/a\.cls holds b'.*'\. The number of a class"):
        data.stream([path], SMALL)


@pytest.mark.parametrize(
    "told", [b"{", b"[1]", b'{"labels": "cat"}', b'{"labels": [-1]}', b'{"labels": [true]}', b"{}"]
)
def test_json_without_labels_is_named(tmp_path, told):
    path = tar(tmp_path / "0.tar", [("a.png", png(0)), ("a.json", told)])
    with pytest.raises(DataError, match=r"0\.tar/a\.json"):
        data.stream([path], SMALL)


def test_a_label_beyond_the_classes_is_named(tmp_path):
    tar(tmp_path / "0.tar", [("a.png", png(0)), ("a.cls", b"3")])
    indexed(tmp_path, 1)
    with pytest.raises(DataError, match=r"0\.tar/a\.png is of class 3\. There are 3 classes"):
        list(data.stream(tmp_path, SMALL, workers=0))


def test_one_class_and_several_do_not_mix(tmp_path):
    path = tar(
        tmp_path / "0.tar", [("a.png", png(0)), ("a.cls", b"1"), ("b.png", png(1)), ("b.json", b'{"labels": [1]}')]
    )
    with pytest.raises(DataError, match="some samples of one class and some of several"):
        data.stream([path], SMALL)
    indexed(tmp_path, 2)
    with pytest.raises(DataError, match="some have one class, and some several"):
        list(data.stream(tmp_path, SMALL, workers=0))
