"""Flickr8k and 30k: three spellings of captions, and lists of splits."""

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError

TOKENS = "a.jpg#0\tA dog runs .\na.jpg#1\tA dog, again .\nb.jpg#0\tA cat .\nc.jpg#0\tA bird .\n"


def plant(root, *names, folder="Images"):
    for name in names:
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / folder / name)


def test_captions_belong_to_pictures_and_lists_are_splits(tmp_path, packed):
    root = tmp_path / "flickr"
    plant(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "Flickr8k.token.txt").write_text(TOKENS)
    (root / "Flickr_8k.trainImages.txt").write_text("b.jpg\n")
    (root / "Flickr_8k.devImages.txt").write_text("a.jpg\n")
    splits = data.open(packed(root))
    assert splits.format == "flickr"
    assert splits.task == "captioning"
    assert splits.train[0][1].captions == ("A cat .",)
    assert splits.validation[0][1].captions == ("A dog runs .", "A dog, again .")
    assert [path.name for path in splits["unlisted"].paths] == ["c.jpg"]
    assert splits.test is None
    assert splits["unlisted"].origin(0).endswith("Flickr8k.token.txt, line 4")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.txt", 'image,caption\na.jpg,A dog runs .\na.jpg,"A ""dog"", again ."\nb.jpg,A cat , two .\n'),
        ("captions.csv", 'image,caption\na.jpg,A dog runs .\na.jpg,"A ""dog"",\nagain ."\nb.jpg,"A cat , two ."\n'),
        (
            "results.csv",
            'image_name| comment_number| comment\na.jpg| 0| A dog runs .\na.jpg| 1| A "dog", again .\nb.jpg| 0| A cat , two .\n',
        ),
        ("results_20130124.token", 'a.jpg#0\tA dog runs .\na.jpg#1\tA "dog", again .\nb.jpg#0\tA cat , two .\n'),
    ],
)
def test_every_spelling_gives_the_same_captions(tmp_path, name, text):
    plant(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / name).write_text(text)
    train = data.open(tmp_path).train
    assert train[0][1].captions == ("A dog runs .", 'A "dog", again .')
    assert train[1][1].captions == ("A cat , two .",)


def test_pictures_without_captions_and_captions_without_pictures_are_told(tmp_path):
    plant(tmp_path, "a.jpg", "b.jpg", "z.jpg")
    (tmp_path / "captions.txt").write_text("image,caption\na.jpg,A\nb.jpg,B\nc.jpg,C\n")
    with pytest.warns(UserWarning, match="cannot be used") as caught:
        assert len(data.open(tmp_path).train) == 2
    told = " ".join(str(warning.message) for warning in caught)
    assert "line 4: c.jpg is not there" in told
    assert "Images/z.jpg has no caption" in told


def test_a_line_that_is_no_caption_is_told_and_many_are_an_error(tmp_path):
    plant(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS + "2199200615.jpg| 4   A dog\n")
    with pytest.warns(UserWarning, match=r"1 of 5 lines .*line 5 is '2199200615"):
        data.open(tmp_path)
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS + "nothing\n" * 4)
    with pytest.raises(DataError, match=r"4 of 8 lines .*line 5 is 'nothing'"):
        data.open(tmp_path)


def test_quotes_that_are_never_closed_and_bytes_that_are_no_utf_8_name_their_line(tmp_path):
    plant(tmp_path, "a.jpg")
    (tmp_path / "captions.txt").write_text('image,caption\na.jpg,A dog\na.jpg,"A cat\nb\n')
    with pytest.raises(DataError, match=r"captions\.txt, line 3: the quotes"):
        data.open(tmp_path)
    (tmp_path / "captions.txt").write_bytes(b"image,caption\na.jpg,A dog\na.jpg,caf\xe9\n")
    with pytest.raises(DataError, match=r"captions\.txt, line 3: .*no UTF-8"):
        data.open(tmp_path)


def test_the_real_thousand(real_data):
    splits = data.open(real_data / "flickr8k-1000/flickr8k_1000.zip")
    counts = {name: len(part) for name, part in splits.parts().items()}
    assert counts == {"train": 753, "validation": 113, "test": 125, "unlisted": 9}
    captions = [part.columns["captions"].at(index) for part in splits.parts().values() for index in range(len(part))]
    assert sum(map(len, captions)) == 5000
    assert set(map(len, captions)) == {5}
    assert splits.train[0][0].shape[0] == 3
