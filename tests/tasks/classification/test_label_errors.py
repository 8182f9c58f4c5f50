"""Wrong labels found by Classifiers that are trained for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.data import ImageDataset
from lamina.optimizers import Adam

NAMES = ("dark", "middle", "bright")


def pictures(count: int = 120, *, size: int = 8) -> tuple[ImageDataset, list[int]]:
    """Squares of three brightnesses, of which every tenth is labelled as the next one."""
    truth = torch.arange(count) % 3
    noise = torch.randint(0, 20, (count, 1, size, size), generator=torch.Generator().manual_seed(0))
    at = list(range(0, count, 10))
    labels = truth.clone()
    labels[at] = (truth[at] + 1) % 3
    return ImageDataset((truth.view(-1, 1, 1, 1) * 100 + noise).to(torch.uint8), labels, NAMES, name="squares"), at


def untrained() -> lamina.Classifier:
    torch.manual_seed(0)
    classifier = lamina.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)))
    classifier.compile(Adam(learning_rate=0.01), device="cpu", precision="float32")
    return classifier


def test_a_classifiers_copies_find_the_flipped_labels_and_it_stays_untrained() -> None:
    data, at = pictures()
    classifier = untrained()
    before = [parameter.clone() for parameter in classifier._network.parameters()]  # type: ignore[union-attr]
    found = lamina.find_label_errors(data, model=classifier, epochs=8, batch_size=16, verbose=0)
    assert set(found.indices.tolist()) <= set(at)
    assert len(found.suspects) >= 10  # of 12: as many as the estimated rate has room for
    assert all((s.likely + 1) % 3 == s.label for s in found.suspects)
    assert classifier.history is None
    after = classifier._network.parameters()  # type: ignore[union-attr]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_the_same_seed_finds_the_same_and_a_run_goes_on_with_what_it_kept(tmp_path: Path) -> None:
    data, _ = pictures()
    told = {"epochs": 2, "batch_size": 16, "verbose": 0}
    first = lamina.find_label_errors(data, model=untrained(), run=tmp_path, **told)
    assert len(list(tmp_path.glob("fold-*-of-4.npz"))) == 4
    again = lamina.find_label_errors(data, model=untrained(), **told)
    kept = lamina.find_label_errors(data, model=untrained(), run=tmp_path, **told)
    assert np.array_equal(first.probs, again.probs)
    assert np.array_equal(first.probs, kept.probs)
    with pytest.raises(LaminaError, match="epochs 2 instead of 3"):
        lamina.find_label_errors(data, model=untrained(), run=tmp_path, **{**told, "epochs": 3})


def test_a_folder_is_examined_by_its_path_with_a_network_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, at = pictures(60, size=28)
    for index, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        path = tmp_path / NAMES[label] / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    found = lamina.find_label_errors(tmp_path, folds=2, epochs=6, batch_size=8, verbose=1)
    assert {int(Path(suspect.origin).stem) for suspect in found.suspects} == set(at[:6])
    assert "Fold 2 of 2: learnt 30 pictures, and of 30 others agrees with" in capsys.readouterr().out


def head_of_five(tmp_path: Path) -> Path:
    """The file of a small network that tells five other classes."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 5))
    path = tmp_path / "five.npz"
    np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    return path


def borrowing(file: Path, classes: tuple[str, ...] | None = None) -> lamina.Classifier:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 5))
    preprocess = lamina.Preprocess(channels=1, size=(8, 8), mean=(0.5,), std=(0.3,))
    made = lamina.Classifier(net, pretrained=file, preprocess=preprocess, classes=classes)
    made.compile(Adam(learning_rate=0.1), device="cpu", precision="float32")
    return made


@pytest.mark.parametrize("classes", [None, NAMES])
def test_a_classifier_with_weights_from_elsewhere_is_fine_tuned_in_each_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...] | None
) -> None:
    tuned = []
    fine_tune = lamina.Classifier.fine_tune

    def counted(self: lamina.Classifier, *args: object, **told: object) -> object:
        tuned.append(self)
        return fine_tune(self, *args, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(lamina.Classifier, "fine_tune", counted)
    data, at = pictures()
    model = borrowing(head_of_five(tmp_path), classes)
    found = lamina.find_label_errors(data, model=model, folds=2, epochs=12, batch_size=16, verbose=0)
    assert len(tuned) == 2
    assert len({id(each) for each in (*tuned, model)}) == 3
    assert set(found.indices.tolist()) <= set(at)
    assert len(found.suspects) >= 8


def test_a_search_does_not_go_on_with_the_folds_of_other_weights(tmp_path: Path) -> None:
    data, _ = pictures()
    told = {"folds": 2, "epochs": 1, "batch_size": 32, "verbose": 0, "run": tmp_path / "kept"}
    lamina.find_label_errors(data, model=borrowing(head_of_five(tmp_path)), **told)
    with pytest.raises(LaminaError, match=r"weights [0-9a-f]+ instead of"):
        lamina.find_label_errors(data, model=borrowing(head_of_five(tmp_path)), **told)


def test_what_has_seen_the_labels_or_gives_several_is_refused() -> None:
    data, _ = pictures()
    trained = untrained()
    trained.fit(data, epochs=1, verbose=0)
    with pytest.raises(LaminaError, match="has been trained"):
        lamina.find_label_errors(data, model=trained)
    several = lamina.Classifier(nn.Linear(1, 3), multi_label=True)
    with pytest.raises(LaminaError, match="several labels"):
        lamina.find_label_errors(data, model=several)
    with pytest.raises(DataError, match="several labels"):
        lamina.find_label_errors(ImageDataset(data.images, torch.eye(3)[data.labels].long(), NAMES))
    with pytest.raises(UnknownNameError):
        lamina.find_label_errors(data, model="resnet81")
    with pytest.raises(LaminaError, match="no data set"):
        lamina.find_label_errors("minst")
