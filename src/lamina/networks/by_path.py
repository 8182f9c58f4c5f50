"""Somebody's own network, named by where it is: "FILE.py:Name" or "package.module:Name". Only a person names one, never a file."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lamina.core.errors import LaminaError, UnknownNameError, nearest_names

_read: set[str] = set()  # the names under which files were read here; those of other modules are left alone


def is_path(spec: str) -> bool:
    """Whether it has the form FILE.py:Name or package.module:Name."""
    source, colon, name = spec.rpartition(":")
    dotted = all(part.isidentifier() for part in source.split("."))
    return bool(colon) and name.isidentifier() and (source.endswith(".py") or dotted)


def check_path(spec: str) -> None:
    """Raises LaminaError where there is no such file or module. Runs nothing of the file, of a module its packages."""
    source = spec.rpartition(":")[0]
    if source.endswith(".py"):
        if not Path(source).expanduser().is_file():
            raise LaminaError(
                f"There is no file {source}.",
                f"{spec} names a function or class in a file.",
                "Name where it is now.",
            )
        return
    try:
        there = importlib.util.find_spec(source) is not None
    except (ImportError, ValueError):  # a package in front that is not there, or no package
        there = False
    if not there:
        raise LaminaError(
            f"There is no module {source}.",
            f"{spec} names a function or class in a module that Python can import.",
            "Install it, or name the file: FILE.py:Name.",
        )


def without_name(source: str) -> LaminaError:
    """The error for a file that came alone: which functions and classes it has, read without running it."""
    if not Path(source).expanduser().is_file():
        return LaminaError(
            f"There is no network called {source!r}, and no such file.",
            "A name of lamina.networks, timm/NAME, or FILE.py:NAME of a function or class was expected.",
            "Correct the path.",
        )
    try:
        body = ast.parse(Path(source).expanduser().read_bytes()).body
    except (SyntaxError, ValueError):
        body = []
    kinds = (ast.FunctionDef, ast.ClassDef)
    own = [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]
    return LaminaError(
        f"The file {source} came as a network.",
        f"A function or class in it was expected; it has: {', '.join(own[:8]) or 'none'}.",
        f"Write {source}:{own[-1] if own else 'NAME'}.",
    )


def find(spec: str) -> Callable[..., Any]:
    """The function or class that makes the network. Runs its file, once while that stays the same, or imports its module."""
    check_path(spec)
    source, _, name = spec.rpartition(":")
    if source.endswith(".py"):
        path = Path(source).expanduser().absolute()
        module = _running(spec, lambda: _run(path, path.stat().st_mtime_ns))
    else:
        module = _running(spec, lambda: importlib.import_module(source))
    made_by = getattr(module, name, None)
    if callable(made_by):
        return made_by  # type: ignore[no-any-return]
    own = [
        known
        for known, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__
    ]
    raise UnknownNameError(
        f"{source} has no function {name!r}.",
        f"It has: {', '.join(nearest_names(name, own)) or 'none'}.",
        "Name one of these.",
    )


def _running(spec: str, run: Callable[[], ModuleType]) -> ModuleType:
    """What running somebody's file gives. Raises LaminaError that says where it failed, with the failure as its cause."""
    try:
        return run()
    except LaminaError:
        raise
    except Exception as error:
        raise LaminaError(
            f"{spec.rpartition(':')[0]} fails when it is run ({type(error).__name__}: {error}).",
            f"{spec} names a function or class in it.",
            "Mend the file, or install what it imports.",
        ) from error


@functools.lru_cache(maxsize=8)
def _run(path: Path, _changed_ns: int) -> ModuleType:
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    if path.stem in _read or path.stem not in sys.modules:  # a file called json.py must not become Python's json
        sys.modules[path.stem] = module
        _read.add(path.stem)
    found.loader.exec_module(module)
    return module


def make(spec: str, offered: Mapping[str, Callable[[], Any]], arguments: Mapping[str, Any] | None = None) -> Any:
    """What the function or class makes, given all of `arguments`, and of what is `offered` what it takes by name.

    An offer is a function, called where it is taken. Raises LaminaError for an argument that is not taken.
    """
    called = find(spec)
    takes = inspect.signature(called).parameters
    told = dict(arguments or {})
    refused = [name for name in told if name not in takes]
    if refused and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        raise LaminaError(
            f"{spec} was given {', '.join(refused)}.",
            f"It takes {', '.join(takes) or 'no arguments'}.",
            f"Leave {' and '.join(refused)} out.",
        )
    return called(**{name: offer() for name, offer in offered.items() if name in takes and name not in told}, **told)
