"""What is wrong with a command line, told before torch is imported, which takes seconds.

The tables of names lie in modules that need torch. They are literal, so their keys are read off the source; where one cannot be
read so, nothing is said here, and the same check comes later.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import lamina
from lamina.core import model_paths
from lamina.core.errors import UnknownNameError, nearest_names, unknown_name

_OF_OPTIONS = {  # of `lamina train` and others: where the table of each lies
    "optimizer": (("optimizers/table.py", "OPTIMIZERS"),),
    "schedule": (("optimizers/schedules/table.py", "SCHEDULES"),),
    "average": (("training/averaging.py", "AVERAGES"),),
    "format": (("data/formats/__init__.py", "FORMATS"),),
    "precision": (("training/runtime.py", "PRECISIONS"),),
    "recipe": (("recipes/__init__.py", "_RECIPES"),),
    "tta": (("models/tta.py", "NAMES"),),
    "balance": (("data/balance.py", "BALANCES"),),
    "augment": (
        ("data/augment/table.py", "AUGMENTATIONS"),
        ("data/augment/sample/presets.py", "SAMPLE_AUGMENTATIONS"),
        ("cli/options.py", "OF_WHOLE_SETS"),
    ),
    "task": (("cli/options.py", "USUAL"),),
    "backbone": (("networks/headlines.py", "HEADLINES"),),
    "model": (
        ("networks/headlines.py", "HEADLINES"),
        ("networks/deeplab.py", "STANDING"),
        ("networks/faster_rcnn.py", "STANDING"),
        ("networks/fcn.py", "STANDING"),
        ("networks/fcos.py", "STANDING"),
        ("networks/retinanet.py", "STANDING"),
        ("networks/segnet.py", "STANDING"),
        ("networks/ssdlite.py", "STANDING"),
        ("networks/unet.py", "STANDING"),
    ),
}
MODEL_REMEDY = "`lamina models` lists them all; timm/NAME is one of timm's, FILE.py:NAME one of your own."
_REMEDIES = {
    "augment": "`lamina train --help` names them; put commas between several.",
    "recipe": "`lamina models` lists them all.",
    "model": MODEL_REMEDY,
    "backbone": MODEL_REMEDY,
}


def check_name(option: str, value: str | None, known: Iterable[str], remedy: str = "Use one of these.") -> None:
    """Raises UnknownNameError that names the option and the nearest of the known names."""
    names = list(known)
    if value is None or value in names:
        return
    near = ", ".join(map(repr, names if len(names) <= 8 else nearest_names(value, names)))
    told = "The known names are" if len(names) <= 8 else f"The nearest of the {len(names)} known names"
    raise UnknownNameError(f"--{option.replace('_', '-')} {value!r} is not known.", f"{told}: {near}.", remedy)


def check_options(**options: str | None) -> None:
    """Raises UnknownNameError for an option whose name is in no table; those without a table are let pass."""
    for option, value in options.items():
        names = known(option)
        if option in ("model", "backbone") and value is not None and is_elsewhere(value):
            continue
        if names and value is not None:
            value = value.lower() if option == "optimizer" else value
            for name in value.split(",") if option == "augment" else (value,):
                check_name(option, name.strip(), names, _REMEDIES.get(option, "Use one of these."))


def check_network(name: str, option: str = "model") -> None:
    """Raises UnknownNameError for what is no network here, nor may be one of timm's or somebody's own; a "backbone" is a classifier."""
    names = known(option)
    if names and name not in names and not is_elsewhere(name):
        error = unknown_name("network", name, names)
        raise UnknownNameError(error.came, error.expected, MODEL_REMEDY)


def is_elsewhere(name: str) -> bool:
    """Whether the name is one of timm's, or a path: what is there is known later."""
    return name.startswith("timm/") or ":" in name or name.endswith(".py")


def known(option: str) -> list[str]:
    """The names that an option may have; empty where they cannot be read."""
    found = [keys(*place) for place in _OF_OPTIONS.get(option, ())]
    return list(dict.fromkeys(name for names in found for name in names)) if all(found) else []


@cache
def keys(file: str, table: str) -> tuple[str, ...]:
    """The keys of a literal dict of the library, or the entries of a literal tuple; empty for what is none."""
    try:
        tree = ast.parse((Path(lamina.__file__).parent / file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return ()
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == table for target in targets):
            return _literal(getattr(node, "value", None))
    return ()


def _literal(value: ast.expr | None) -> tuple[str, ...]:
    entries = value.keys if isinstance(value, ast.Dict) else value.elts if isinstance(value, ast.Tuple) else []
    found = [entry.value if isinstance(entry, ast.Constant) else None for entry in entries]
    return tuple(map(str, found)) if all(isinstance(name, str) for name in found) else ()


def model_there(path: Path) -> Path:
    """The path of an argument MODEL as it is. Raises FileFormatError where there is no model."""
    model_paths.located(path)
    return path
