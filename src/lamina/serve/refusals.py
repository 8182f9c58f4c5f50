"""What the server does not do, and why: one shape for all errors, with a code that programs read and a text for people.

{"error": {"code": "too_many_pixels", "message": "What came. What was expected. What to do."}}
"""

from __future__ import annotations

from typing import Any

# The codes of errors, with their HTTP status.
STATUS = {
    "malformed": 400,
    "empty": 400,
    "unauthorized": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "slow_client": 408,
    "client_gone": 499,  # as nginx has it; nobody sees it but the log and the metrics
    "too_large": 413,
    "picture_too_large": 413,
    "too_many_pixels": 413,
    "too_many_pictures": 413,
    "unsupported_type": 415,
    "invalid": 422,
    "unreadable": 422,
    "failed": 500,
    "not_built_in": 501,
    "busy": 503,
    "stopping": 503,
    "not_ready": 503,
    "timeout": 504,
}


class Refused(Exception):  # noqa: N818 (it reads as what it is: a request that was refused)
    """A request, or one picture of it, that is not answered: code and status of STATUS, and three sentences."""

    def __init__(self, code: str, came: str, expected: str, remedy: str) -> None:
        super().__init__(f"{came} {expected} {remedy}")
        self.code, self.status = code, STATUS[code]

    def to_dict(self) -> dict[str, Any]:
        """What stands in the answer, for a request or in the place of a picture's result."""
        return {"error": {"code": self.code, "message": str(self)}}
