"""Keras 3 on TensorFlow, compiled by tf.function; channels last, TensorFlow's own order."""

# /// script
# dependencies = ["keras>=3.8", "tensorflow>=2.18"]
# ///

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

from protocol import THREADS, run  # isort: skip  (limits the threads)

import tensorflow as tf
from keras_fit import train

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
run(train, "keras", "tensorflow")
