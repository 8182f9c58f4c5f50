"""What an export gives back: which file it is, and how it compares with the network that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.export.checking import Check


@dataclass(frozen=True)
class Exported:
    """A file that runs without this library, and what was seen when it ran.

    `sizes` are the pictures that it takes ("any", or height x width in pixels; empty for other inputs), `tried_on` says on what it
    was compared, and `checks` holds a Check for each engine.
    """

    path: Path
    format: str
    precision: str
    bytes: int
    sizes: str
    tried_on: str
    tolerance: float
    checks: tuple[Check, ...]

    @property
    def megabytes(self) -> float:
        """The size of the file in MB."""
        return self.bytes / 1e6

    @property
    def largest_difference(self) -> float:
        """That of the engine whose answers lie farthest from the network's."""
        return max(check.largest_difference for check in self.checks)

    @property
    def agreement(self) -> float | None:
        """The share of samples with the same class, of the engine with the least; None where answers are no classes."""
        shares = [check.agreement for check in self.checks if check.agreement is not None]
        return min(shares, default=None)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {
            "path": str(self.path),
            "format": self.format,
            "precision": self.precision,
            "megabytes": round(self.megabytes, 3),
            "sizes": self.sizes,
            "tried_on": self.tried_on,
            "tolerance": self.tolerance,
            "largest_difference": self.largest_difference,
            "agreement": self.agreement,
            "checks": [vars(check) for check in self.checks],
        }

    def __str__(self) -> str:
        sizes = f", pictures of {self.sizes}" if self.sizes else ""
        head = f"{self.path}: {self.format} in {self.precision}, {self.megabytes:,.1f} MB{sizes}"
        return "\n".join([head, f"compared on {self.tried_on}", *(f"  {check}" for check in self.checks)])

    __repr__ = __str__
