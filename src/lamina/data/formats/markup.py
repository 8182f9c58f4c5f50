"""XML files of annotations: parsed without ever expanding an entity, and with the line of each element."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from typing import Any, NoReturn
from xml.parsers import expat

from lamina.core.errors import DataError

_HUGE = 1e15  # beyond it 32 bits hold no box
_DEEPEST = 200  # elements inside each other: annotations have ten, and what has a million overflows the stack


class Element(ElementTree.Element):
    """An element that knows the line on which it begins; `text_of` and `number` read what stands in it."""

    line: int = 0

    def text_of(self, tag: str) -> str:
        """The text of the first element of this name right inside, without blanks around it; empty where there is none."""
        return (self.findtext(tag) or "").strip()


def parsed(content: bytes, name: str) -> Element:
    """The root of an XML file; `name` is for messages.

    Raises DataError that names the file and the line: for XML that breaks off or is none, and for a DOCTYPE or an entity, which no
    annotation needs and by which a few lines fill the memory ("billion laughs") or read other files.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    builder = ElementTree.TreeBuilder(element_factory=Element)
    depth = 0

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise wrong(name, parser.CurrentLineNumber, f"{depth} elements lie inside each other")
        element: Any = builder.start(tag, attributes)
        element.line = parser.CurrentLineNumber

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*declaration: Any) -> NoReturn:
        raise DataError(
            f"{name}, line {parser.CurrentLineNumber}: the XML declares a document type or entities.",
            "Annotations need none; they can fill the memory or read other files, and are not expanded.",
            "Take the lines from <!DOCTYPE to ]> out, if you trust the file.",
        )

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = parser.SkippedEntityHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise wrong(name, error.lineno, expat.ErrorString(error.code)) from error
    except (LookupError, ValueError) as error:  # an encoding that nobody knows
        if isinstance(error, DataError):
            raise
        raise wrong(name, parser.CurrentLineNumber, str(error)) from error
    root = builder.close()
    assert isinstance(root, Element)
    return root


def wrong(name: str, line: int, how: str) -> DataError:
    """The error for an XML file that is not what it should be in one line."""
    return DataError(
        f"{name}, line {line}: {how}.",
        "A complete XML file of annotations was expected.",
        "Mend that line, or copy or write the file again.",
    )


def number(text: str | None, name: str, line: int, what: str) -> float:
    """The finite number that a text holds. Raises DataError that names file, line and what was looked for."""
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not abs(value) < _HUGE:  # nor is NaN
        raise wrong(name, line, f"{what} is {text!r}, which is no number")
    return value


def px(text: str) -> int:
    """The pixels that a text tells, at most 10^15 and at least -1; 0 where it tells none."""
    try:
        value = float(text)
    except ValueError:
        return 0
    return int(max(-1.0, min(value, _HUGE))) if value == value else 0  # which NaN is not
