"""The gallery of suspect labels: one HTML page, and a grid of the first ones as a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from lamina.core.files import replacing
from lamina.data.dataset import FolderDataset
from lamina.data.pictures import read
from lamina.explain import html
from lamina.explain.mistakes import Mistake, mistakes_figure
from lamina.structures import draw
from lamina.structures.results import percent

if TYPE_CHECKING:
    from lamina.explain.label_errors import LabelErrors, Suspect

_FIRST_TILES, _FIRST_WIDE_TILES = 120, 40  # seen at once; the others unfold
_IN_GRID = 60  # of the PNG
_SIDE_PX = 160


def write_gallery(found: LabelErrors, data: Any, *, path: Path, shown: int) -> Path:
    """Writes the page at `path` and the grid beside it, as .png; returns the page's path."""
    few = found.suspects[:shown]
    pictures = [_picture(data, suspect.index) for suspect in few]
    doubt = f'<p class="good"><b>Not to be trusted.</b> {escape(found.doubt)}</p>\n' if found.doubt else ""
    sections = [("", doubt + _headline(found)), ("Suspects", _tiles(found, few, pictures))]
    if found.suspects:
        sections += [("Labels given, and what they are", _joint(found)), ("Per label", _per_label(found))]
    name = str(getattr(data, "name", "")) or "these pictures"
    subtitle = f"{len(found.labels):,} labels, {len(found.classes):,} classes · {datetime.now().astimezone():%d %B %Y}"
    with replacing(path) as temporary:
        page = html.document(f"Suspect labels of {name}", subtitle=subtitle, sections=sections)
        temporary.write_text(page, encoding="utf-8")
    with replacing(path.with_suffix(".png")) as temporary:
        grid(found, few[:_IN_GRID], pictures[:_IN_GRID]).savefig(temporary, format="png", dpi=150)
    return path


def grid(found: LabelErrors, suspects: Sequence[Suspect], pictures: Sequence[Image.Image]) -> Figure:
    """The suspects' pictures: the likely class at the upper left of each, the label at the lower right."""
    if not suspects:
        figure = Figure(figsize=(3, 1))
        figure.text(0.5, 0.5, "no suspects", ha="center", va="center")
        return figure
    side = min(max(max(picture.size) for picture in pictures), _SIDE_PX)
    images = np.stack([_squared(picture, side) for picture in pictures])
    marks = [Mistake(place, one.likely, one.label, one.confidence) for place, one in enumerate(suspects)]
    return mistakes_figure(images, marks, classes=found.classes)


def _picture(data: Any, index: int) -> Image.Image:
    if isinstance(data, FolderDataset):
        picture = read(data.paths[index]).convert("RGB")
        picture.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
        return picture
    return draw.picture(data.images[index])


def _squared(picture: Image.Image, side: int) -> np.ndarray[Any, Any]:
    """The picture in a black square, uint8 3 H W."""
    small = picture.convert("RGB")
    if small.size != (side, side):
        small = ImageOps.pad(small, (side, side), Image.Resampling.LANCZOS)
    return np.asarray(small).transpose(2, 0, 1)


def _headline(found: LabelErrors) -> str:
    count, total = len(found.suspects), len(found.labels)
    facts = [("Wrong by estimate", percent(found.noise_rate), "of all labels, which need not be the suspects alone")]
    wrong = found.counts * ~np.eye(len(found.classes), dtype=bool)
    if wrong.any():
        label, truth = np.unravel_index(int(wrong.argmax()), wrong.shape)
        pair = f"{escape(found.classes[label])} <span>that is</span> {escape(found.classes[truth])}"
        facts.append(("Most often", pair, f"about {html.counted(int(wrong.max()), 'picture')}"))
        shares = wrong.sum(axis=1) / np.maximum(found.counts.sum(axis=1), 1)
        worst = int(shares.argmax())
        facts.append(("Worst label", escape(found.classes[worst]), f"{percent(float(shares[worst]))} of its pictures"))
    cards = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{note}</dd></div>" for name, value, note in facts)
    said = f"<b>{html.counted(count, 'suspect label')}</b>" if count else "<b>Not one suspect label</b>"
    return (
        f'<div class="headline"><p class="accuracy">{percent(count / total).removesuffix(" %")}<small>%</small></p>'
        f'<p class="count">{said} of {total:,}</p></div>\n<dl class="cards">{cards}</dl>'
    )


def _tiles(found: LabelErrors, suspects: Sequence[Suspect], pictures: Sequence[Image.Image]) -> str:
    if not suspects:
        return '<p class="good">Every label agrees with what models say that have not learnt it.</p>'
    classes = found.classes
    longest = max(len(classes[k]) for one in suspects for k in (one.label, one.likely))
    small = longest <= 4 and all(max(picture.size) <= 64 for picture in pictures)
    kind, first = ("", _FIRST_TILES) if small else (" wide", _FIRST_WIDE_TILES)
    drawn = "" if len(suspects) == len(found.suspects) else f" {len(suspects)} of {len(found.suspects):,} are shown."
    legend = (
        '<p class="quiet">The most suspect first. <span class="key"><b class="said">what it probably is</b> '
        '<b class="truth">its label</b></span> Below: the probability of what it probably is, and that of its label, by a model '
        f"that has not learnt this picture.{drawn} A suspect is no proof: look before you change it.</p>"
    )
    tiles = [_tile(one, picture, classes) for one, picture in zip(suspects, pictures, strict=True)]
    shown = f'<div class="tiles{kind}">{"".join(tiles[:first])}</div>'
    rest = tiles[first:]
    if rest:
        more = html.counted(len(rest), "more suspect")
        shown += f'<details><summary>{more}</summary><div class="tiles{kind}">{"".join(rest)}</div></details>'
    return legend + shown


def _tile(suspect: Suspect, picture: Image.Image, classes: Sequence[str]) -> str:
    likely, label = escape(classes[suspect.likely]), escape(classes[suspect.label])
    name = re.split(r"[/\\]", suspect.origin)[-1] if suspect.origin else f"#{suspect.index}"
    crisp = ' class="crisp"' if max(picture.size) <= 64 else ""
    return (
        f'<figure><div class="picture"><img{crisp} src="{draw.data_url(picture)}" alt="labelled {label}, probably {likely}" '
        f'decoding="async"><b class="said" title="probably: {likely}">{likely}</b>'
        f'<b class="truth" title="label: {label}">{label}</b></div>'
        f"<figcaption>{100 * suspect.confidence:.0f}&nbsp;:&nbsp;{100 * suspect.self_confidence:.0f}&nbsp;%"
        f'<span title="{escape(suspect.origin)}">{escape(name)}</span></figcaption></figure>\n'
    )


def _joint(found: LabelErrors) -> str:
    legend = (
        '<p class="quiet">Rows: the label. Columns: what it truly is, by estimate, in pictures (the joint of confident '
        "learning, Northcutt 2021). Grey: right. Orange: wrong, the deeper the larger its share of the row.</p>"
    )
    return f'{legend}<div class="matrix">{html.matrix(found.counts, found.classes)}</div>'


def _per_label(found: LabelErrors) -> str:
    given = np.bincount(found.labels, minlength=len(found.classes))
    suspect = np.bincount([one.label for one in found.suspects], minlength=len(found.classes))
    wrong = found.joint.sum(axis=1) - found.joint.diagonal()
    shares = wrong * len(found.labels) / np.maximum(given, 1)
    rows = "".join(
        f"<tr><td>{escape(found.classes[k])}</td><td>{given[k]:,}</td><td>{suspect[k]:,}</td>"
        f"<td>{percent(float(shares[k]))}</td></tr>"
        for k in np.argsort(-shares, kind="stable")
        if given[k]
    )
    head = "<tr><th>Label</th><th>Pictures</th><th>Suspect</th><th>Wrong by estimate</th></tr>"
    return f'<div class="scroll"><table class="figures"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
