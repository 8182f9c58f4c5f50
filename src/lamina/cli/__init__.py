"""The command `lamina`: parses, calls, prints. Nothing that imports torch is imported before a command runs."""

from __future__ import annotations

import sys
import warnings
from typing import NoReturn


def main() -> None:
    """Runs the command line. Exit code 2 for a usage error, 1 for a failed run, 130 for Ctrl-C."""
    try:
        from lamina.cli import launch
        from lamina.cli.commands import app
        from lamina.core.errors import LaminaError, MissingExtraError, UnknownNameError
    except KeyboardInterrupt:
        _fail("Stopped by Ctrl-C.", code=130)
    warnings.formatwarning = _plainly  # nobody who types a command is helped by a line of this package
    try:
        launch.recorded(lambda: app(prog_name="lamina"))()
    except UnknownNameError as error:
        _fail(_told(error), code=2)
    except (LaminaError, MissingExtraError) as error:
        _fail(_told(error), code=1)
    except OSError as error:
        _fail("" if launch.is_started() else f"{error.filename or 'A file'}: {error.strerror or error}.", code=1)
    except KeyboardInterrupt:  # between two moments of Python's; the commands tell more
        launch.say_last("Stopped by Ctrl-C.")
        _fail("", code=130)
    except Exception:
        if not launch.is_started():
            raise
        _leave()
        sys.exit(1)  # it is written down, and told once: the other processes fail too, for want of this one


def _told(error: Exception) -> str:
    """The error and what was noted about its place; of several processes torchrun tells it once."""
    from lamina.cli import launch
    from lamina.cli.wording import as_typed

    return "" if launch.is_started() else "\n".join([as_typed(str(error)), *getattr(error, "__notes__", [])])


def _fail(text: str, *, code: int) -> NoReturn:
    if text:
        print(text, file=sys.stderr)
    _leave()
    sys.exit(code)


def _leave() -> None:
    """A failed process waits for no other."""
    worlds = sys.modules.get("lamina.training.world")
    if worlds is not None:
        worlds.abandon()


def _plainly(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    del category, filename, lineno, line
    from lamina.cli.wording import as_typed

    return f"Warning: {as_typed(str(message))}\n"
