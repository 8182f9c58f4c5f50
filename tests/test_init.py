"""What `from lamina import ...` hands out."""

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


@pytest.mark.parametrize("name", sorted(lamina._ALIASES))
def test_short_names_are_imported_as_modules_too(name):
    code = f"import lamina.{name} as short; import lamina; from {lamina._ALIASES[name]} import *; "
    code += f"import {lamina._ALIASES[name]} as long; assert short is long is lamina.{name}"
    subprocess.run([sys.executable, "-c", code], check=True)
