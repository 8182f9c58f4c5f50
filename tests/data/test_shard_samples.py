"""What the JSON beside a picture in a shard keeps of its annotation."""

import numpy as np
import torch
from PIL import Image

from lamina import data
from lamina.data import AnnotatedDataset
from lamina.data.columns import Ragged, ends_of


def test_attributes_of_objects_come_back_beside_their_objects(tmp_path):
    paths, counts = [tmp_path / f"{number}.png" for number in range(4)], [2, 0, 1, 3]
    for path in paths:
        Image.new("RGB", (12, 8)).save(path)
    columns = {
        "labels": Ragged(np.arange(6) % 2, ends_of(counts)),
        "boxes_xyxy": Ragged(np.tile(np.float32([1, 1, 5, 5]), (6, 1)), ends_of(counts)),
        "pose": Ragged(np.arange(10, 16), ends_of(counts), of_objects=True),
    }
    made = AnnotatedDataset(paths, columns, ("a", "b"), task="detection", root=tmp_path)
    data.write_shards(made, tmp_path / "shards")
    back = data.open(tmp_path / "shards").train
    told = sorted(back.annotation(row).attributes["pose"].tolist() for row in range(4))
    assert told == [[], [10, 11], [12], [13, 14, 15]]
    some = back.annotation(next(row for row in range(4) if len(back.annotation(row)) == 3))
    assert some.objects(torch.tensor([2])).attributes["pose"].tolist() == [15]
