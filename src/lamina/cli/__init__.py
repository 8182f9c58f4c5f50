"""The command `lamina`: parses, calls, prints. Nothing that imports torch is imported before a command runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line. Exit code 2 for a usage error, 1 for a failed run, 130 for Ctrl-C."""
    from lamina.cli.commands import app
    from lamina.core.errors import LaminaError, MissingExtraError, UnknownNameError

    try:
        app()
    except UnknownNameError as error:
        _fail(str(error), code=2)
    except (LaminaError, MissingExtraError) as error:
        _fail(str(error), code=1)
    except OSError as error:
        _fail(f"{error.filename or 'A file'}: {error.strerror or error}.", code=1)
    except KeyboardInterrupt as interrupt:
        _fail(str(interrupt) or "Stopped by Ctrl-C.", code=130)


def _fail(text: str, *, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)
