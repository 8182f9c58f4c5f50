import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamina.nn import native


@pytest.fixture
def fresh():
    """`compiled` as in a process that has compiled nothing."""
    native.compiled.cache_clear()
    yield native.compiled
    native.compiled.cache_clear()


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return str(folder)


needs_gcc = pytest.mark.skipif(
    sys.platform != "linux" or native._gcc() is None or native._openmp(ctypes.CDLL(torch._C.__file__)) is None,
    reason="needs Linux, GCC, and a torch with its OpenMP",
)
GNU = "import sys, time\nif '--version' in sys.argv: sys.exit(print('cc 12, Free Software Foundation'))\n"


@needs_gcc
def test_compiles_once_and_leaves_nothing_on_disk(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(native.tempfile, "tempdir", str(tmp_path))
    library = fresh("max_pool")
    assert library is not None
    assert fresh("max_pool") is library
    assert list(tmp_path.iterdir()) == []


@needs_gcc
def test_brings_no_second_openmp_into_the_process():
    code = """
import torch
from lamina.nn.native import compiled
maps = lambda: {line.split()[-1] for line in open("/proc/self/maps") if "omp" in line.rpartition("/")[2]}
before = maps()
print(compiled("max_pool") is not None, maps() - {line for line in maps() if "max_pool" in line} == before)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "True"]


@needs_gcc
def test_declines_a_library_of_another_openmp(fresh, monkeypatch):
    places = iter([1, 2])
    monkeypatch.setattr(native, "_openmp", lambda library: next(places))
    assert fresh("max_pool") is None


def test_is_switched_off_by_an_environment_variable(fresh, monkeypatch):
    monkeypatch.setenv("LAMINA_KERNELS", "0")
    monkeypatch.setattr(native, "_gcc", lambda: pytest.fail("looked for a compiler"))
    assert fresh("max_pool") is None


def test_there_is_none_without_a_compiler(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fresh("max_pool") is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize(
    "text",
    [
        GNU + "sys.exit(1)",
        GNU + "open(sys.argv[-1], 'w').write('no library')",
        GNU + "pass",
        GNU + "time.sleep(60)",
        "import sys\nsys.exit(3)",
    ],
    ids=["fails", "writes rubbish", "writes nothing", "hangs", "says nothing"],
)
def test_there_is_none_of_a_compiler_that(text, fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", script(tmp_path, "cc", text))
    monkeypatch.setattr(native, "_TIMEOUT_S", 1.0)
    assert fresh("max_pool") is None


def test_takes_no_compiler_but_gcc(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", script(tmp_path, "cc", "print('clang version 19')"))
    assert native._gcc() is None
    path = script(tmp_path, "gcc", GNU)
    assert native._gcc() == f"{path}/gcc"


@needs_gcc
def test_there_is_none_where_the_temporary_folder_is_missing_or_runs_nothing(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(native.tempfile, "tempdir", str(tmp_path / "missing"))
    assert fresh("max_pool") is None

    def refuses(path):
        raise OSError(f"{path}: failed to map segment from shared object")

    fresh.cache_clear()
    monkeypatch.undo()
    monkeypatch.setattr(native.ctypes, "CDLL", refuses)
    assert fresh("max_pool") is None


@needs_gcc
def test_the_source_has_no_warning():
    compiler = shutil.which("gcc") or "cc"
    source = Path(native.__file__).with_name("max_pool.c")
    command = [compiler, "-O1", "-fopenmp", "-march=native", "-Wall", "-Wextra", "-Werror", "-c", str(source)]
    told = subprocess.run([*command, "-o", os.devnull], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
