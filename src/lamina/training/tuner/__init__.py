"""Finding settings: trials are drawn from a space, trained, and measured on validation data. On optuna (extra `tune`).

It takes build(trial) and knows no model.

from lamina import tuner

space = {"lr": tuner.log_uniform(1e-4, 1e-1), "batch_size": tuner.choice(64, 128), "epochs": 5, "validation_split": 0.2}

def build(trial):
    model = ...
    model.compile(optimizers.Adam(lr=trial["lr"]), loss="sparse_categorical_crossentropy")
    return model

study = tuner.search(build, space, data=(x, y), storage="runs/tune/study.db")
print(study.best)
"""

from lamina.training.tuner.search import search
from lamina.training.tuner.space import choice, integer, log_uniform, uniform
from lamina.training.tuner.study import Study, Trial

__all__ = ["Study", "Trial", "choice", "integer", "log_uniform", "search", "uniform"]
