"""LVIS (Gupta 2019, arXiv:1908.03195): COCO's JSON in files lvis_*.json, where not every category was looked for in every picture.

`extras` keep what that is: "negative_labels" are certainly not in the picture, "incomplete_labels" are there, but not all of them
are annotated; of the rest nobody knows. `frequencies` of the data set say how rare each class is: "r", "c", "f". Pictures are found
by their file_name, or as coco_url ends, and may lie in the folders of any part, as LVIS cuts COCO anew.
"""

from __future__ import annotations

import re

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.formats import coco
from lamina.data.formats.coco_files import CocoFile, by_part, unnamed
from lamina.data.formats.coco_json import Faults
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("detection",)
LOOKS_FOR = "files like lvis_v1_train.json, at the top or in annotations/"
_NAME = re.compile(r"([^/]*/)?lvis[^/]*\.json", re.IGNORECASE)


def matches(tree: Tree) -> str:
    """The file that is named as LVIS's are."""
    return next((f"{name} is named as LVIS's files are" for name in tree.names if _NAME.fullmatch(name)), "")


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The parts that there are files for. Raises DataError as COCO's reader, and where a file is none of LVIS."""
    faults = Faults()
    files = by_part([unnamed(name) for name in tree.names if _NAME.fullmatch(name)])
    if not files:
        raise DataError(
            f"{tree.root} has no LVIS file.",
            f"Expected {LOOKS_FOR}.",
            "Check the folder.",
        )
    parts = {part: _read(tree, file, task, faults) for part, file in files.items()}
    return coco.assemble(tree, parts, task, faults, any_part=True)


def _read(tree: Tree, file: CocoFile, task: str, faults: Faults) -> coco.Part:
    part = coco.read_part(tree, file, task, faults)
    if len(part.pictures) and not part.pictures.federated:
        raise DataError(
            f"The pictures of {tree.path(file.name)} have no 'neg_category_ids'.",
            "A file of LVIS says for each picture which categories are not in it.",
            "Open it as format='coco', or take LVIS's own files of annotations.",
        )
    return part
