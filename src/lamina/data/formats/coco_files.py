"""Which files of a folder are COCO's, for which task and which part, and where the pictures are that they name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.tree import Tree

KINDS = {  # of each task the kinds of files, as the beginnings of their names tell, the best first
    "detection": ("instances", "_annotations.coco", ""),
    "keypoints": ("person_keypoints", "keypoints", ""),
    "captioning": ("captions", ""),
    "panoptic": ("panoptic",),
    "segmentation": ("stuff",),
    "classification": ("labels",),
}
NO_ANNOTATIONS = "image_info"
_NAMED = re.compile(
    r"(instances|person_keypoints|keypoints|captions|panoptic|stuff|labels|image_info)_(.+)\.json|(_annotations\.coco)\.json",
    re.IGNORECASE,
)
_LISTS = tuple(re.compile(rb'"%b"\s*:\s*\[' % name) for name in (b"images", b"annotations"))
_VAGUE = ("labels", "keypoints", "stuff", "captions", "panoptic")
_MOST_UNNAMED = 6  # files of JSON that are looked into: where there is one for each picture, it is another format
_MOST_FOLDERS = 64
_YEAR = "0123456789._- "
_OTHERS = {"unlabeled": "unlabelled"}


@dataclass(frozen=True)
class CocoFile:
    """A file of annotations: its name in the tree, its kind as in KINDS, the part it is of, and that as it is written."""

    name: str
    kind: str
    part: str
    written: str

    @property
    def folder(self) -> str:
        """The folder that it lies in."""
        return self.name.rpartition("/")[0]


def find(tree: Tree) -> list[CocoFile]:
    """The files of annotations at the top and in the folders right below; in one called annotations also a folder deeper."""
    jsons = [name for name in tree.names if name.lower().endswith(".json") and name.count("/") <= 2]
    texts = [name for name in jsons if name.count("/") <= 1]
    found = []
    for name in jsons:
        match = _NAMED.fullmatch(name.rpartition("/")[2])
        folder = name.rpartition("/")[0]
        if (
            match
            and (name in texts or folder.lower().endswith("/annotations"))
            and _is_meant(tree, name, match[1] or "")
        ):
            written = match[2] if match[3] is None else folder
            found.append(CocoFile(name, (match[1] or match[3]).lower(), part_of(written), written))
    if not found and len(texts) <= _MOST_UNNAMED:
        found = [unnamed(name) for name in texts if all(each.search(tree.read(name)) for each in _LISTS)]
    return found


def _is_meant(tree: Tree, name: str, kind: str) -> bool:
    """Whether a file is COCO's; of names that others give too (labels_map.json), where it has a list of COCO."""
    return kind.lower() not in _VAGUE or any(each.search(tree.read(name)) for each in _LISTS)


def unnamed(name: str) -> CocoFile:
    """A file whose name says at most in some of its words which part it is of: "lvis_v1_train.json"."""
    folder, _, last = name.rpartition("/")
    stem = last[: -len(".json")]
    for words in (stem, folder):
        for word in re.split(r"[^a-z]+", words.lower()):
            if word in SPLITS:
                return CocoFile(name, "", SPLITS[word], word)
    return CocoFile(name, "", "", stem)


def part_of(written: str) -> str:
    """The part that "train2017", "valid" or "test-dev2017" stand for; empty where nothing is said."""
    plain = written.lower().strip(_YEAR)
    if plain in ("", "default", "all", "annotations"):
        return ""
    return SPLITS.get(plain, _OTHERS.get(plain, plain))


def parts_for(files: Sequence[CocoFile], task: str) -> dict[str, CocoFile]:
    """The file of each part for a task, and image_info_* for parts that have none.

    Of several for one part, as of several years, the last counts for it, and the others are parts under the names that they write.
    """
    parts: dict[str, CocoFile] = {}
    for kind in KINDS[task]:
        named = [file for file in files if file.kind == kind]
        if named and not parts:
            parts = by_part(named)
    if parts or task == "detection":
        for part, file in by_part([file for file in files if file.kind == NO_ANNOTATIONS]).items():
            parts.setdefault(part, file)
    return parts


def by_part(files: Sequence[CocoFile]) -> dict[str, CocoFile]:
    """The file of each part: train, validation, test, and others."""
    parts: dict[str, CocoFile] = {}
    for file in reversed(files):
        part = file.part or "train"
        parts[file.written if part in parts else part] = file
    usual = [part for part in ("train", "validation", "test") if part in parts]
    return {part: parts[part] for part in (*usual, *(part for part in reversed(parts) if part not in usual))}


class PictureFinder:
    """Finds the files that annotations name: a name is looked up in each folder that may be meant, the likeliest first."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        folders = dict.fromkeys(name.rpartition("/")[0] for name in tree.names if is_picture(name))
        above = (folder[:at] for folder in folders for at, sign in enumerate(folder) if sign == "/")
        self._folders = list(dict.fromkeys(("", *folders, *above)))

    def rows(self, file: CocoFile, names: Sequence[Sequence[str]], *, any_part: bool = False) -> list[str]:
        """For each picture, given by the names that it may have, its file; empty where that is not there.

        Folders of other parts are left out, unless `any_part`: the same name may be another picture there.
        """
        others = (
            set()
            if any_part
            else {part for part in SPLITS.values() if part != file.part and file.part in SPLITS.values()}
        )
        folders = [
            each for each in self._folders if not any(part_of(step) in others for step in each.split("/") if step)
        ]
        folders.sort(key=lambda each: self._distance(each, file))
        prefixes = [f"{folder}/" if folder else "" for folder in folders[:_MOST_FOLDERS]]
        found, known = [], self._tree
        for several in names:
            place = next((at + name for name in several for at in prefixes[:1] if at + name in known), "")
            if not place:
                tried = ((at, name) for full in several for name in _endings(full) for at in prefixes)
                if hit := next(((at, name) for at, name in tried if at + name in known), None):
                    place = "".join(hit)
                    prefixes.remove(hit[0])
                    prefixes.insert(0, hit[0])  # where one is, the next will be
            found.append(place)
        return found

    def _distance(self, folder: str, file: CocoFile) -> tuple[bool, bool, bool, int]:
        steps = folder.split("/")
        named = file.written.lower() in (step.lower() for step in steps)
        same_part = bool(file.part) and any(part_of(step) == file.part for step in steps if step)
        return not named, not same_part, folder != file.folder, len(steps)


def _endings(name: str) -> list[str]:
    """The name, then without its first folder, without its second ..."""
    steps = name.split("/")
    return ["/".join(steps[at:]) for at in range(len(steps))]
