"""Flickr8k and Flickr30k (Hodosh et al. 2013, Young et al. 2014): pictures with five captions each, in their three spellings.

    Flickr8k.token.txt, results_20130124.token    NAME.jpg#0<TAB>caption
    captions.txt, captions.csv (Kaggle)           image,caption; a caption may hold commas
    results.csv (Kaggle, 30k)                     image_name| comment_number| comment

The splits are lists of pictures (Flickr_8k.trainImages.txt, ..devImages.., ..testImages.., or train.txt, val.txt, test.txt); pictures in
none of them are the part "unlisted". Without lists all is `train`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Texts
from lamina.data.formats.image_folder import is_picture
from lamina.data.formats.named_pictures import NamedPictures, stem
from lamina.data.left_out import BARE, MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("captioning",)
LOOKS_FOR = "Flickr8k.token.txt, results.token, captions.txt or results.csv, beside pictures"
_TOKENS = re.compile(r".*(\.token(\.txt)?|token\.txt)|captions?\.(txt|csv)|results\.csv", re.IGNORECASE)
_LINES = (  # picture, caption
    re.compile(r"(?P<picture>[^\t]+?)#\d+\s*\t(?P<caption>.*)"),
    re.compile(r"(?P<picture>[^|]+?)\s*\|\s*\d+\s*\|(?P<caption>.*)"),
    re.compile(r"(?P<picture>[^,|]+?\.\w+)\s*,(?P<caption>.*)"),
)
_HEADERS = (
    "image,caption",
    "image_name| comment_number| comment",
    "image_name|comment_number|comment",
    "image, caption",
)
_PART = {"train": "train", "dev": "validation", "val": "validation", "valid": "validation", "test": "test"}
_LIST = re.compile(r"(.*[_.-])?(?P<part>train|dev|val|valid|test)(images|_images)?\.txt", re.IGNORECASE)


def matches(tree: Tree) -> str:
    """The file whose first line is the name of a picture and a caption."""
    source = _source(tree)
    return f"the lines of {source} are pictures and captions" if source else ""


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The splits. Raises DataError for lines that are no captions, and where the pictures are not there."""
    source = _source(tree)
    if not source:
        raise DataError(f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the folder above both.")
    captions, lines = _captions(tree, source)
    whole, rows = _whole(tree, source, captions, lines)
    parts: dict[str, list[int]] = {}
    listed: set[int] = set()
    for split, name in _lists(tree):
        left_out, chosen, total = (
            LeftOut(f"pictures of {tree.path(name)}", "Fetch them, or take them out.", kind=MISSING),
            [],
            0,
        )
        for line, text in tree.lines(name):
            total += 1
            row = rows.get(stem(text))
            if row is None:
                left_out.add(f"line {line}: {text} has no caption or is not there")
            else:
                chosen.append(row)
        left_out.tell(total, bearable=True)
        parts[split] = chosen
        listed.update(chosen)
    if not parts:
        return Splits(whole, None, name=tree.name)
    rest = [row for row in range(len(whole)) if row not in listed]
    made = {split: whole.subset(chosen) for split, chosen in parts.items() if chosen}
    others = {"unlisted": whole.subset(rest)} if rest else {}
    return Splits(made.get("train"), made.get("test"), made.get("validation"), name=tree.name, others=others)


def _source(tree: Tree) -> str:
    named = [name for name in tree.names if _TOKENS.fullmatch(name.rpartition("/")[2]) and "lemma" not in name.lower()]
    for name in named:
        first = next((line for _, line in _texts(tree, name)), "")
        match = _match(first)
        if match is not None and (is_picture(match["picture"]) or "#" in first):
            return name
    return ""


def _texts(tree: Tree, name: str) -> Iterator[tuple[int, str]]:
    """The lines without the header; a quoted caption may go on in the next line."""
    held, begins = "", 0
    for number, line in tree.lines(name):
        if not held and line.lower() in _HEADERS:
            continue
        held, begins = (f"{held} {line}", begins) if held else (line, number)
        if '"' in held and "," in held and held.partition(",")[2].lstrip().startswith('"') and held.count('"') % 2:
            continue
        yield begins, held
        held = ""
    if held:
        raise DataError(
            f"{tree.path(name)}, line {begins}: the quotes that open there are never closed.",
            'A caption with commas stands between quotes, and quotes in it are doubled: "".',
            "Mend that line, or fetch the file again.",
        )


def _match(line: str) -> re.Match[str] | None:
    return next((match for each in _LINES if (match := each.fullmatch(line)) is not None), None)


def _captions(tree: Tree, source: str) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The captions of each picture, by its name in the text, and the line of the first."""
    captions, lines = dict[str, list[str]](), dict[str, int]()
    left_out = LeftOut(f"lines of {tree.path(source)}", "Mend these lines, or fetch the file again.")
    total = 0
    for number, line in _texts(tree, source):
        total += 1
        match = _match(line)
        if match is None:
            left_out.add(f"line {number} is {line[:40]!r}")
            continue
        text = match["caption"].strip()
        if match.re is _LINES[2] and text[:1] == text[-1:] == '"' and len(text) > 1:
            text = text[1:-1].replace('""', '"')
        captions.setdefault(match["picture"].strip(), []).append(text)
        lines.setdefault(match["picture"].strip(), number)
    left_out.tell(total)
    return captions, lines


def _whole(
    tree: Tree, source: str, captions: dict[str, list[str]], lines: dict[str, int]
) -> tuple[AnnotatedDataset, dict[str, int]]:
    """All pictures that are there and have captions, and the row of each by its name without the ending."""
    pictures = NamedPictures(tree)
    left_out = LeftOut(
        f"pictures with captions in {tree.path(source)}", "Unpack all pictures beside the text.", kind=MISSING
    )
    names, kept = list[str](), list[str]()
    for called in captions:
        name = pictures.find(called)
        if name is None:
            left_out.add(f"line {lines[called]}: {called} is not there")
        else:
            names.append(name)
            kept.append(called)
    left_out.tell(len(captions), bearable=True)
    silent = LeftOut(f"pictures of {tree.root}", "Add their captions, or move them away.", kind=BARE)
    for name in sorted(set(pictures.names) - set(names)):
        silent.add(f"{name} has no caption")
    silent.tell(len(pictures.names), bearable=True)
    whole = AnnotatedDataset(
        [tree.path(name) for name in names],
        {"captions": Texts(captions[called] for called in kept)},
        (),
        task="captioning",
        root=tree.root,
        origins=Origins([tree.path(source)], np.array([lines[called] for called in kept], dtype=np.int64)),
    )
    return whole, {stem(called): row for row, called in enumerate(kept)}


def _lists(tree: Tree) -> list[tuple[str, str]]:
    """(split, file) of the lists of pictures."""
    named = ((name, _LIST.fullmatch(name.rpartition("/")[2])) for name in tree.names)
    return [(_PART[match["part"].lower()], name) for name, match in named if match is not None]
