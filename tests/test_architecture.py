"""The rules that hold the house up: imports point down, no drawers for odds and ends, short files, devices at home."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lamina"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]

ROWS = (
    ("core",),
    ("structures",),
    ("nn", "losses", "metrics", "optimizers", "data"),
    ("export", "training", "networks", "layers"),
    ("models",),
    ("explain",),
    ("tasks",),
    ("serve", "recipes", "testing"),
    ("cli",),
)
HEIGHT = {folder: height for height, row in enumerate(ROWS) for folder in row}
FRONT_DOOR = HEIGHT["cli"]  # `lamina` itself hands out all that lies below the command line, which may come in by it
LONGEST = 400

BACKENDS = {"cuda", "autocast"}  # anywhere in a name, or in a text that is not prose
PROCESSES = {
    "get_rank",
    "local_rank",
    "global_rank",
    "world_size",
    "get_world_size",
}  # `rank` alone: a tensor's dimensions
MAY_NAME_DEVICES = {
    "training/runtime.py": "the one place where devices, precision and processes are chosen",
    "training/world.py": "the one place where processes find one another, on whatever devices",
    "cli/commands.py": "the help of --device lists what may be typed",
    "nn/native.py": "kernels for processors ask what autocast would compute in, and stand below the runtime",
    "core/random.py": "reseeding has to reach the generators of every device in use, and stands below the runtime",
}


def folder_of(module: str) -> str:
    """The folder of src/lamina that a dotted name lies in; empty for `lamina` itself and the files beside it."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in HEIGHT else ""


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that is imported from lamina, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "lamina")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            if base == "lamina":
                yield from ((node.lineno, f"lamina.{alias.name}") for alias in node.names)
            elif base.startswith("lamina."):
                yield node.lineno, base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and str(name.value).split(".")[0] == "lamina":
                yield node.lineno, str(name.value)


def wrong_imports(name: str, source: str) -> list[str]:
    """What the file src/lamina/NAME imports from above or from beside its row."""
    package = ".".join(["lamina", *Path(name).parent.parts])
    own = Path(name).parts[0]
    wrong = []
    for line, module in imports(source, package):
        folder = folder_of(module)
        height = HEIGHT[folder] if folder else FRONT_DOOR
        free = folder == own or module == "lamina.__version__" or (own == "cli" and not folder)
        if not free and height >= HEIGHT[own]:
            wrong.append(f"{name}:{line} imports {module}")
    return wrong


def device_words(source: str) -> list[str]:
    """Where code (not prose) names a device backend, autocast (except `runtime.autocast()`) or the number of a process."""
    tree = ast.parse(source)
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "autocast" and ast.unparse(node.value).endswith("runtime"):
            continue
        named = {str(getattr(node, field, None) or "").lower() for field in ("id", "attr", "arg", "name", "module")}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            named.add(node.value.lower())
        words = {word for name in named for word in re.split(r"[^a-z]+", name)}
        found += [
            f"line {getattr(node, 'lineno', '?')}: {word}" for word in sorted((words & BACKENDS) | (named & PROCESSES))
        ]
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if "/" in name])
def test_imports_point_down(name: str) -> None:
    assert Path(name).parts[0] in HEIGHT, f"{name}: its folder stands in no row"
    assert wrong_imports(name, (PACKAGE / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core/errors.py", "from lamina.structures import Batch"),
        ("losses/loss.py", "import lamina.metrics.accuracy"),
        ("losses/loss.py", "def f():\n    from lamina import metrics"),
        ("data/formats/idx.py", "if TYPE_CHECKING:\n    from ...models import Model"),
        ("training/loop.py", "import importlib\nimportlib.import_module('lamina.networks.deepconvnet')"),
        ("models/model.py", "from lamina import Classifier"),
        ("tasks/classification/model.py", "import lamina"),
    ],
)
def test_an_import_up_or_sideways_is_found(name: str, source: str) -> None:
    assert len(wrong_imports(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "losses/loss.py",
            "from lamina.core.errors import LaminaError\nfrom lamina.losses.names import get\nfrom . import names",
        ),
        ("models/file.py", "from lamina import __version__, layers\nimport torch"),
        ("cli/train.py", "import lamina\nfrom lamina import load, recipes\nfrom lamina.models import Model"),
    ],
)
def test_an_import_down_or_within_the_folder_is_free(name: str, source: str) -> None:
    assert wrong_imports(name, source) == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MAY_NAME_DEVICES])
def test_devices_precision_and_processes_are_named_in_the_runtime_only(name: str) -> None:
    assert device_words((PACKAGE / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "x.cuda()",
        "torch.autocast('cpu')",
        "device = 'cuda:0'",
        "dist.get_rank()",
        "os.environ['LOCAL_RANK']",
        "import torch.cuda",
    ],
)
def test_a_device_named_elsewhere_is_found(source: str) -> None:
    assert device_words(source)


def test_a_device_named_in_prose_and_the_runtime_asked_for_autocast_are_no_fault() -> None:
    assert device_words('"""Runs on cuda."""\n# autocast\nrank = x.dim()\nwith self.runtime.autocast(): pass') == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_named_after_a_drawer(name: str) -> None:
    assert not {"utils", "util", "common", "helpers", "misc"} & {part.removesuffix(".py") for part in Path(name).parts}
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [found for found in classes if re.match(r"_?Base[A-Z]|.*Manager$", found)] == []


def test_no_file_is_longer_than_a_person_reads() -> None:
    folders = [ROOT / folder for folder in ("src", "tests", "benchmarks", "examples")]
    files = [path for folder in folders for path in folder.rglob("*.py") if ".peers" not in path.parts]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_every_folder_says_what_it_is_for() -> None:
    folders = {path.parent for path in FILES}
    silent = []
    for folder in sorted(folders):
        init = folder / "__init__.py"
        if not init.exists() or not ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))):
            silent.append(folder.relative_to(PACKAGE).as_posix())
    assert silent == []


HELP = """
sys.argv = ["lamina", "--help"]
try:
    runpy.run_module("lamina", run_name="__main__")
except SystemExit:
    pass
"""
HEAVY = ("torch", "torchvision", "matplotlib", "numpy", "PIL")


def test_importing_lamina_imports_nothing_heavy() -> None:
    assert loaded_after("import lamina") == []


def test_the_command_line_helps_without_anything_heavy() -> None:
    assert loaded_after(HELP) == []


def test_torchvision_is_imported_where_it_is_used_so_that_most_commands_need_not_wait_for_it() -> None:
    first = [
        f"{name}:{node.lineno}"
        for name in NAMES
        if not name.startswith("data/augment/sample/")
        for node in ast.parse((PACKAGE / name).read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and re.search(r"torchvision|lamina\.data\.augment\.sample|augment import .*sample", ast.unparse(node))
    ]
    assert first == []


def loaded_after(code: str) -> list[str]:
    """Which of HEAVY a fresh interpreter has loaded after running `code`."""
    code = f"import runpy, sys\n{code}\nprint('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1].split()[1:]
