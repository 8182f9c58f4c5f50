"""A COCO file of 118,000 pictures and 860,000 boxes: seconds and peak memory until it is open, ours beside pycocotools.

    python benchmarks/readers.py
    python benchmarks/readers.py --rounds 5 --corners 24          outlines too: as large as COCO's own file, 450 MB
    python benchmarks/readers.py --peer-python OTHER/bin/python   where pycocotools is installed elsewhere

The file is made up in a temporary folder, with one empty file for each picture. In each round everybody opens it once, in a
process of its own, one after the other; the table has medians of the rounds. Seconds do not count the imports, peak memory
(ru_maxrss) does; those of the processor tell more than those of the clock where other programs run.

    ours             lamina.data.open(FOLDER): lists the folder, reads the annotations into arrays, finds each picture
    pycocotools      COCO(FILE): reads the annotations and indexes them, and looks for no picture
    json             json.load(FILE), which anybody who does not read piece by piece begins with
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OURS = """
from lamina import data
began, busy = time.perf_counter(), time.process_time()
train = data.open(sys.argv[1]).train
seconds, busy = time.perf_counter() - began, time.process_time() - busy
told = f"{len(train):,} pictures, {len(train.columns['boxes_xyxy'].values):,} boxes"
"""
PYCOCOTOOLS = """
from pycocotools.coco import COCO
began, busy = time.perf_counter(), time.process_time()
coco = COCO(sys.argv[2])
seconds, busy = time.perf_counter() - began, time.process_time() - busy
told = f"{len(coco.imgs):,} pictures, {len(coco.anns):,} boxes"
"""
JSON = """
import json
began, busy = time.perf_counter(), time.process_time()
with open(sys.argv[2]) as stream:
    whole = json.load(stream)
seconds, busy = time.perf_counter() - began, time.process_time() - busy
told = f"{len(whole['images']):,} pictures, {len(whole['annotations']):,} boxes"
"""
HEAD = "import resource, sys, time\n"
TAIL = "\nprint(seconds, busy, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, told, sep=chr(9))\n"


def main() -> None:
    asked = options()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "coco")
        file = make(folder, pictures=asked.pictures, boxes=asked.boxes, corners=asked.corners)
        opened = packed(folder) if asked.zip else folder
        print(
            f"{asked.pictures:,} pictures, {asked.boxes:,} boxes, outlines of {asked.corners} corners, "
            f"{file.stat().st_size / 1e6:.0f} MB, {'a zip' if asked.zip else 'a folder'}; "
            f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}; "
            f"{asked.rounds} rounds.\n"
        )
        everybody = {
            "ours": (sys.executable, OURS),
            "pycocotools": (asked.peer_python, PYCOCOTOOLS),
            "json": (sys.executable, JSON),
        }
        measured: dict[str, list[tuple[float, float, float, str]]] = {name: [] for name in everybody}
        for _ in range(asked.rounds):
            for name, (python, code) in everybody.items():
                if (one := measure(python, code, opened, file)) is not None:
                    measured[name].append(one)
    print("| reader | seconds | of the processor | peak MiB | found |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name, rounds in measured.items():
        if rounds:
            seconds, busy, memory = (statistics.median(one[at] for one in rounds) for at in (0, 1, 2))
            print(f"| {name} | {seconds:.1f} | {busy:.1f} | {memory:,.0f} | {rounds[0][3]} |")
        else:
            print(f"| {name} | - | - | - | not installed |")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=118_000)
    parser.add_argument("--boxes", type=int, default=860_000)
    parser.add_argument("--corners", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--zip", action="store_true", help="ours opens a zip of the folder")
    parser.add_argument("--peer-python", default=sys.executable)
    return parser.parse_args()


def make(folder: Path, *, pictures: int, boxes: int, corners: int) -> Path:
    """The annotations as COCO writes them, with gaps in the ids of categories, and an empty file for each picture."""
    rng = random.Random(0)
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    ids = rng.sample(range(1, 6 * pictures), pictures)
    kinds = [number + number // 8 for number in range(1, 81)]
    file = folder / "annotations" / "instances_train2017.json"
    with file.open("w", encoding="utf-8") as stream:
        stream.write('{"info": {"description": "made up"}, "licenses": [], "images": [')
        for number, key in enumerate(ids):
            name = f"{key:012d}.jpg"
            (folder / "train2017" / name).touch()
            picture = {
                "license": 3,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
                "id": key,
            }
            stream.write((", " if number else "") + json.dumps(picture))
        stream.write('], "annotations": [')
        for number in range(boxes):
            x, y, width, height = (round(rng.uniform(2, most), 2) for most in (400, 300, 230, 170))
            outline = [round(rng.uniform(x, x + width), 2) for _ in range(2 * corners)]
            annotation = {
                "segmentation": [outline] if corners else [],
                "area": round(width * height * 0.6, 4),
                "iscrowd": int(rng.random() < 0.01),
                "image_id": rng.choice(ids),
                "bbox": [x, y, width, height],
                "category_id": rng.choice(kinds),
                "id": 1000 + number,
            }
            stream.write((", " if number else "") + json.dumps(annotation))
        categories = [{"supercategory": "things", "id": key, "name": f"thing {key}"} for key in kinds]
        stream.write(f'], "categories": {json.dumps(categories)}}}')
    return file


def packed(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder).as_posix(), compress_type=zipfile.ZIP_STORED)
    return target


def measure(python: str, code: str, folder: Path, file: Path) -> tuple[float, float, float, str] | None:
    """(seconds, of the processor, peak MiB, what was found) in a process of its own; None where what it needs is not installed."""
    command = [python, "-c", HEAD + code + TAIL, str(folder), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        if "No module named" in ran.stderr:
            return None
        raise SystemExit(ran.stderr)
    seconds, busy, memory, told = ran.stdout.splitlines()[-1].split("\t")
    return float(seconds), float(busy), int(memory) / (2**20 if sys.platform == "darwin" else 2**10), told


if __name__ == "__main__":
    main()
