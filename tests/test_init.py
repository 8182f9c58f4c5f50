"""What `from lamina import ...` hands out."""

import os
import subprocess
import sys

import pytest

import lamina
from lamina import initializers, layers, regularizers


def test_the_parts_of_layers_that_keras_has_at_the_top_are_there_too():
    assert initializers is layers.initializers
    assert regularizers is layers.regularizers
    assert layers.Dense(1, kernel_regularizer=regularizers.L2(0.1)).kernel_regularizer == regularizers.L2(0.1)


def test_every_name_that_is_listed_is_there():
    for name in lamina.__all__:
        assert getattr(lamina, name) is not None


APART = """
import os, sys
import torch  # what takes long; each name is then imported by a process that has nothing of the library
names = sys.argv[1:]
for pair in names:
    child = os.fork()
    if child == 0:
        name, place = pair.split("=")
        exec(f"import lamina.{name} as short; import lamina; from {place} import *; import {place} as long")
        assert short is long is getattr(lamina, name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"lamina.{pair} failed")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_short_names_are_imported_as_modules_too():
    pairs = [f"{name}={place}" for name, place in sorted(lamina._ALIASES.items())]
    assert pairs
    done = subprocess.run([sys.executable, "-c", APART, *pairs], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
