"""An annotated picture, drawn: boxes with the names of their classes, masks and maps with a legend, points, captions, the paired picture.

Colours differ in lightness too, and every one is named beside it, so that a grey print can be read.
"""

from __future__ import annotations

import colorsys
import itertools
import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.draw import INK, MUTED, PAPER, Picture, font, picture, shortened

Colour = tuple[int, int, int]
_FIRST: tuple[Colour, ...] = (  # can be told apart by people who do not see all colours (Okabe & Ito 2008)
    (230, 159, 0),
    (0, 114, 178),
    (240, 228, 66),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (86, 180, 233),
    # and such as are far from these and from one another
    (200, 25, 75),
    (90, 30, 130),
    (160, 225, 60),
    (110, 70, 35),
    (0, 215, 215),
    (250, 190, 212),
    (20, 30, 120),
    (128, 128, 0),
    (170, 255, 195),
    (240, 50, 230),
    (255, 215, 180),
    (15, 75, 50),
    (130, 130, 250),
)
_NONE: Colour = (60, 60, 60)
COVER = 0.55  # of a pixel's colour is that of its class
_MARGIN, _TEXT_PX, _LINE_PX = 10, 12, 16
_NAMED = 0.04  # of the pixels: a region of a map that is worth its name within
_TURN = 0.618033988749895  # of the circle of hues: never comes near to an earlier one for long


def colour(number: int) -> Colour:
    """The colour of a class: the first twenty by hand, then one hue after another, in three lightnesses."""
    if number < len(_FIRST):
        return _FIRST[number]
    red, green, blue = colorsys.hls_to_rgb(number * _TURN % 1, (0.38, 0.66, 0.52)[number % 3], 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def annotated(
    image: Picture,
    annotation: Annotation,
    *,
    classes: Sequence[str] = (),
    names: Sequence[str] = (),
    caption: str = "",
    skeleton: Sequence[tuple[int, int]] = (),
    side_px: int = 320,
    alpha: float = COVER,
) -> Image.Image:
    """The picture on paper with all that is known of it, its longer side about `side_px`; `caption` stands below in bold.

    `names` are written at the boxes, one for each, in place of their classes' names.
    Boxes and masks have the colour of their class, or, where there is one class only, of their object; those of a crowd are dashed.
    Points that are seen are filled, hidden ones are rings; `skeleton` are the pairs of their numbers that a line joins. A pixel
    without a class is hatched. `alpha` is how much of a map of classes covers the picture, 0 to 1.
    """
    shown = picture(image).convert("RGB")
    height, width = shown.height, shown.width
    scale = side_px / max(height, width)
    scale = max(1, int(scale)) if scale >= 1 else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = shown.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
    legend: list[tuple[str, Colour]] = []
    if annotation.class_map is not None:
        shown, legend = _mapped(shown, annotation.class_map, classes, alpha)
    shades = _shades(annotation, classes)
    if annotation.masks is not None:
        shown = _masked(shown, annotation.masks, shades)
    pen = ImageDraw.Draw(shown)
    if annotation.boxes_xyxy is not None:
        names = names or [_named(annotation, row, classes) for row in range(len(annotation))]
        _boxed(pen, annotation, names, shades, scale)
    elif annotation.masks is not None and annotation.labels is not None:
        present = dict.fromkeys(annotation.labels.tolist())
        legend += [(_class(label, classes), colour(label)) for label in present]
    if annotation.keypoints is not None:
        _joined(pen, annotation.keypoints, skeleton, shades, scale)
        _pointed(pen, annotation.keypoints, shades, scale)
    if annotation.other is not None:
        other = picture(annotation.other).convert("RGB").resize(size, Image.Resampling.BILINEAR)
        both = Image.new("RGB", (2 * size[0] + 4, size[1]), PAPER)
        both.paste(shown, (0, 0))
        both.paste(other, (size[0] + 4, 0))
        shown = both
    return _below(shown, caption, annotation.captions or (), legend, side_px)


def boxed(
    image: Picture,
    annotation: Annotation,
    *,
    classes: Sequence[str],
    names: Sequence[str],
    shades: Sequence[Colour] | None = None,
) -> Image.Image:
    """The picture in its own size with a box around each object, in the colours of `annotated` or these; one with a name is named."""
    shown = picture(image).convert("RGB")
    _boxed(ImageDraw.Draw(shown), annotation, names, shades or _shades(annotation, classes), 1.0)
    return shown


def with_legend(image: Picture, classes: Sequence[str]) -> Image.Image:
    """The picture on paper, and below it all classes with their colours: of one size for all pictures of one size."""
    shown = picture(image).convert("RGB")
    return _below(shown, "", (), [(name, colour(number)) for number, name in enumerate(classes)], shown.width)


def _shades(annotation: Annotation, classes: Sequence[str]) -> list[Colour]:
    """A colour for each object. Of several classes one has the same colour in every picture."""
    if annotation.labels is None or (len(classes) < 2 and len(set(annotation.labels.tolist())) < 2):
        return [colour(row) for row in range(len(annotation))]
    return [colour(label) for label in annotation.labels.tolist()]


def _class(label: int, classes: Sequence[str]) -> str:
    return classes[label] if 0 <= label < len(classes) else f"class {label}"


def _named(annotation: Annotation, row: int, classes: Sequence[str]) -> str:
    return "" if annotation.labels is None else _class(int(annotation.labels[row]), classes)


def _mapped(
    shown: Image.Image, class_map: Tensor, classes: Sequence[str], alpha: float
) -> tuple[Image.Image, list[tuple[str, Colour]]]:
    """The picture under its classes' colours, and which they are, the largest first, each with its share of the pixels."""
    values = class_map.numpy()
    counts = np.bincount(values.ravel(), minlength=IGNORED + 1)
    present = [int(value) for value in np.argsort(-counts, kind="stable") if counts[value] and value != IGNORED]
    table = np.zeros((IGNORED + 1, 3), np.float32)
    for value in present:
        table[value] = colour(value)
    large = np.asarray(Image.fromarray(values).resize(shown.size, Image.Resampling.NEAREST))
    pixels = np.asarray(shown).astype(np.float32)
    # Lightness from the picture, hue from the class: edges stay visible below a half-transparent cover.
    blended = pixels * (1 - alpha) + table[large] * alpha
    none = large == IGNORED
    rows, columns = np.indices(large.shape)
    hatch = ((rows + columns) // 4 % 2 == 0)[..., None]
    blended = np.where(none[..., None], np.where(hatch, pixels * 0.5, pixels * 0.75), blended)
    legend = [(f"{_class(value, classes)} {_share(counts[value], values.size)}", colour(value)) for value in present]
    if none.any():
        legend.append((f"no class {_share(counts[IGNORED], values.size)}", _NONE))
    covered = Image.fromarray(blended.astype(np.uint8))
    for value in present:
        if counts[value] >= _NAMED * values.size:
            _name_within(covered, large == value, _class(value, classes), colour(value))
    return covered, legend


def _name_within(shown: Image.Image, region: npt.NDArray[np.bool_], name: str, shade: Colour) -> None:
    """Writes a name into the widest place of a region, where there is room: colours alone do not tell much in a grey print."""
    row = int(region.sum(1).argmax())
    places = np.flatnonzero(region[row])
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    longest = max(runs, key=len)
    letters = font("DejaVuSans.ttf", _TEXT_PX)
    if letters.getlength(name) + 6 > len(longest):
        return
    pen, x = ImageDraw.Draw(shown), int(longest[len(longest) // 2])
    y = min(max(row, _TEXT_PX // 2 + 2), shown.height - _TEXT_PX // 2 - 2)
    half = int(letters.getlength(name)) // 2 + 3
    pen.rectangle((x - half, y - _TEXT_PX // 2 - 2, x + half, y + _TEXT_PX // 2 + 2), fill=shade, outline=INK)
    pen.text((x, y), name, fill=_on(shade), font=letters, anchor="mm")


def _share(count: int, whole: int) -> str:
    share = 100 * count / whole
    return f"{share:.0f} %" if share >= 1 else "< 1 %"


def _masked(shown: Image.Image, masks: Tensor, shades: Sequence[Colour]) -> Image.Image:
    """Each mask as a half-transparent cover with a line around it, the largest first, so that none is hidden."""
    pixels = np.asarray(shown).astype(np.float32)
    for row in masks.flatten(1).sum(1).argsort(descending=True).tolist():
        small = Image.fromarray(masks[row].numpy())
        mask = np.asarray(small.convert("L").resize(shown.size, Image.Resampling.NEAREST)) > 0
        pixels[mask] = pixels[mask] * 0.62 + np.array(shades[row], np.float32) * 0.38
        pixels[_edge(mask)] = shades[row]
    return Image.fromarray(pixels.astype(np.uint8))


def _edge(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The pixels of a mask that touch one that is none of it, within the picture."""
    padded = np.pad(mask, 1, mode="edge")
    inner: npt.NDArray[np.bool_] = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _boxed(
    pen: ImageDraw.ImageDraw, annotation: Annotation, names: Sequence[str], shades: Sequence[Colour], scale: float
) -> None:
    assert annotation.boxes_xyxy is not None
    boxes = (annotation.boxes_xyxy * scale).round().int().tolist()
    crowd = [False] * len(boxes) if annotation.crowd is None else annotation.crowd.tolist()
    for box, shade, dashed in zip(boxes, shades, crowd, strict=True):
        _frame(pen, box, shade, dashed=dashed)
    letters = font("DejaVuSans.ttf", _TEXT_PX)
    taken: list[tuple[int, int, int, int]] = []
    width, height = pen.im.size
    by_size = sorted(range(len(boxes)), key=lambda row: _area(boxes[row]))  # the small ones have the fewest places
    for row in by_size:
        if not names[row]:
            continue
        left, top, right, bottom = boxes[row]
        text = shortened(names[row], letters, max(width - 8, 8))
        tag_w, tag_h = int(letters.getlength(text)) + 6, _TEXT_PX + 4
        for x, y in ((left, top - tag_h), (left, bottom), (left, top), (right - tag_w, bottom - tag_h), (right, top)):
            x, y = min(max(x, 0), max(width - tag_w, 0)), min(max(y, 0), max(height - tag_h, 0))
            place = (x, y, x + tag_w, y + tag_h)
            if not any(_meet(place, other) for other in taken):
                break
        else:
            continue  # the frame's colour is named at others of its class
        taken.append(place)
        pen.rectangle(place, fill=shades[row], outline=INK)
        pen.text((x + 3, y + tag_h // 2), text, fill=_on(shades[row]), font=letters, anchor="lm")


def _frame(pen: ImageDraw.ImageDraw, box: Sequence[int], shade: Colour, *, dashed: bool) -> None:
    left, top, right, bottom = box
    right, bottom = max(right - 1, left), max(bottom - 1, top)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    for fill, width in ((INK, 4), (shade, 2)):  # a dark rim: seen on any ground
        for start, end in itertools.pairwise(corners):
            if dashed:
                _dashes(pen, start, end, fill, width)
            else:
                pen.line((*start, *end), fill=fill, width=width)


def _dashes(
    pen: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int], fill: Colour, width: int, dash: int = 7
) -> None:
    (x, y), (to_x, to_y) = start, end
    steps = max(abs(to_x - x), abs(to_y - y)) // dash
    for step in range(0, steps + 1, 2):
        near, far = step / max(steps, 1), min((step + 1) / max(steps, 1), 1)
        line = (x + (to_x - x) * near, y + (to_y - y) * near, x + (to_x - x) * far, y + (to_y - y) * far)
        pen.line(line, fill=fill, width=width)


def _joined(
    pen: ImageDraw.ImageDraw,
    keypoints: Tensor,
    skeleton: Sequence[tuple[int, int]],
    shades: Sequence[Colour],
    scale: float,
) -> None:
    """A line between each two points of the skeleton that are annotated."""
    for points, shade in zip(keypoints.tolist(), shades, strict=True):
        for one, other in skeleton:
            if max(one, other) < len(points) and points[one][2] > 0 and points[other][2] > 0:
                line = [value * scale for end in (one, other) for value in points[end][:2]]
                for fill, width in ((INK, 4), (shade, 2)):
                    pen.line(line, fill=fill, width=width)


def _pointed(pen: ImageDraw.ImageDraw, keypoints: Tensor, shades: Sequence[Colour], scale: float) -> None:
    for points, shade in zip(keypoints.tolist(), shades, strict=True):
        for x, y, seen in points:
            if seen > 0:
                x, y, radius = x * scale, y * scale, 3
                pen.ellipse((x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1), outline=INK)
                around = (x - radius, y - radius, x + radius, y + radius)
                if seen > 1:
                    pen.ellipse(around, fill=shade)
                else:
                    pen.ellipse(around, outline=shade, width=2)


def _below(
    shown: Image.Image, caption: str, captions: Sequence[str], legend: Sequence[tuple[str, Colour]], side_px: int
) -> Image.Image:
    """The picture on paper, and below it the caption, the captions, and the legend in as many columns as fit."""
    width = max(shown.width, min(side_px, 200)) + 2 * _MARGIN
    room = width - 2 * _MARGIN
    letters, bold = font("DejaVuSans.ttf", _TEXT_PX), font("DejaVuSans-Bold.ttf", _TEXT_PX + 1)
    per_line = max(10, int(room / letters.getlength("abcdefghij etaoin") * 17))
    lines = [
        line for text in captions for line in textwrap.wrap(text, per_line, initial_indent="- ", subsequent_indent="  ")
    ]
    widest = max((int(letters.getlength(name)) for name, _ in legend), default=0) + 22
    columns = max(1, room // max(widest, 1))
    legend_rows = -(-len(legend) // columns)
    text_lines = bool(caption) + len(lines) + legend_rows
    sheet = Image.new("RGB", (width, shown.height + 2 * _MARGIN + _LINE_PX * text_lines + 4 * (text_lines > 0)), PAPER)
    sheet.paste(shown, ((width - shown.width) // 2, _MARGIN))
    pen = ImageDraw.Draw(sheet)
    y = shown.height + _MARGIN + 4 + _LINE_PX // 2
    if caption:
        pen.text((_MARGIN, y), shortened(caption, bold, room), fill=INK, font=bold, anchor="lm")
        y += _LINE_PX
    for line in lines:
        pen.text((_MARGIN, y), line, fill=MUTED, font=letters, anchor="lm")
        y += _LINE_PX
    for number, (name, shade) in enumerate(legend):
        x = _MARGIN + number % columns * (room // columns)
        line_y = y + number // columns * _LINE_PX
        pen.rectangle((x, line_y - 5, x + 12, line_y + 5), fill=shade, outline=INK)
        pen.text((x + 17, line_y), shortened(name, letters, room - 17), fill=INK, font=letters, anchor="lm")
    return sheet


def _on(shade: Colour) -> Colour:
    """Ink or paper, whichever can be read on a colour."""
    light = 0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2]
    return INK if light > 140 else (255, 255, 255)


def _area(box: Sequence[int]) -> int:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _meet(one: Sequence[int], other: Sequence[int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
