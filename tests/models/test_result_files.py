import json

import numpy as np
import pytest
from PIL import Image

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.models.result_files import ResultFiles
from lamina.structures.detections import Detections
from lamina.structures.segmentation import SegmentationMap


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos" / "12.png"
    path.parent.mkdir()
    Image.new("RGB", (60, 40), (90, 120, 90)).save(path)
    return path


def boxes(path):
    return Detections(("cat", "dog"), np.array([[6, 4, 36, 24]]), np.array([1]), np.array([0.75]), path=str(path))


def test_boxes_are_drawn_and_written_as_yolo_and_coco(tmp_path, photo):
    with ResultFiles(tmp_path / "out", ("drawn", "yolo", "coco")) as files:
        files.add(boxes(photo), photo)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "12.jpg",
        "12.txt",
        "classes.txt",
        "results.json",
    ]
    assert (tmp_path / "out/12.txt").read_text() == "1 0.350000 0.350000 0.500000 0.500000 0.750000\n"
    assert (tmp_path / "out/classes.txt").read_text() == "cat\ndog\n"
    told = json.loads((tmp_path / "out/results.json").read_text())
    assert told == [{"image_id": 12, "category_id": 2, "bbox": [6.0, 4.0, 30.0, 20.0], "score": 0.75}]
    with Image.open(tmp_path / "out/12.jpg") as drawn:
        assert drawn.width > 300


def test_maps_are_written_as_png_whose_values_are_classes(tmp_path, photo):
    values = np.zeros((40, 60), np.uint8)
    values[10:20] = 1
    with ResultFiles(tmp_path / "out", ("maps", "coco")) as files:
        files.add(SegmentationMap(values, ("sky", "sea"), path=str(photo)), photo)
    with Image.open(tmp_path / "out/12.png") as written:
        assert (np.asarray(written) == values).all()
    assert [entry["category_id"] for entry in json.loads((tmp_path / "out/results.json").read_text())] == [1, 2]


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path, photo):
    with ResultFiles(tmp_path / "out") as files:
        files.add(boxes(photo), photo)
        files.add(boxes(photo), tmp_path / "others" / "12.jpg")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["12-2.jpg", "12.jpg"]


def test_what_was_found_before_an_error_is_in_cocos_file(tmp_path, photo):
    with pytest.raises(RuntimeError), ResultFiles(tmp_path / "out", ("coco",)) as files:  # noqa: PT012
        files.add(boxes(photo), photo)
        raise RuntimeError
    assert len(json.loads((tmp_path / "out/results.json").read_text())) == 1


def test_unknown_forms_and_places_are_refused(tmp_path, photo):
    with pytest.raises(UnknownNameError, match=r"'voc'\. Forms are drawn, yolo, coco, maps"):
        ResultFiles(tmp_path, ("voc",))
    with pytest.raises(LaminaError, match="is a file"):
        ResultFiles(photo)
    with (
        ResultFiles(tmp_path / "out", ("maps",)) as files,
        pytest.raises(LaminaError, match="Its forms are: drawn, yolo, coco"),
    ):
        files.add(boxes(photo), photo)
