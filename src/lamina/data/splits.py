"""The parts of a data set: for training, validation and the test, and whatever others its source has."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lamina.core.errors import DataError, unknown_name
from lamina.data.annotated import AnnotatedDataset
from lamina.data.dataset import FolderDataset, ImageDataset

D_co = TypeVar("D_co", bound=ImageDataset | FolderDataset | AnnotatedDataset, covariant=True)


@dataclass(frozen=True, repr=False)
class Splits(Generic[D_co]):
    """The parts of a data set; a part that the source does not have is None.

    `others` are parts by other names ("trainval", "unlabelled"); `format` and `recognised` say how the source was read, and by
    what it was known.
    """

    train: D_co | None
    test: D_co | None
    validation: D_co | None = None
    name: str = ""
    licence: str = ""
    others: Mapping[str, D_co] = field(default_factory=dict)
    format: str = ""
    recognised: str = ""

    def __post_init__(self) -> None:
        if not self.parts():
            raise DataError(
                f"The data set {self.name!r} has no part.",
                "At least one of train, test, validation was expected.",
                "Pass one.",
            )

    def parts(self) -> dict[str, D_co]:
        """The parts that there are, by name."""
        usual = {"train": self.train, "validation": self.validation, "test": self.test}
        return {**{name: part for name, part in usual.items() if part is not None}, **self.others}

    def __getitem__(self, name: str) -> D_co:
        if name not in self.parts():
            raise unknown_name("part", name, self.parts())
        return self.parts()[name]

    def __str__(self) -> str:
        counts = ", ".join(f"{len(part):,} {name}" for name, part in self.parts().items())
        how = f" ({self.format}: {self.recognised})" if self.format else ""
        return (
            f"{self.name}: {counts}; for {self.task}, {len(self.classes)} class{'es' * (len(self.classes) != 1)}{how}"
        )

    def __repr__(self) -> str:
        return f"<Splits {self}>"

    def _repr_html_(self) -> str:
        first: Any = next(iter(self.parts().values()))
        return f"<p>{html.escape(str(self))}</p>{first._repr_html_()}"

    @property
    def task(self) -> str:
        """What the data set is for: "classification", "detection" ..."""
        return next(iter(self.parts().values())).task

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return next(iter(self.parts().values())).classes
