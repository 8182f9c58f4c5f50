"""What a broken contract says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ContractError(AssertionError):
    """A check that failed. Names the check, then says what came, what was expected, and what to do."""

    def __init__(self, check: str, came: str, expected: str, remedy: str) -> None:
        super().__init__(check, came, expected, remedy)
        self.check, self.came, self.expected, self.remedy = check, came, expected, remedy

    def __str__(self) -> str:
        return f"{self.check}: {self.came} {self.expected} {self.remedy}"


@contextmanager
def checking(check: str, expected: str, remedy: str) -> Iterator[None]:
    """Whatever else goes wrong inside is this check's failure: the network's own error becomes a ContractError."""
    try:
        yield
    except ContractError:
        raise
    except Exception as error:
        told = " ".join(str(error).split())
        raise ContractError(check, f"{type(error).__name__}: {told.rstrip('.')}.", expected, remedy) from error
