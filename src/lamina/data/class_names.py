"""Names of classes, as their sources write them and as they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lamina.core.errors import DataError


def first_words(meanings: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Of "great white shark, white shark, man-eater" the first words; all of them where two classes would share these.

    Classes whose words are all the same (ImageNet's two cranes) are told apart by their ids.
    """
    short = [meaning.split(",")[0].strip() for meaning in meanings]
    counts, whole = Counter(short), Counter(meanings)
    return tuple(
        name if counts[name] == 1 else meaning if whole[meaning] == 1 and meaning != name else f"{name} ({own})"
        for name, meaning, own in zip(short, meanings, ids, strict=True)
    )


def refuse_twins(names: Sequence[str], where: str) -> None:
    """Raises DataError where two names differ in upper and lower case alone: mostly one class was meant."""
    folded: dict[str, str] = {}
    for name in names:
        if folded.setdefault(name.casefold(), name) != name:
            raise DataError(
                f"{where} has the classes {folded[name.casefold()]} and {name}.",
                "The names of classes differ in more than upper and lower case.",
                "Write both alike, or rename one.",
            )
