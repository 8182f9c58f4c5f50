import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("cv2")

import lamina
from lamina.core.errors import LaminaError
from lamina.data.video import Film, Video
from lamina.models import videos
from lamina.structures.detections import Detections


@pytest.fixture(scope="module")
def segmenter():
    """Class 1 where a pixel is red."""
    x = torch.zeros(4, 3, 24, 32, dtype=torch.uint8)
    x[:, 0, :, 16:] = 255
    net = nn.Conv2d(3, 2, 1)
    model = lamina.Segmenter(
        net,
        classes=["ground", "bar"],
        preprocess=lamina.Preprocess(size=(24, 32), resize="pad", mean=(0.0,) * 3, std=(1.0,) * 3),
    )
    model.fit(x, (x[:, 0] > 0).to(torch.uint8), epochs=0, verbose=0, validation_split=0.0)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]])[..., None, None])
        net.bias.copy_(torch.tensor([1.0, 0.0]))
    return model


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """40 frames, a red bar that moves to the right."""
    path = tmp_path_factory.mktemp("videos") / "drive.avi"
    with Film(path, rate=10) as film:
        for number in range(40):
            pixels = np.full((3, 48, 64), 10, np.uint8)
            pixels[0, :, number : number + 16] = 250
            film.add(pixels)
    return path


def test_a_videos_results_come_frame_by_frame_in_its_own_size(segmenter, drive):
    results = segmenter.predict(drive, engine="torch")
    assert iter(results) is results, "memory stays flat where nobody keeps them"
    made = list(results)
    assert len(made) == 40
    assert made[0].size == (48, 64)
    middles = [np.flatnonzero(each.class_map[24] == 1).mean() for each in made]
    assert np.diff(middles).mean() == pytest.approx(1.0, abs=0.2)


def test_frames_may_be_seen_in_tiles(segmenter, drive):
    results = segmenter.predict(drive, tile=32)
    assert iter(results) is results
    made = list(results)
    assert [each.size for each in made] == [(48, 64)] * 40
    whole = list(segmenter.predict(drive, engine="torch"))
    assert np.mean([(a.class_map == b.class_map).mean() for a, b in zip(made, whole, strict=True)]) > 0.95


def test_no_more_frames_are_read_than_are_answered_together(segmenter, drive, monkeypatch):
    read = []
    frames = Video.__iter__

    def counted(self):
        for frame in frames(self):
            read.append(1)
            yield frame

    monkeypatch.setattr(Video, "__iter__", counted)
    results = segmenter.predict(drive, engine="torch")
    next(results)
    assert len(read) == videos.FRAMES


def test_frames_are_told_with_number_and_time(segmenter, drive):
    frames = list(videos.frames(segmenter, Video(drive), asked={"engine": "torch"}))
    told = frames[12].to_dict()
    assert (told["frame"], told["time_s"], told["path"]) == (12, 1.2, str(drive))
    assert str(frames[12]).startswith(f"{drive} frame 12 (1.20 s): ground")


def test_a_film_shows_each_frame_with_what_was_found_and_a_legend(segmenter, drive, tmp_path):
    made = videos.film(segmenter, drive, tmp_path / "out.avi", asked={"engine": "torch"})
    assert (made.frames, made.broken, str(made)) == (40, "", f"{tmp_path / 'out.avi'}: 40 frames")
    out = Video(tmp_path / "out.avi")
    assert (out.count, out.rate) == (40, 10.0)
    assert out.size[0] > 48
    assert out.size[1] > 64


def test_of_a_video_that_breaks_off_what_can_be_read_is_filmed(segmenter, drive, tmp_path):
    content = drive.read_bytes()
    (tmp_path / "broken.avi").write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="is damaged"):
        made = videos.film(segmenter, tmp_path / "broken.avi", tmp_path / "out.avi", asked={"engine": "torch"})
    assert 5 < made.frames < 35
    assert "is damaged" in made.broken
    assert len(list(Video(tmp_path / "out.avi"))) == made.frames


def test_what_is_no_video_or_the_video_itself_is_refused_before_anything_is_read(segmenter, drive, tmp_path):
    with pytest.raises(LaminaError, match="is the video itself"):
        videos.film(segmenter, drive, drive)
    with pytest.raises(LaminaError, match=r"cat.jpg is no video"):
        videos.film(segmenter, "cat.jpg", tmp_path / "out.mp4")
    (tmp_path / "text.mp4").write_bytes(b"text")
    with pytest.raises(LaminaError, match="cannot be read as a video"):
        segmenter.predict(tmp_path / "text.mp4")


def test_boxes_are_drawn_in_the_frames_own_size():
    frame = np.zeros((3, 40, 60), np.uint8)
    found = Detections(("cat",), np.array([[5, 20, 50, 38]]), np.array([0]), np.array([0.9]), image=frame)
    shown = videos.drawn(found)
    assert shown.size == (60, 40)
    assert np.asarray(shown).any()
    with pytest.raises(LaminaError, match="A str was found in a frame"):
        videos.drawn("a cat")
