"""What a recipe of a detector or a segmenter holds, and how it is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from lamina.data.preprocess import Preprocess
from lamina.models import borrowed
from lamina.optimizers import Group
from lamina.tasks import Detector, Segmenter
from lamina.training import Callback, Runtime

Trained = TypeVar("Trained", Detector, Segmenter)


@dataclass(frozen=True)
class AnnotatedRecipe(Generic[Trained]):
    """Tuned settings of a detector or a segmenter: everything that its measured result depends on but the seed.

    `model` is the class that is trained, `optimizer` a spec of `lamina.optimizers`; `schedule` maps progress 0..1 to a factor of its
    learning rate. `trunk_rate` is the share of it that the backbone, which has learnt before, is given. `loss` (None: that of the
    network's paper), `balance` and `augment` are those of the model's compile and fit, `clip_norm` that of an Update.
    """

    name: str
    model: type[Trained]
    data: str
    network: str
    backbone: str
    preprocess: Preprocess
    epochs: int
    batch_size: int
    optimizer: Any
    schedule: str | Callable[[float], float]
    loss: Any = None
    augment: Any = None
    balance: str | None = None
    trunk_rate: float = 1.0
    clip_norm: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def fit(
        self,
        data: Any,
        *,
        pretrained: borrowed.Pretrained = True,
        seed: int = 0,
        epochs: int | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        verbose: str | int = "auto",
        validation_data: Any = None,
        runtime: Runtime | None = None,
    ) -> Trained:
        """A model trained on `data` as the recipe says; initial values, order and augmentation are functions of `seed`.

        `pretrained` says where the backbone's weights come from; see Detector and Segmenter.
        """
        torch.manual_seed(seed)  # what is new begins with values drawn here; everything after is keyed by fit's seed
        model = self.model(
            self.network,
            backbone=self.backbone,
            pretrained=pretrained,
            preprocess=self.preprocess,
            arguments=self.arguments,
        )
        slower = {"groups": Group("trunk", rate=self.trunk_rate)} if self.trunk_rate != 1.0 else {}
        update = {**slower, "clip_norm": self.clip_norm}
        model.compile(self.optimizer, self.loss, schedule=self.schedule, runtime=runtime, update=update)
        told: dict[str, Any] = {"run": run, "resume": resume, "callbacks": list(callbacks), "verbose": verbose}
        if self.balance is not None:
            told["balance"] = self.balance
        model.fit(
            data,
            batch_size=self.batch_size,
            epochs=self.epochs if epochs is None else epochs,
            validation_data=validation_data,
            validation_split=0.0,
            seed=seed,
            augment=self.augment,
            **told,
        )
        return model
