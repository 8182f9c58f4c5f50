"""Ensemble: several classifiers that answer as one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lamina.core.errors import DataError, FileFormatError, LaminaError, UnknownNameError, listed
from lamina.core.warnings import warn
from lamina.data.splits import Splits
from lamina.export import Deployable
from lamina.models import ensemble, file, pictures
from lamina.models.comparison import Comparison
from lamina.models.ensemble import Average, MeanOf
from lamina.models.exporting import Exporting
from lamina.structures.results import Classification, check_threshold
from lamina.tasks.classification import inputs, views
from lamina.tasks.classification.decode import decode
from lamina.tasks.classification.model import Classifier

Location = str | os.PathLike[str]

_TEST_NAMES, _TRAINING_NAMES = ("test", "t10k", "testing"), ("train", "training")  # of folders


class Ensemble(Exporting):
    """The weighted mean of what several classifiers answer.

    `members` are classifiers, model files or run folders; or one folder of model files, such as the snapshots of a run (see
    `lamina.callbacks.Snapshots`). They may differ in network, picture size and preprocessing, but know the same
    classes, whose order may differ. `average` is of "probs" or "logits"; `weights` are equal unless told or learned.
    """

    def __init__(
        self,
        members: Sequence[Classifier | Location] | Location,
        *,
        weights: Sequence[float] | None = None,
        average: Average = "probs",
    ) -> None:
        if average not in ("probs", "logits"):
            raise UnknownNameError(
                f"average is {average!r}.", "It is 'probs' or 'logits'.", "Leave it out for probabilities."
            )
        given = member_files(members) if isinstance(members, str | os.PathLike) else list(members)
        if not given:
            raise LaminaError("An ensemble of no members came.", "One or more were expected.", "Pass their files.")
        self.members = [member if isinstance(member, Classifier) else _opened(member) for member in given]
        self.names = _distinct([_name(member) for member in given])
        self.average = average
        for name, member in zip(self.names, self.members, strict=True):
            if getattr(member, "multi_label", False):
                raise LaminaError(
                    f"{name} gives several labels to a picture.",
                    "An ensemble averages probabilities of classes, of which each picture has one.",
                    "Average the members' predict_probs yourself.",
                )
            member._prepared()
        self.classes = tuple(self.members[0].classes or ())
        self._orders = [self._order(name, m) for name, m in zip(self.names, self.members, strict=True)]
        self.weights = ensemble.checked_weights(weights, len(self.members))
        self._learned_on = ""

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self.members)} classifiers, {len(self.classes)} classes>"

    @property
    def split(self) -> dict[str, Any]:
        """How validation was held out of the training pictures, where all members did it alike."""
        first = self.members[0].split
        return first if all(member.split == first for member in self.members) else {}

    def predict_probs(self, x: Any, batch_size: int = 256, *, tta: Any = None) -> np.ndarray[Any, Any]:
        """The probability of each class (N K, float32) for pictures, files, a folder, arrays or a data set."""
        return self._seen(x, tta=tta, batch_size=batch_size)[0]

    def predict(
        self,
        x: Any,
        batch_size: int = 256,
        *,
        threshold: float | None = None,
        on_error: pictures.OnError = "raise",
        tta: Any = None,
    ) -> Any:
        """The class of a picture (one Classification), or of several (a list); as Classifier.predict."""
        if threshold is not None:
            check_threshold(threshold)
        probs, sources = self._seen(x, tta=tta, batch_size=batch_size, on_error=on_error)
        results: list[Classification] = decode(probs, self.classes, sources, threshold=threshold)
        return results[0] if pictures.is_single(x, self.members[0]._prepared().channels) else results

    def evaluate(self, x: Any, y: Any = None, batch_size: int = 256, *, tta: Any = None) -> dict[str, float]:
        """Cross-entropy, and the metrics of the first member, on the part of the data that Classifier.evaluate measures."""
        return dict(self.compare(x, y, batch_size, tta=tta).figures[-1])

    def compare(self, x: Any, y: Any = None, batch_size: int = 256, *, tta: Any = None) -> Comparison:
        """The figures of each member, of the ensemble, and what it gains over the best of them; prints itself as a table."""
        dataset = inputs.labelled(x, y, self.classes) if y is not None else self._measured(x)
        probs, labels = self._answers(dataset, tta=tta, batch_size=batch_size)
        if self._learned_on and self._learned_on == _content(probs, labels):
            warn(
                "The ensemble is measured on the very pictures that its weights were learned on. "
                "Its figures flatter it. Measure it on others, such as the test set."
            )
        told = {"loss": "sparse_categorical_crossentropy", "metrics": (self.members[0]._compiled or {}).get("metrics")}
        whole = ensemble.combine(probs, self.weights, average=self.average)
        rows = [ensemble.figures(told, each, labels) for each in (*probs, whole)]
        title = f"ensemble, mean of {'probabilities' if self.average == 'probs' else self.average}"
        return Comparison([*self.names, title], rows, [*(f"{w:.3f}" for w in self.weights), ""], "weight")

    def learn_weights(self, x: Any, y: Any = None, batch_size: int = 256) -> tuple[float, ...]:
        """Sets the convex weights of least cross-entropy on validation pictures, and gives them.

        Of a data set of several parts its validation part is taken, or what all members held out of training. Raises DataError
        where there is neither, and for a test set as far as it can be told from others: to choose by it would spoil it.
        """
        dataset = inputs.labelled(x, y, self.classes) if y is not None else self._validation(x)
        probs, labels = self._answers(dataset, tta=None, batch_size=batch_size)
        self.weights = ensemble.learned_weights(probs, labels, average=self.average)
        self._learned_on = _content(probs, labels)
        return self.weights

    # Data ---------------------------------------------------------------------------------------------------------

    def _measured(self, x: Any) -> Any:
        name, part = inputs.measured(x, self.split)
        if name == "train" and any("of" in member.split for member in self.members):
            raise DataError(
                "The data has training pictures alone, and the members held out different ones of them.",
                "An ensemble is measured on pictures that no member was trained on.",
                "Pass other pictures, or train all members on the same data with the same validation_split.",
            )
        return inputs.checked_set(part)

    def _validation(self, x: Any) -> Any:
        splits = inputs.resolve(x)
        if not isinstance(splits, Splits):
            return inputs.checked_set(splits)
        if splits.validation is not None:
            return splits.validation
        train, name = splits.train, splits.name or "The data"
        if train is None or name.lower() in _TEST_NAMES:
            raise DataError(
                f"{name} is a test set.",
                "Weights are learned on validation pictures: what is chosen by a test set is not measured by it any more.",
                "Pass a validation set: ensemble.learn_weights(validation).",
            )
        if inputs.was_split(train, self.split):
            return inputs.measured(Splits(train, None, name=splits.name), self.split)[1]
        differently = any(inputs.was_split(train, member.split) for member in self.members)
        if splits.test is None and name.lower() not in _TRAINING_NAMES and not differently:
            return train  # a plain folder, which is no part of anything
        raise DataError(
            f"{name} has no validation pictures, and the members held out none of its training pictures, or different ones.",
            "Weights are learned on pictures that no member was trained on, and that are no test set.",
            "Pass a validation set: ensemble.learn_weights(validation).",
        )

    def _answers(self, dataset: Any, *, tta: Any, batch_size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Each member's probabilities (M N K) and the labels (N), both in the order of `classes`."""
        if set(dataset.classes) != set(self.classes):
            raise LaminaError(
                f"The data has the classes {listed(dataset.classes)}.",
                f"This ensemble knows {listed(self.classes)}.",
                "Measure it on these classes.",
            )
        probs, labels = views.answers(self.members, dataset, tta=tta, batch_size=batch_size)
        places = np.array([self.classes.index(name) for name in dataset.classes])
        return self._aligned(probs), places[labels]

    def _seen(self, x: Any, **options: Any) -> tuple[np.ndarray[Any, Any], list[Any]]:
        answers = [views.seen(member, x, **options) for member in self.members]
        probs = self._aligned([probs for probs, _ in answers])
        return ensemble.combine(probs, self.weights, average=self.average), answers[0][1]

    def _aligned(self, probs: Any) -> np.ndarray[Any, Any]:
        return np.stack([each[:, order] for each, order in zip(probs, self._orders, strict=True)])

    def _order(self, name: str, member: Classifier) -> list[int]:
        """Where the member has each class of the ensemble."""
        own = list(member.classes or ())
        if sorted(own) != sorted(self.classes):
            differing = sorted(set(own) ^ set(self.classes))
            raise LaminaError(
                f"{name} knows the classes {listed(own)}, and {self.names[0]} {listed(self.classes)}.",
                f"All members know the same classes; {listed(differing)} {'differs' if len(differing) == 1 else 'differ'}.",
                "Leave that member out, or train it on the same classes.",
            )
        return [own.index(each) for each in self.classes]

    # Keeping ------------------------------------------------------------------------------------------------------

    def save(self, path: Location) -> Path:
        """Writes one file that holds all members, which `lamina.load` opens; the members' own files are not needed then."""
        with tempfile.TemporaryDirectory() as folder:
            described = [file.read(m.save(Path(folder) / "member.safetensors")).description for m in self.members]
        description = {
            "kind": "ensemble",
            "members": described,
            "names": self.names,
            "weights": self.weights,
            "average": self.average,
        }
        return file.write(path, nn.ModuleList([member.net for member in self.members]), description)

    def deployable(self, example: Any = None) -> Deployable:
        """All members as one network, from uint8 pictures (B C H W) to probabilities. Raises LaminaError where they prepare unlike."""
        parts = [member.deployable(example) for member in self.members]
        for name, part in zip(self.names, parts, strict=True):
            if part.preprocess != parts[0].preprocess:
                raise LaminaError(
                    f"{name} prepares pictures otherwise than {self.names[0]}: {part.preprocess} and {parts[0].preprocess}.",
                    "One file gets one kind of pictures.",
                    "Export the members one by one, or train them with the same preprocess=.",
                )
        answering = [nn.Sequential(part.net, part.finish) for part in parts]
        net = MeanOf(answering, self._orders, self.weights, average=self.average)
        described = {"kind": "ensemble", "classes": list(self.classes), "network": {"name": "ensemble"}}
        return replace(parts[0], net=net, finish=nn.Identity(), description=described)

    def results(self, answers: np.ndarray[Any, Any], sources: Sequence[Any] = ()) -> list[Classification]:
        """A Classification of each row of probabilities (B K), as Classifier.results."""
        return decode(answers, self.classes, sources)

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Ensemble:
        """The ensemble that `save` wrote; see `lamina.load`."""
        told = contents.description
        members = []
        for index, described in enumerate(told["members"]):
            prefix = f"{index}."
            own = {k.removeprefix(prefix): v for k, v in contents.tensors.items() if k.startswith(prefix)}
            members.append(Classifier.from_file(file.Contents(contents.path, described, own), modules=modules))
        made = cls(members, weights=told["weights"], average=told["average"])
        made.names = list(told["names"])
        return made


def member_files(folder: Location) -> list[Path]:
    """The model files of a folder in the order of their names; of a run's folder its best model, or its last. A file is itself."""
    path = Path(folder)
    if not path.exists():
        raise LaminaError(f"There is no file or folder {path}.", "Model files were expected.", "Check the path.")
    if not path.is_dir():
        return [path]
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return [path / name]
    found = sorted(path.glob("*.safetensors"))
    if not found:
        raise LaminaError(
            f"{path} holds no model files.",
            "Files such as epoch_005.safetensors were expected.",
            "Keep the models of a run by callbacks=[lamina.callbacks.Snapshots(folder, every=5)].",
        )
    return found


def _opened(path: Any) -> Classifier:
    if not isinstance(path, str | os.PathLike):
        raise LaminaError(
            f"A member of the ensemble is {path!r}."
            if not isinstance(path, type)
            else f"A member is the class {path.__name__}.",
            "Classifiers, model files or run folders were expected.",
            "Pass what lamina.load(path) gives, or the path.",
        )
    found = member_files(path)
    if len(found) > 1:
        raise LaminaError(
            f"{path} is a folder of {len(found)} model files, beside other members.",
            "Each member is one model.",
            f"Pass the folder alone, Ensemble({str(path)!r}), or name its files.",
        )
    contents = file.read(found[0])
    with file.understanding(contents.path):
        if contents.description.get("kind") != "classifier":
            raise FileFormatError(
                f"{contents.path} holds a {contents.description.get('kind')!r}.",
                "The members of an ensemble are classifiers.",
                "Name a file that Classifier.save or `lamina train` wrote.",
            )
        return Classifier.from_file(contents)


def _name(member: Any) -> str:
    return member.name if isinstance(member, Classifier) else os.fspath(member)


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where one comes twice."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _content(probs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> str:
    """What tells these answers from those to other pictures."""
    return hashlib.sha256(np.ascontiguousarray(probs).tobytes() + labels.tobytes()).hexdigest()
