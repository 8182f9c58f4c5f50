"""With LAMINA_DATA set, a run of the whole suite in which no test of real data passes is a failure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITES = {
    "uses it": "def test_digits(real_data):\n    assert real_data.is_dir()\n",
    "marks it": "import pytest\n@pytest.mark.real_data\ndef test_digits():\n    pass\n",
    "uses none": "def test_sums():\n    assert 1 + 1 == 2\n",
    "skips it": "import pytest\ndef test_digits(real_data):\n    pytest.skip('a reason')\n",
}


def run(folder: Path, suite: str, *arguments: str, data: str | None) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = .\nmarkers =\n    slow\n    real_data\n")
    (folder / "test_suite.py").write_text(SUITES[suite])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "LAMINA"))}
    told = kept if data is None else {**kept, "LAMINA_DATA": data}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("suite", "workers", "passes"),
    [
        ("uses it", [], True),
        ("marks it", ["-n", "1"], True),
        ("uses none", ["-n", "1"], False),
        ("skips it", [], False),
    ],
)
def test_a_run_without_real_data_fails_where_there_is_some(
    tmp_path: Path, suite: str, workers: list[str], passes: bool
) -> None:
    ran = run(tmp_path, suite, "-m", "not slow", *workers, data=str(tmp_path))
    assert (ran.returncode == 0) is passes, ran.stdout
    assert ("no test of real data passed" in ran.stdout) is not passes
    assert re.fullmatch(r"=+ .*1 (passed|skipped).* in .*=", ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("suite", ["uses it", "marks it"])
def test_real_data_is_skipped_where_there_is_none(tmp_path: Path, suite: str) -> None:
    ran = run(tmp_path, suite, data=None)
    assert ran.returncode == 0
    assert "1 skipped" in ran.stdout


def test_some_tests_may_be_run_without_it(tmp_path: Path) -> None:
    assert run(tmp_path, "uses none", "test_suite.py", data=str(tmp_path)).returncode == 0
    assert run(tmp_path, "uses none", "-k", "sums", data=str(tmp_path)).returncode == 0


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    ran = run(tmp_path, "uses it", data=str(tmp_path / "nowhere"))
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "LAMINA_DATA is" in ran.stderr
