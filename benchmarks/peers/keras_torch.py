"""Keras 3 on torch, eager as Keras has it; channels first, torch's own order."""

# /// script
# dependencies = ["keras>=3.8"]
# [tool.benchmark]
# torch = "ours"
# ///

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

from protocol import THREADS, run  # isort: skip  (limits the threads)

import keras
import torch
from keras_fit import train

torch.set_num_threads(THREADS)
keras.config.set_image_data_format("channels_first")
run(train, "keras", "torch")
