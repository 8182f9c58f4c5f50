"""Keras 3 on JAX, jit-compiled; channels last."""

# /// script
# dependencies = ["keras>=3.8", "jax>=0.4.35"]
# ///

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

from protocol import run  # isort: skip  (limits the threads)

from keras_fit import train

run(train, "keras", "jax")
