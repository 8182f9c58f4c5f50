"""Pascal VOC: Annotations/NAME.xml beside JPEGImages/NAME.jpg (Everingham et al. 2010; devkit, host.robots.ox.ac.uk/pascal/VOC).

    Annotations/*.xml             one file a picture, as CVAT, LabelImg, Roboflow and ImageNet-DET write them too
    JPEGImages/                   pictures are found by the name of the XML, wherever in the folder they are
    ImageSets/Main/*.txt          the pictures of each part: train, val, trainval, test; lists of one class
                                  (cat_train.txt) are no parts
    ImageSets/Segmentation/*.txt, SegmentationClass/*.png, SegmentationObject/*.png: task "segmentation"
    labelmap.txt                  of CVAT: the classes of masks where they are not VOC's, "name:r,g,b::" a line

XML files may also lie beside their pictures. Without lists, folders called train, valid, test are the parts, else all is
`train`; a trainval list is `train` where there is no train list. Several years (VOC2007, VOC2012) are read as one. Pictures
that are listed and not annotated are in others["train_unlabelled"] and so on: nobody said that they show nothing.

Boxes are the numbers as they stand, edges from the left and top. The devkit counts pixels from 1 and includes the last, by
which boxes would begin a pixel further left and up; but tools write edges into the same fields, and the files in which they give
VOC's boxes to COCO, YOLO and CVAT hold its numbers unchanged. `difficult` becomes crowd; attributes are `truncated`, `occluded` (0, 1)
and `pose` (a place in POSES); `extras` hold the "height" and "width" that <size> tells. Parts of persons are passed over.
Classes: VOC's 20 in their official order where no other name occurs and the files say that they are VOC's (their <folder>,
ImageSets) or name half of them; else sorted by name.

For segmentation class 0 is "background", which a map of classes needs; 255 is ignored; extras["objects"] holds the number of the
object that each pixel belongs to (H W), None where nobody drew it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.annotated import AnnotatedDataset
from lamina.data.class_names import refuse_twins
from lamina.data.columns import Beside, Column, Fixed
from lamina.data.formats import markup
from lamina.data.formats.gathered import Objects, split_of, splits_of, unlabelled
from lamina.data.formats.image_folder import few
from lamina.data.formats.markup import Element
from lamina.data.formats.named_pictures import NamedPictures, stem
from lamina.data.formats.voc_maps import PaletteMap, labelmap
from lamina.data.left_out import MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("detection", "segmentation")
LOOKS_FOR = "Annotations/*.xml and JPEGImages/, or XML files of an <annotation> beside their pictures"
_A_TO_D = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog")
CLASSES = (*_A_TO_D, "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
POSES = ("", "Unspecified", "Frontal", "Rear", "Left", "Right")
_MASKS = ("SegmentationClass", "SegmentationObject")
_TOPS = ("Annotations", "ImageSets", *_MASKS)
_LISTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_FLAG = re.compile(r"(.*\S)\s+(?:-1|0|1)")  # "2007_000001  1": whether a class is in the picture
_TRIES = 3  # XML files that are looked into
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def matches(tree: Tree) -> str:
    """The first annotation, or the folder of masks, that is as VOC has it. ImageNet's boxes (CLS-LOC) belong to its classes."""
    tries = 0
    for name in tree.names:
        folders = name.split("/")[:-1]
        if folders[-1:] == [_MASKS[0]] and name.lower().endswith(".png"):
            return f"{'/'.join(folders)} holds masks"
        if name.lower().endswith(".xml") and "CLS-LOC" not in folders:
            if re.search(rb"<annotation[\s>]", tree.read(name)[:2000]) is not None:
                return f"{name} holds an <annotation>"
            tries += 1
            if tries == _TRIES:
                break
    return ""


def tasks_there(tree: Tree) -> dict[str, str]:
    """Detection, where there is an XML file; segmentation, where there are masks: by which each is known."""
    xml = next((name for name in tree.names if name.lower().endswith(".xml") and "CLS-LOC" not in name.split("/")), "")
    masks = (name.split("/")[:-1] for name in tree.names if name.lower().endswith(".png"))
    folder = next(("/".join(folders) for folders in masks if _MASKS[0] in folders), "")
    there = {TASKS[0]: xml and f"{xml} holds an <annotation>", TASKS[1]: folder and f"{folder} holds masks"}
    return {task: how for task, how in there.items() if how}


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The parts that ImageSets lists. Raises DataError naming file and line of XML that is broken, hostile or lacks a number."""
    return _segmentation(tree) if task == "segmentation" else _detection(tree)


def class_order(names: Collection[str], *, official: bool = True) -> tuple[str, ...]:
    """VOC's 20 classes in their order where no other name occurs, and it is VOC's or has half of them; else the names sorted."""
    all_known = set(names) <= set(CLASSES) and (official or 2 * len(set(names)) >= len(CLASSES))
    return CLASSES if names and all_known else tuple(sorted(names))


def _detection(tree: Tree) -> Splits[AnnotatedDataset]:
    files, pictures = _annotations(tree), NamedPictures(tree, apart=_MASKS)
    listed = _listed(tree, "Main", files)
    wanted = {key for keys in listed.values() for key in keys}
    objects = Objects("truncated", "occluded", "pose")
    missing = LeftOut(
        "annotations", "Put their pictures into JPEGImages, under the names of the XML files.", kind=MISSING
    )
    unboxed = LeftOut("objects", "Draw a box around each.")
    rows: dict[str, int] = {}
    paths: list[str] = []
    sources: list[str] = []
    sizes: list[tuple[int, int]] = []
    taken: dict[str, str] = {}
    read = [(key, name) for key, name in files.items() if key in wanted or not wanted]
    official = bool(tree.matching("*ImageSets/Main/*.txt"))
    for key, name in read:
        root = markup.parsed(tree.read(name), tree.path(name))
        official = official or root.text_of("folder").upper().startswith("VOC")
        picture = pictures.find(name, near=name) or pictures.find(root.text_of("filename"), near=name)
        if picture is None:
            missing.add(f"{name}: there is no such picture")
            continue
        if taken.setdefault(picture, name) != name:
            raise _two_of_one(tree, picture, taken[picture], name)
        _read_objects(root, tree.path(name), objects, unboxed, picture=len(paths))
        rows[key] = len(paths)
        paths.append(tree.path(picture))
        sources.append(tree.path(name))
        sizes.append(_told_size(root))
    missing.tell(len(read), bearable=True)
    unboxed.tell(len(objects) + unboxed.count, bearable=True)
    parts, bare = _parts(listed, rows, files), _bare(tree, listed, files, pictures)
    if not paths:
        raise DataError(
            f"{tree.root} holds {len(files):,} XML files, and no picture for any.",
            f"Expected {LOOKS_FOR}.",
            "Check the folder.",
        )
    refuse_twins(list(objects.names), tree.root)
    classes = class_order(objects.names, official=official)
    columns = objects.columns(len(paths), classes)
    if any(map(any, sizes)):  # `check` compares them with the pictures
        columns["height"], columns["width"] = (Fixed(side) for side in np.array(sizes).T)
    origins = Origins(Paths(sources))
    whole = AnnotatedDataset(Paths(paths), columns, classes, task="detection", root=tree.root, origins=origins)
    return splits_of(parts, whole, name=tree.name, others=unlabelled(tree, bare, classes, task="detection"))


def _annotations(tree: Tree) -> dict[str, str]:
    """The XML file of each picture, by key: of those in folders called Annotations and, in turn, VOC..., where there are such."""
    listed = [name for name in tree.names if name.lower().endswith(".xml")]
    proper = [name for name in listed if "Annotations" in name.split("/")[:-1]]
    named = [name for name in proper if _root(name).rpartition("/")[2].lower().startswith("voc")]
    found: dict[str, str] = {}
    for name in named or proper or listed:
        if found.setdefault(_key(name), name) != name:
            raise _two_of_one(tree, stem(name), found[_key(name)], name)
    return found


def _two_of_one(tree: Tree, picture: str, one: str, other: str) -> DataError:
    return DataError(
        f"{tree.root} holds two annotations of {picture}: {one} and {other}.",
        "One XML file for each picture was expected.",
        "Move one of them away.",
    )


def _root(name: str) -> str:
    """The folder of the data set, or the year, that a file belongs to."""
    folders = name.split("/")[:-1]
    at = next((place for place, each in enumerate(folders) if each in _TOPS), len(folders))
    return "/".join(folders[:at])


def _key(name: str) -> str:
    """What tells a picture from those of other years that are called like it."""
    return f"{_root(name)}/{stem(name)}"


def _listed(tree: Tree, kind: str, files: Mapping[str, str]) -> dict[str, list[str]]:
    """The keys of the pictures of each part, as ImageSets/KIND lists them beside these files."""
    roots = {_root(name) for name in files.values()}
    usual: dict[str, list[str]] = {}
    strange: dict[str, list[str]] = {}
    for name in tree.matching(f"*ImageSets/{kind}/*.txt"):
        part = stem(name).lower()
        if _root(name) not in roots or re.fullmatch(r".+_(train|val|trainval|test)", part):
            continue
        keys = [f"{_root(name)}/{stem(_unflagged(line))}" for _, line in tree.lines(name)]
        target = usual if part in _LISTS or part == "trainval" else strange
        target.setdefault(_LISTS.get(part, part), []).extend(dict.fromkeys(keys))
    if "train" not in usual and "trainval" in usual:
        usual["train"] = usual.pop("trainval")
    if not usual and len(strange) == 1:  # CVAT calls its only part "default"
        return {"train": next(iter(strange.values()))}
    return {**usual, **strange}


def _unflagged(line: str) -> str:
    fits = _FLAG.fullmatch(line)
    return fits[1] if fits else line


def _parts(
    listed: Mapping[str, Sequence[str]], rows: Mapping[str, int], files: Mapping[str, str]
) -> dict[str, list[int]]:
    """The numbers of the annotated pictures of each part."""
    if listed:
        return {part: [rows[key] for key in keys if key in rows] for part, keys in listed.items()}
    parts: dict[str, list[int]] = {}
    for key, row in rows.items():
        parts.setdefault(split_of(files[key]), []).append(row)
    return parts


def _bare(
    tree: Tree, listed: Mapping[str, Sequence[str]], annotated: Collection[str], pictures: NamedPictures
) -> dict[str, list[str]]:
    """The pictures of each part that are listed and not annotated; warns of them where others of their part are annotated."""
    mixed: list[str] = []
    parts: dict[str, list[str]] = {}
    for part, keys in listed.items():
        bare = [] if part == "trainval" else [key for key in keys if key not in annotated]
        found = [pictures.find(key.removeprefix("/"), near=key) for key in bare]
        parts[part] = [picture for picture in found if picture is not None]
        if parts[part] and len(bare) < len(keys):
            mixed.append(f"{len(parts[part]):,} of {part}")
    if mixed:
        warn(
            f"Pictures that ImageSets of {tree.root} lists have no annotation: {few(mixed)}. They are parts of their own, called "
            "train_unlabelled and so on. Write an XML file without objects for each that shows none."
        )
    return parts


def _read_objects(root: Element, name: str, objects: Objects, unboxed: LeftOut, *, picture: int) -> None:
    for each in _children(root, "object"):
        label = each.text_of("name")
        if not label:
            raise markup.wrong(name, each.line, "an object has no <name>")
        box = next(_children(each, "bndbox"), None)
        if box is None:
            unboxed.add(f"{name}, line {each.line}: {label} has no <bndbox>")
            continue
        sides = [markup.number(box.text_of(tag), name, box.line, f"<{tag}> of {label}") for tag in _SIDES]
        pose = each.text_of("pose")
        flags = [int(each.text_of(tag) == "1") for tag in ("truncated", "occluded")]
        attributes = (*flags, POSES.index(pose) if pose in POSES else 0)
        objects.add(picture, objects.label(label), sides, crowd=each.text_of("difficult") == "1", attributes=attributes)


def _children(element: Element, tag: str) -> Iterator[Element]:
    return (child for child in element if child.tag == tag and isinstance(child, Element))


def _told_size(root: Element) -> tuple[int, int]:
    """(height, width) in pixels as <size> tells them, 0 where it does not."""
    size = next(_children(root, "size"), None)
    return (0, 0) if size is None else (markup.px(size.text_of("height")), markup.px(size.text_of("width")))


def _segmentation(tree: Tree) -> Splits[AnnotatedDataset]:
    masks, objects = (
        {_key(name): name for name in tree.names if name.lower().endswith(".png") and folder in name.split("/")[:-1]}
        for folder in _MASKS
    )
    pictures, listed = NamedPictures(tree, apart=_MASKS), _listed(tree, "Segmentation", masks)
    missing = LeftOut("masks", "Put their pictures into JPEGImages, under the names of the masks.", kind=MISSING)
    rows: dict[str, int] = {}
    paths: list[str] = []
    for key, mask in masks.items():
        picture = pictures.find(mask, near=mask)
        if picture is None:
            missing.add(f"{mask}: there is no such picture")
        else:
            rows[key] = len(paths)
            paths.append(tree.path(picture))
    missing.tell(len(masks), bearable=True)
    if not paths:
        raise DataError(
            f"{tree.root} holds no masks in {_MASKS[0]}.",
            f"{_MASKS[0]}/NAME.png and JPEGImages/NAME.jpg were expected.",
            "Open it for detection, or check the folder.",
        )
    parts, bare = _parts(listed, rows, masks), _bare(tree, listed, masks, pictures)
    classes, colours = labelmap(tree) or (("background", *CLASSES), ())
    maps = Paths([tree.path(masks[key]) for key in rows])
    columns: dict[str, Column] = {"class_map": Beside(maps, PaletteMap(len(classes), colours))}
    if objects:
        drawn = Paths([tree.path(objects[key]) if key in objects else "" for key in rows])
        columns["objects"] = Beside(drawn, PaletteMap())
    whole = AnnotatedDataset(Paths(paths), columns, classes, task="segmentation", root=tree.root, origins=Origins(maps))
    return splits_of(parts, whole, name=tree.name, others=unlabelled(tree, bare, classes, task="segmentation"))
