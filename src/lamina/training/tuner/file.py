"""The SQLite file of a study: made whole, refused where it is foreign, waited for where another process has it."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lamina.core.errors import FileFormatError, LaminaError, MissingExtraError

NAME, TOLD = "lamina", "lamina"  # of the study in the file, and of what it remembers of its search
PATIENCE_S = 30.0  # how long a file that another process writes is waited for


def require_optuna() -> Any:
    """optuna. Raises MissingExtraError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("The tuner", "tune") from error
    return optuna


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without optuna's lines in the log and its warnings of what is experimental."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


@contextlib.contextmanager
def keeping(path: Path | None) -> Iterator[None]:
    """Turns what SQLite says of a file that is locked, read-only or damaged into three sentences."""
    if path is None:
        yield
        return
    import optuna
    import sqlalchemy

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error) as error:
        cause = str(getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error).splitlines()[0]
        if "locked" in cause:
            raise LaminaError(
                f"The study file {path} is in use: another program has kept it locked for {PATIENCE_S:.0f} s.",
                "Several searches may share a study, each for a moment at a time.",
                "Close the program that has it open for writing, or name another file; the trials in it are kept.",
            ) from error
        raise LaminaError(
            f"The study file {path} cannot be read and written ({cause}).",
            "An SQLite file that may be written, with room on its disk, was expected.",
            "Check the file and the disk, or name another file.",
        ) from error


def create(path: Path, direction: Literal["minimize", "maximize"], told: Mapping[str, str]) -> None:
    """Makes the study beside its place and then puts it there whole: of two processes that begin at once, one comes first."""
    import optuna

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        # Not by tempfile: its mode 0600 would lock out others, who may share the search.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise LaminaError(
            f"The study file {path} cannot be made ({error.strerror or error}).",
            "A path in a folder that may be written was expected.",
            "Name another file.",
        ) from error
    try:
        storage = opened(temporary)
        study = optuna.create_study(study_name=NAME, storage=storage, direction=direction)
        study.set_user_attr(TOLD, dict(told))
        storage.engine.dispose()
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        try:
            os.link(temporary, path)  # unlike a rename it never replaces
        except FileExistsError:
            return
        except OSError:  # a disk without links
            if not path.exists():
                temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def opened(path: Path) -> Any:
    """optuna's storage in the file. Raises LaminaError where another version of optuna wrote it."""
    import optuna
    import sqlalchemy

    # Without a pool no connection stays open, to block others or to be closed by nobody.
    options = {"connect_args": {"timeout": PATIENCE_S}, "poolclass": sqlalchemy.pool.NullPool}
    try:
        return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs=options)
    except RuntimeError as error:
        if "schema" not in str(error):
            raise
        raise LaminaError(
            f"The study file {path} was written by another version of optuna.",
            "One that this version reads was expected.",
            "Use that version, or run: optuna storage upgrade --storage sqlite:///" + str(path),
        ) from error


def refuse_foreign(path: Path) -> None:
    """Looks without writing: optuna would add its tables to any SQLite file."""
    if path.is_dir():
        raise foreign(path, "a folder")
    with path.open("rb") as stream:
        if stream.read(16) != b"SQLite format 3\0":
            raise foreign(path, "no SQLite file")
    link = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(link, uri=True, timeout=PATIENCE_S)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"studies", "trials"} <= tables:
        raise foreign(path, "an SQLite file without a study")


def foreign(path: Path, what: str) -> FileFormatError:
    """The error for a file that holds something else."""
    return FileFormatError(
        f"{path} is {what}.", "A study that lamina's tuner wrote, or a new file, was expected.", "Name another file."
    )


def is_running(process: int) -> bool:
    """Whether this machine has a process of that number."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
        if handle:
            kernel.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
