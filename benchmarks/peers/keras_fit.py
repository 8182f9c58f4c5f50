"""Keras's own `fit`. Not run by itself: keras_tensorflow, keras_torch and keras_jax choose the backend first."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from protocol import BATCH_SIZE, LEARNING_RATE, OPTIONS

PARAMETERS = 123_552


def describe(*, channels_first: bool) -> keras.Sequential:
    """DeepConvNet: B 28 28 1 (or B 1 28 28) -> logits B 10. Keras's He normal is a truncated one."""

    def conv(filters: int, padding: str = "same") -> layers.Conv2D:
        return layers.Conv2D(filters, 3, padding=padding, activation="relu", kernel_initializer="he_normal")

    return keras.Sequential(
        [
            keras.Input((1, 28, 28) if channels_first else (28, 28, 1)),
            conv(16), conv(16), layers.MaxPooling2D(),
            conv(32), layers.ZeroPadding2D(2), conv(32, "valid"), layers.MaxPooling2D(),
            conv(64), conv(64), layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(50, activation="relu", kernel_initializer="he_normal"), layers.Dropout(0.5),
            layers.Dense(10, kernel_initializer="he_normal"), layers.Dropout(0.5),
        ]
    )  # fmt: skip


def train(images, labels, epochs, ended):
    keras.utils.set_random_seed(OPTIONS.seed)
    if OPTIONS.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    channels_first = keras.config.image_data_format() == "channels_first"
    axis = 1 if channels_first else 3
    model = describe(channels_first=channels_first)
    assert model.count_params() == PARAMETERS
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    mark = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ended())
    images = np.expand_dims(images, axis)
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=0, callbacks=[mark])
    return lambda digits: model.predict(np.expand_dims(digits, axis), batch_size=1000, verbose=0).argmax(1)
