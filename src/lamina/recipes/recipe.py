"""What a recipe holds, and how it is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lamina import networks
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.loader import Augment
from lamina.data.preprocess import Preprocess
from lamina.losses import Loss
from lamina.models.pictures import in_memory
from lamina.tasks import Classifier
from lamina.tasks.classification import inputs
from lamina.training import Callback, Runtime

_LOOKED_AT = 5000  # pictures, by which initial values are set


@dataclass(frozen=True)
class Recipe:
    """Tuned settings of a classifier: everything that its measured result depends on but the seed.

    `optimizer` is a spec of `lamina.optimizers`; `schedule` maps progress 0..1 to a factor of its learning rate. `arguments`
    are the network's own. `initialise(net, images)` sets initial values by some of the training pictures, normalised (B C H W).
    """

    name: str
    data: str
    network: str
    preprocess: Preprocess
    epochs: int
    batch_size: int
    optimizer: Any
    schedule: Callable[[float], float]
    augment: Augment
    loss: Loss
    arguments: Mapping[str, Any] = field(default_factory=dict)
    initialise: Callable[[Any, Tensor], None] | None = None

    def fit(
        self,
        data: Any = None,
        *,
        seed: int = 0,
        epochs: int | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        verbose: str | int = "auto",
        validation_data: Any = None,
        runtime: Runtime | None = None,
        checkpoint_every: int | None = None,
        log_every: int | None = None,
    ) -> Classifier:
        """A classifier trained as the recipe says, on all training pictures of its own data set unless `data` brings another.

        The initial values, the order of the pictures, their augmentation and dropout are functions of `seed`.
        """
        train, validation_data = inputs.training_sets(
            self.data if data is None else data, None, validation_data, classes=None
        )
        torch.manual_seed(seed)  # the initial values; everything after is keyed by the seed given to fit
        classifier = Classifier(self._network(train), preprocess=self.preprocess)
        classifier.compile(self.optimizer, self.loss, schedule=self.schedule, runtime=runtime)
        classifier.fit(
            train,
            batch_size=self.batch_size,
            epochs=self.epochs if epochs is None else epochs,
            augment=self.augment,
            validation_data=validation_data,
            validation_split=0.0,
            callbacks=callbacks,
            verbose=verbose,
            seed=seed,
            run=run,
            resume=resume,
            checkpoint_every=checkpoint_every,
            log_every=log_every,
        )
        return classifier

    def _network(self, train: ImageDataset | FolderDataset) -> nn.Module:
        net = networks.create(
            self.network, num_classes=len(train.classes), in_channels=self.preprocess.channels, arguments=self.arguments
        )
        if self.initialise is not None:
            images = in_memory(train.limit(_LOOKED_AT), self.preprocess).images
            self.initialise(net, self.preprocess.normalize()(images))
        return net
