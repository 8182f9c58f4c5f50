"""What one client may ask of the server, and how requests are gathered: settings, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from lamina.core.errors import LaminaError

_MB = 1_000_000
_MOST_MEGAPIXELS = 178.0  # Pillow opens no larger pictures
_BODIES = 16  # bodies of the largest size that may lie in memory at once


@dataclass(frozen=True)
class Limits:
    """Bounds on a request (`max_mb` in all, `max_picture_mb` for one picture, pictures, megapixels of a picture), and on work.

    `queue` pictures may wait, `timeout_s` seconds pass from a request's first line to its answer. Pictures are gathered into
    batches of up to `batch` within `wait_ms` milliseconds. Raises LaminaError for what is no such number.
    """

    max_pictures: int = 32
    max_mb: float = 20.0
    max_picture_mb: float = math.inf
    max_megapixels: float = 50.0
    queue: int = 256
    timeout_s: float = 30.0
    batch: int = 32
    wait_ms: float = 4.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0.0 if field.name == "wait_ms" else 1e-9
            whole = field.type == "int"
            right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if (
                not right
                or not (value >= (1 if whole else least))
                or (math.isinf(value) and field.name != "max_picture_mb")
            ):
                raise LaminaError(
                    f"{field.name} is {value!r}.",
                    f"A {'whole number of at least 1' if whole else 'positive number'} was expected.",
                    f"Leave it out for {field.default}.",
                )

        if self.max_megapixels > _MOST_MEGAPIXELS:
            raise LaminaError(
                f"max_megapixels is {self.max_megapixels:g}.",
                f"Pictures of at most {_MOST_MEGAPIXELS:g} megapixels can be read.",
                "Ask for fewer; the model sees them small anyway.",
            )

    @property
    def body_bytes(self) -> int:
        """The most bytes that the body of a request may have."""
        return int(self.max_mb * _MB)

    @property
    def picture_bytes(self) -> int:
        """The most bytes that one picture may have."""
        return int(min(self.max_picture_mb, self.max_mb) * _MB)

    @property
    def pixels(self) -> int:
        """The most pixels that one picture may have."""
        return int(self.max_megapixels * 1e6)

    @property
    def buffered_bytes(self) -> int:
        """The most bytes that the bodies of all requests may have together, while their pictures wait to be decoded."""
        return _BODIES * self.body_bytes

    def to_dict(self) -> dict[str, float]:
        """What a client has to know, as JSON."""
        return {
            "max_pictures": self.max_pictures,
            "max_mb": self.max_mb,
            "max_picture_mb": self.picture_bytes / _MB,
            "max_megapixels": self.max_megapixels,
            "timeout_s": self.timeout_s,
        }
