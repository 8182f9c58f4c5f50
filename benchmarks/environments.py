"""Each peer's own environment in benchmarks/.peers/NAME, made from the header of its file.

The header is the inline script metadata of PEP 723. `[tool.benchmark] torch = "ours"` means that the environment sees
the packages of the one that runs the benchmark, so that the peer runs on the very same torch, and not five torches lie
on the disk. What a header asks for is installed on top. A file without a header runs in the benchmark's environment.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / "peers"
KEPT = HERE / ".peers"


def header(peer: str) -> dict[str, Any] | None:
    """The metadata block at the top of peers/PEER.py, None where there is none."""
    text = (PEERS / f"{peer}.py").read_text(encoding="utf-8")
    block = re.search(r"^# /// script\n((?:#.*\n)*?)# ///$", text, re.MULTILINE)
    return tomllib.loads(re.sub(r"^# ?", "", block[1], flags=re.MULTILINE)) if block else None


def interpreter(peer: str) -> Path:
    """The python that runs a peer; makes the environment at the first call, and again when the header changes."""
    needs = header(peer)
    if needs is None:
        return Path(sys.executable)
    shares = needs.get("tool", {}).get("benchmark", {}).get("torch") == "ours"
    folder = KEPT / peer
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed"
    wanted = hashlib.sha256(repr((needs, sys.version, sys.prefix if shares else "")).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {peer}: {', '.join(needs['dependencies'])}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    if shares:
        own = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        packages = Path(subprocess.run(own, check=True, capture_output=True, text=True).stdout.strip())
        (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needs["dependencies"]]
    subprocess.run(install, check=True)
    stamp.write_text(wanted)
    return python
