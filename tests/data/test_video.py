import builtins
import contextlib
import warnings

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")

from lamina.core.errors import DataError, LaminaError, MissingExtraError, ShapeError
from lamina.data import video
from lamina.data.video import Film, Video, is_video


def frame(number, size=(48, 64)):
    """A red bar that moves to the right, two pixels a frame."""
    pixels = np.full((3, *size), 40, np.uint8)
    pixels[0, :, 2 * number : 2 * number + 8] = 220
    return pixels


def make(path, count=30, size=(48, 64)):
    with Film(path, rate=10) as film:
        for number in range(count):
            film.add(frame(number, size))
    return path


@pytest.mark.parametrize("ending", ["mp4", "mov", "avi"])
def test_what_is_written_is_read_back_frame_by_frame(tmp_path, ending):
    read = Video(make(tmp_path / f"bar.{ending}"))
    assert (read.size, read.rate, read.count, read.seconds) == ((48, 64), 10.0, 30, 3.0)
    frames = list(read)
    assert len(frames) == 30
    assert frames[0].shape == (3, 48, 64)
    assert frames[0].dtype == np.uint8
    for number in (0, 11, 25):
        assert np.abs(frames[number].astype(int) - frame(number)).mean() < 12
        assert frames[number][0, 24].argmax() == pytest.approx(2 * number + 4, abs=6)
    assert read.broken == ""
    assert len(list(read)) == 30  # begins anew


@pytest.mark.parametrize("damage", ["cut off", "hole"])
def test_a_video_that_breaks_in_the_middle_gives_what_can_be_read_and_says_so(tmp_path, damage):
    content = make(tmp_path / "whole.avi").read_bytes()
    half, late = len(content) // 2, len(content) * 3 // 4
    damaged = content[:late] if damage == "cut off" else content[:half] + bytes(late - half) + content[late:]
    (tmp_path / "broken.avi").write_bytes(damaged)
    read = Video(tmp_path / "broken.avi")
    with pytest.warns(
        UserWarning, match=r"broken\.avi is damaged: \d+ of its 30 frames .* can be read. They were used"
    ):
        frames = list(read)
    assert 5 < len(frames) < 29
    assert np.abs(frames[2].astype(int) - frame(2)).mean() < 12
    assert "is damaged" in read.broken


def test_stopping_early_is_no_damage(tmp_path):
    read = Video(make(tmp_path / "bar.avi", 5))
    frames = iter(read)
    next(frames)
    frames.close()
    assert read.broken == ""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.mp4", b"", "cannot be read as a video"),
        ("text.mp4", b"no video" * 100, "cannot be read as a video"),
        ("gone.mp4", None, "There is no file"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        Video(tmp_path / name)


def test_a_file_whose_end_is_missing_says_what_the_matter_may_be(tmp_path):
    content = make(tmp_path / "bar.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="its end, where the index stands, is missing"):
        Video(tmp_path / "half.mp4")


def test_odd_sides_lose_a_pixel_and_one_pixel_is_doubled(tmp_path):
    assert Video(make(tmp_path / "odd.mp4", 2, (47, 61))).size == (46, 60)
    assert Video(make(tmp_path / "tiny.mp4", 2, (1, 1))).size == (2, 2)


def test_frames_of_another_size_are_refused_and_the_first_ones_stay(tmp_path):
    with Film(tmp_path / "bar.avi", rate=5) as film:
        film.add(frame(0))
        with pytest.raises(ShapeError, match="Frame 2 has 30 x 20 pixels"):
            film.add(Image.new("RGB", (30, 20)))
    assert len(list(Video(tmp_path / "bar.avi"))) == 1


def test_ctrl_c_leaves_what_was_written(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), Film(tmp_path / "bar.avi", rate=5) as film:
        for number in range(7):
            film.add(frame(number))
        raise KeyboardInterrupt
    assert Video(tmp_path / "bar.avi").count == 7
    assert [path.name for path in tmp_path.iterdir()] == ["bar.avi"]


def test_a_film_without_frames_leaves_the_old_file_alone(tmp_path):
    (tmp_path / "bar.mp4").write_bytes(b"old")
    with pytest.raises(ValueError, match="nothing"), Film(tmp_path / "bar.mp4", rate=5):
        raise ValueError("nothing came")
    assert (tmp_path / "bar.mp4").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_endings_and_rates_are_refused(tmp_path):
    with pytest.raises(
        LaminaError, match=r"written as bar.gif. Its ending chooses the format: .mp4, .mov, .avi. Use bar.mp4"
    ):
        Film(tmp_path / "bar.gif", rate=10)
    with pytest.raises(LaminaError, match="rate is 0"):
        Film(tmp_path / "bar.mp4", rate=0)
    with pytest.raises(LaminaError, match="before the film was begun"):
        Film(tmp_path / "bar.mp4", rate=5).add(frame(0))


def test_videos_are_known_by_their_ending(tmp_path):
    assert is_video("a/drive.MP4")
    assert is_video(tmp_path / "x.webm")
    assert not is_video("cat.jpg")
    assert not is_video(np.zeros(3))


def test_a_missing_opencv_names_the_line_that_installs_it(monkeypatch, tmp_path):
    whole = builtins.__import__

    def without(name, *rest, **more):
        if name == "cv2":
            raise ImportError(name)
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "lamina\[video\]"'):
        Video(tmp_path / "bar.mp4")


def test_nothing_is_said_beside_the_error(tmp_path, capfd):
    (tmp_path / "text.mp4").write_bytes(b"no video" * 100)
    with warnings.catch_warnings(), pytest.raises(DataError):
        Video(tmp_path / "text.mp4")
    assert capfd.readouterr().err == ""
    assert video.is_video("text.mp4")
