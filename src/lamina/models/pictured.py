"""A model whose input is one picture: it prepares pictures itself, and can begin from what another network has learnt."""

from __future__ import annotations

import contextlib
import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import LaminaError, ShapeError
from lamina.core.warnings import warn
from lamina.data.augment import ProgressiveResize
from lamina.data.loader import Augment
from lamina.data.preprocess import Preprocess
from lamina.export.deployable import Deployable
from lamina.models import balancing, card, feed, fine_tuning, pictures
from lamina.models.answering import Engines
from lamina.models.arrays import Arrays, probe
from lamina.models.borrowed import Borrowed
from lamina.models.model import Model
from lamina.models.summary import Summary
from lamina.networks import contract
from lamina.networks.network import Network
from lamina.training import Callback, History, transfer


class Pictured(Model):
    """A network by name, a torch module or a Model made of layers, with the preprocessing of its pictures.

    What it learns about its data at the first `fit` (`_learnt` names it) is forgotten where that fails before training.
    """

    answers: ClassVar[str]  # what a deployed network's answers are called
    _networks: ClassVar[str] = "classification"  # whose names `network` may be one of
    _learnt: ClassVar[tuple[str, ...]] = ("preprocess", "split", "learnt_from", "graph", "_net", "_step")

    def __init__(self, network: str | nn.Module | Model, *, preprocess: Preprocess | None) -> None:
        _check_kind(network)
        super().__init__(name=network if isinstance(network, str) else type(network).__name__.lower())
        if isinstance(network, str):
            networks.check_name(network, self._networks)
        self._network = network
        self._is_shared = not isinstance(network, str) or ":" in network  # code of one's own may keep what it made
        self.preprocess = preprocess
        self.split: dict[str, Any] = {}
        self._engines = Engines()
        self.began_with: dict[str, Any] = {}  # weights from elsewhere: their source, data and licence
        self.learnt_from: dict[str, Any] = {}  # the last training data: its name and counts
        self._figures: dict[str, Any] = {}  # of the file that it was loaded from: metrics, epoch

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float | None = None,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        *,
        seed: int = 0,
        balance: str | None = None,
        sample_by: Any = None,
        augment: Augment | None = None,
        resize: ProgressiveResize | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        log_every: int | None = None,
    ) -> History:
        """As Model.fit, on a folder, a data set or its name, or on uint8 arrays and their targets.

        `validation_split` is held out by the pictures' content: equal ones never land on both sides, and `evaluate` finds them
        again. None means a tenth where neither the data nor `validation_data` brings validation, and 0.0 nothing.
        """
        pictures.refuse_batches(type(self).__name__, x, validation_data)
        if self._net is not None and transfer.is_folded(self._net):
            warn(
                f"The BatchNorms of {self.name} were folded into its convolutions: their statistics are of no pictures, and right "
                "only as they are. Training replaces them, which spoils the weights. "
                "Use fine_tune(..., freeze_statistics=True), or take the weights from before they were folded."
            )
        with self._restored_on_failure():
            return super().fit(
                x,
                y,
                batch_size,
                epochs,
                verbose,
                callbacks,
                validation_split,
                validation_data,
                shuffle,
                class_weight,
                sample_weight,
                initial_epoch,
                seed=seed,
                balance=balance,
                sample_by=sample_by,
                augment=augment,
                resize=resize,
                run=run,
                resume=resume,
                checkpoint_every=checkpoint_every,
                log_every=log_every,
            )

    def fine_tune(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 5,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float | None = None,
        validation_data: Any = None,
        *,
        freeze_epochs: int = 1,
        rate: float = 0.1,
        decay: float = 0.5,
        freeze_statistics: bool = False,
        seed: int = 0,
        balance: str | None = None,
        augment: Augment | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        log_every: int | None = None,
    ) -> History:
        """Fits a network that has learnt from other pictures: its new class layer first, then all, with lower rates by depth.

        For `freeze_epochs` epochs all but the class layer is frozen. Where the class layer is linear and the pictures lie in
        memory, what comes before it is computed once, without augmentation, so that many such epochs cost as one. Then all
        is trained for `epochs` epochs: the class layer at `rate` times the optimizer's learning rate, the layers before it
        more slowly the deeper they lie (`decay`, see training.transfer.depth_rates), with the statistics of BatchNorms as
        they were where `freeze_statistics`. What `freeze` froze before is let go. The schedule of `compile` is laid over each of
        the two phases; one history has both. The other arguments are those of `fit`.
        """
        pictures.refuse_batches(type(self).__name__, x, validation_data)
        balancing.check(balance)
        fine_tuning.check_epochs(epochs=epochs, freeze_epochs=freeze_epochs)
        if self._net is None:
            warn(
                f"{self.name} has learnt nothing yet, and fine_tune freezes it in its first epochs. "
                "It is for weights from elsewhere. Pass pretrained=..., or call fit."
            )
        given = feed.checked_callbacks(callbacks, epochs)
        folder = None if run is None else os.fspath(run)
        with self._restored_on_failure():
            train, held = self._parts(x, y, validation_data, validation_split)
            return fine_tuning.fine_tune(
                self,
                train,
                held,
                freeze_epochs=freeze_epochs,
                rates=(rate, decay),
                freeze_statistics=freeze_statistics,
                told={
                    "batch_size": batch_size,
                    "verbose": verbose,
                    "callbacks": given,
                    "seed": seed,
                    "balance": balance,
                },
                plan=fine_tuning.Plan(epochs, augment, folder, resume, checkpoint_every, log_every),
            )

    def freeze(self, up_to: str | None = None, *, statistics: bool = True) -> None:
        """Trains only what comes behind the layer `up_to`, or only the class layers; see training.transfer.freeze.

        It lasts until `unfreeze` or `fine_tune`. A file does not keep it: what `lamina.load` gives can learn all over.
        """
        heads = contract.class_layers(self.net) if up_to is None else None
        transfer.freeze(self.net, up_to, heads=heads, statistics=statistics)

    def unfreeze(self) -> None:
        """Trains all of the network again."""
        transfer.unfreeze(self.net)

    @contextlib.contextmanager
    def _restored_on_failure(self) -> Iterator[None]:
        """Where something fails before training begins, the model is as it was: not half made for wrong data."""
        loop, before = self._loop, {name: getattr(self, name) for name in self._learnt}
        try:
            yield
        except Exception:
            if self._loop is loop:
                vars(self).update(before)
            raise

    @abstractmethod
    def _parts(self, x: Any, y: Any, held: Any, fraction: float | None) -> tuple[Any, Any]:
        """Data sets to train on and to validate with, in memory where there is room; `fit` takes them as they are."""

    # The network --------------------------------------------------------------------------------------------------

    @property
    def _own_net(self) -> nn.Module:
        if self._net is None:
            raise self._untrained()
        return self._net

    def _create(self, network: str, outputs: int, *, negative: bool) -> nn.Module:
        """A network by name with so many outputs, which may be negative or need not, for the pictures that the preprocessing gives."""
        assert self.preprocess is not None
        arguments: dict[str, Any] = {}
        if "image_size" in networks.arguments(network):
            height, width = self.preprocess.size
            if height != width:
                raise ShapeError(
                    f"The network {network!r} was given pictures of {height} x {width} px.",
                    "It takes square ones.",
                    "Pass preprocess=Preprocess(size=(28, 28), ...).",
                )
            arguments["image_size"] = height
        net = networks.create(network, num_classes=outputs, in_channels=self.preprocess.channels, **arguments)
        if negative:
            contract.drop_final_relu(net)
        self._check_size(net)
        return net

    def _probe(self) -> Tensor:
        """What the network answers to two blank pictures, with gradients."""
        preprocess = self._prepared()
        self.runtime.place(self._own_net)
        blank = self.runtime.put(torch.zeros(2, preprocess.channels, *preprocess.size, dtype=torch.uint8))
        return probe(self._own_net, (self._prepare()(blank),))[0]

    def _let_negative(self) -> None:
        """A network that is at hand may give negative outputs, whatever its paper has behind the class layer."""
        if self._net is not None:
            contract.drop_final_relu(self.net)

    def _told(self) -> dict[str, Any]:
        """What was compiled, as the step is made of it."""
        return dict(self._compiled or {})

    def _check_size(self, net: nn.Module) -> None:
        """Raises ShapeError for pictures that the network cannot take, and says the smallest."""
        if isinstance(net, Network) and self.preprocess is not None:
            net.check_size(self.preprocess.size)

    def _set_preprocess(self, preprocess: Preprocess) -> None:
        self.preprocess, self._step = preprocess, None

    def _prepare(self) -> Callable[[Tensor], Tensor]:
        if self.preprocess is None:  # a module that was brought along, before the first data
            return super()._prepare()
        return self.preprocess.normalize().to(self.runtime.device)

    def _check(self, data: Arrays) -> None:
        assert self.preprocess is not None
        came, wanted = tuple(data.inputs[0].shape[1:]), (self.preprocess.channels, *self.preprocess.size)
        if came != wanted:
            raise ShapeError(
                f"The pictures have the shape {came} (channels, height, width).",
                f"This {type(self).__name__.lower()} takes {wanted}.",
                "Pass files or a data set, which are resized, or resize the arrays: "
                f"lamina.Preprocess(channels={wanted[0]}, size={wanted[1:]}).stack(x).",
            )

    def summary(self, input_shape: Sequence[int] | None = None, *, show: bool = True) -> Summary:
        """As Model.summary; the shape of the input is that of the pictures, once they are known."""
        if self._net is None:
            raise self._untrained()
        if input_shape is None and self.graph is None and self.preprocess is not None:
            input_shape = (self.preprocess.channels, *self.preprocess.size)
        return super().summary(input_shape, show=show)

    # Using it -----------------------------------------------------------------------------------------------------

    @property
    def engines(self) -> Engines:
        """What `predict` may ask instead of the network in torch, on a processor; see models.answering.

        `engine` is "auto", "torch", "onnxruntime", "openvino" or "compiled". "auto" begins with torch; where so many pictures are
        left that it pays, the fastest that is installed goes on, and that is said. What it takes to build is kept until the
        weights change. `precision` "bfloat16" or "int8" lets engines join that compute so, if they keep 99 % of the classes on
        the first pictures. The last digits of answers may change when another engine goes on: "torch" keeps them. `evaluate` and `fit`
        are torch's.
        """
        return self._engines

    # Leaving ------------------------------------------------------------------------------------------------------

    def _deployable(self, example: Any = None) -> Deployable:
        """The network from uint8 pictures (B C H W) to answers, and what is known of it; `example` is a batch of two pictures."""
        preprocess = self._prepared()
        if example is None:
            noise = torch.Generator().manual_seed(0)
            example = torch.randint(
                0, 256, (2, preprocess.channels, *preprocess.size), generator=noise, dtype=torch.uint8
            )
        return Deployable(
            self._own_net,
            preprocess.normalize(),
            self._finish(),
            (torch.as_tensor(example)[:2],),
            answers=(self.answers,),
            preprocess=preprocess,
            description=self._description(),
        )

    @abstractmethod
    def results(self, answers: np.ndarray[Any, Any], sources: Sequence[Any] = ()) -> list[Any]:
        """Typed results of the answers of a deployed network (B ...), in the order of the pictures that `sources` names."""

    def _note_lent(self, lent: Borrowed) -> None:
        """Remembers where borrowed weights come from, and takes their preprocessing where nobody told another; a guess is said."""
        if self.runtime.world.is_main:
            for text in lent.notes(self.preprocess):
                print(f"{self.name}: {text}", file=sys.stderr)
        self.began_with = lent.told()
        self.preprocess = self.preprocess or lent.preprocess

    def _note(self, train: Any, split: dict[str, Any]) -> None:
        """Remembers what is trained on, and what was held out of it."""
        self.split, self.learnt_from = split, card.told_of_data(train)

    def _facts(self) -> dict[str, Any]:
        """What a file tells of the training: where it began, on what, what was held out, and the newest figures."""
        figures = self._figures
        if self.history is not None and self.history.epoch:
            newest = {name: told[-1] for name, told in self.history.history.items() if told}
            figures = {"metrics": newest, "epoch": self.history.epoch[-1] + 1}
        told = {"began_with": self.began_with, "learnt_from": self.learnt_from}
        told_of = {name: value for name, value in told.items() if value}
        return {**told_of, "split": self.split, "metrics": {}, **figures}

    def _recall(self, described: Mapping[str, Any]) -> None:
        """Takes back what `_facts` told; the figures stand until training gives others."""
        self._figures = {name: described[name] for name in ("metrics", "epoch") if described.get(name)}
        self.split = described.get("split", {})
        self.began_with, self.learnt_from = described.get("began_with", {}), described.get("learnt_from", {})

    @abstractmethod
    def _finish(self) -> nn.Module:
        """From what the network gives to answers: probabilities, or numbers in their unit."""

    @abstractmethod
    def _prepared(self) -> Preprocess:
        """The preprocessing of a model that has met its data. Raises LaminaError for others."""

    @abstractmethod
    def _untrained(self) -> LaminaError:
        """The error of a model that has met neither data nor a file."""


def _check_kind(network: object) -> None:
    """Raises LaminaError for what is no network: most often a class or function that makes one, without its parentheses."""
    if isinstance(network, str | nn.Module | Model):
        return
    name = getattr(network, "__name__", type(network).__name__)
    raise LaminaError(
        f"The network is {f'the function or class {name}' if callable(network) else repr(network)}.",
        "A name of lamina.networks, a torch module or a Model made of layers was expected.",
        f"Call it: {name}()." if callable(network) else f"Known names: {', '.join(networks.names()[:4])}, ...",
    )
