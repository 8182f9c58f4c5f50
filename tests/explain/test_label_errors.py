"""Suspect labels: what is found, how it is told, shown and cleaned, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.data import FolderDataset, ImageDataset, Splits
from lamina.explain import label_errors
from lamina.training.callback import Interrupted

NAMES = ("dark", "middle", "bright")


def pictures(count: int = 60, *, wrong: int = 6) -> tuple[ImageDataset, list[int]]:
    """Squares of three brightnesses, some labelled as the next one; and which."""
    truth = torch.arange(count) % 3
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 20, (count, 1, 8, 8), generator=generator)
    images = (truth.view(-1, 1, 1, 1) * 100 + noise).to(torch.uint8)
    at = list(range(0, count, count // wrong))[:wrong]
    labels = truth.clone()
    labels[at] = (truth[at] + 1) % 3
    return ImageDataset(images, labels, NAMES, name="squares"), at


class Looking:
    """A model that tells brightness by what its part of the data calls most squares of it."""

    def __init__(self, part: ImageDataset) -> None:
        counts = np.ones((3, 3)) * 0.01
        np.add.at(counts, (self._seen(part.images), part.labels.numpy()), 1)
        self.probs = counts / counts.sum(1, keepdims=True)

    @staticmethod
    def _seen(images: Any) -> np.ndarray[Any, Any]:
        return np.asarray(images, np.float64).mean(axis=(1, 2, 3)).astype(int) // 100

    def predict_probs(self, images: Any) -> np.ndarray[Any, Any]:
        return self.probs[self._seen(images)]


def looking(part: ImageDataset, *, seed: int) -> Looking:
    return Looking(part)


def folder(tmp_path: Path) -> tuple[FolderDataset, list[int]]:
    """The same squares as files in folders by class."""
    data, at = pictures()
    for index, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        path = tmp_path / "squares" / NAMES[label] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    opened = lamina.data.open(tmp_path / "squares").train
    return opened, [i for i in range(len(opened)) if int(Path(opened.paths.name(i)).stem) in at]


def test_the_flipped_labels_are_found_with_what_they_truly_are() -> None:
    data, at = pictures()
    found = label_errors.find(data, train=looking, verbose=False)
    assert sorted(found.indices.tolist()) == at
    for suspect in found.suspects:
        assert (suspect.likely + 1) % 3 == suspect.label
        assert suspect.self_confidence < 0.2 < 0.8 < suspect.confidence
        assert suspect.margin == pytest.approx(suspect.confidence - suspect.self_confidence)
    assert found.noise_rate == pytest.approx(0.1, abs=0.01)
    assert found.joint.sum() == pytest.approx(1)


def chance(agreement: float, shares: tuple[float, ...]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Probabilities that agree with this share of each class's labels, and else tell the next class."""
    labels = np.repeat(np.arange(len(shares)), np.rint(1000 * np.array(shares)).astype(int))
    agrees = np.arange(len(labels)) % 100 < 100 * agreement
    told = np.where(agrees, labels, (labels + 1) % len(shares))
    return 0.1 / len(shares) + 0.9 * np.eye(len(shares))[told], labels


def test_a_model_that_agrees_little_more_than_the_largest_class_is_said_to_have_learnt_too_little() -> None:
    probs, labels = chance(0.59, (0.51, 0.49))
    with pytest.warns(UserWarning, match=r"learnt too little to judge\. Train longer \(epochs=\.\.\.\)") as caught:
        found = label_errors.from_probs(probs, labels, classes=("ants", "bees"))
    assert len(caught) == 1
    said = "The network agrees with 59.00 % of the labels, and always answering ants with 51.00 %"
    assert str(found).startswith(said)
    assert (found.agreement, found.largest, found.is_learnt) == (pytest.approx(0.59), pytest.approx(0.51), False)
    assert found.to_dict()["is_learnt"] is False


@pytest.mark.parametrize(("agreement", "shares"), [(0.88, (0.5, 0.5)), (0.6, (0.1,) * 10), (0.7, (0.51, 0.49))])
def test_a_good_model_of_noisy_labels_is_trusted(agreement: float, shares: tuple[float, ...]) -> None:
    found = label_errors.from_probs(*chance(agreement, shares))  # a warning would be an error here
    assert found.is_learnt
    assert "too little" not in str(found)


def test_a_search_whose_models_learnt_nothing_warns() -> None:
    data, _ = pictures()

    class Guessing:
        def predict_probs(self, images: Any) -> np.ndarray[Any, Any]:
            return np.full((len(images), 3), 1 / 3)

    with pytest.warns(UserWarning, match="too little to judge"):
        label_errors.find(data, train=lambda part, seed: Guessing(), verbose=False)


def test_each_sample_is_judged_by_a_model_that_did_not_learn_it() -> None:
    data, _ = pictures()
    data.images[:, 0, 0, 0] = torch.arange(60).to(torch.uint8)  # tells which sample it is
    learnt: list[set[int]] = []
    judged: list[int] = []

    class Spy(Looking):
        def __init__(self, part: ImageDataset) -> None:
            super().__init__(part)
            self.mine = set(part.images[:, 0, 0, 0].tolist())
            learnt.append(self.mine)

        def predict_probs(self, images: Any) -> np.ndarray[Any, Any]:
            asked = np.asarray(images)[:, 0, 0, 0].tolist()
            assert not self.mine & set(asked)
            judged.extend(asked)
            return super().predict_probs(images)

    label_errors.find(data, train=lambda part, seed: Spy(part), folds=5, verbose=False)
    assert sorted(judged) == list(range(60))
    assert [len(part) for part in learnt] == [48] * 5


def test_the_most_suspect_come_first_and_a_tie_goes_by_place() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.05, 0.95], [0.1, 0.9], [0.3, 0.7], [0.95, 0.05]])
    with pytest.warns(UserWarning, match="agrees with 57.14 %"):  # four of seven, and class 0 has four
        found = label_errors.from_probs(probs, np.array([0, 0, 1, 0, 0, 1, 1]), prune="noise_rate")
    assert [suspect.index for suspect in found.suspects] == [3, 6, 4]
    margins = [suspect.margin for suspect in found.suspects]
    assert margins == sorted(margins, reverse=True)


def test_it_prints_itself_and_becomes_a_dict_and_a_table(tmp_path: Path) -> None:
    data, at = folder(tmp_path)
    found = label_errors.find(data, train=trained_on_files, verbose=False)
    text = str(found)
    assert text.startswith("6 of 60 labels are suspect (10.00 %)")
    assert data.paths.name(at[0]) in text
    told = json.loads(json.dumps(found.to_dict()))
    assert [row["index"] for row in told["suspects"]] == found.indices.tolist()
    assert told["suspects"][0]["label"] in NAMES
    with found.to_csv(tmp_path / "out" / "suspects.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["index"]) for row in rows] == found.indices.tolist()
    assert all(Path(row["origin"]).is_file() and row["label"] == Path(row["origin"]).parent.name for row in rows)


class OfFiles(Looking):
    """As Looking, of files that it prepares by itself."""

    preprocess = lamina.Preprocess(channels=1, size=(8, 8), mean=(0.0,), std=(1.0,))

    def __init__(self, part: FolderDataset) -> None:
        super().__init__(part.in_memory(self.preprocess))


def trained_on_files(part: FolderDataset, *, seed: int) -> OfFiles:
    return OfFiles(part)


def test_the_gallery_is_one_page_that_needs_nothing_and_a_grid(tmp_path: Path) -> None:
    data, at = folder(tmp_path)
    found = label_errors.find(data, train=trained_on_files, verbose=False)
    page = found.gallery(tmp_path / "gallery" / "suspects.html")
    text = page.read_text(encoding="utf-8")
    assert "Not to be trusted" not in text
    assert text.count('<img class="crisp" src="data:image/png;base64,') == 6
    assert "http" not in text.replace("http-equiv", "")
    assert all(f"{int(Path(data.paths.name(index)).stem):02d}.png" in text for index in at)
    with Image.open(page.with_suffix(".png")) as grid:
        assert grid.width > 300
        assert len(grid.convert("RGB").getcolors(1 << 20)) > 10


def test_a_gallery_of_many_shows_the_first_and_says_so(tmp_path: Path) -> None:
    data, _ = pictures()
    page = label_errors.find(data, train=looking, verbose=False).gallery(tmp_path / "suspects.html", shown=2)
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure>") == 2
    assert "2 of 6 are shown" in text


def test_a_gallery_without_suspects_says_that_all_is_well(tmp_path: Path) -> None:
    data, _ = pictures(wrong=1)
    right = ImageDataset(data.images, torch.arange(60) % 3, NAMES)
    found = label_errors.find(right, train=looking, verbose=False)
    assert not found.suspects
    assert str(found) == "0 of 60 labels are suspect (0.00 %); by estimate 0.00 % are wrong."
    page = found.gallery(tmp_path / "suspects.html")
    assert "Every label agrees" in page.read_text(encoding="utf-8")
    assert page.with_suffix(".png").exists()


def test_names_of_classes_and_files_are_text_not_markup(tmp_path: Path) -> None:
    data, _ = pictures()
    hostile = ImageDataset(
        data.images, data.labels, ("<b>", "a&b", '"'), sources=[f"<script>{i}</script>" for i in range(60)]
    )
    text = label_errors.find(hostile, train=looking, verbose=False).gallery(tmp_path / "s.html").read_text()
    assert "<script>" not in text
    assert "<b></b>" not in text


def test_clean_leaves_the_suspects_out_or_corrects_them_and_the_data_stays_as_it_was() -> None:
    data, at = pictures()
    before = data.labels.clone()
    found = label_errors.find(data, train=looking, verbose=False)
    rest = found.clean()
    assert len(rest) == 54
    assert torch.equal(rest.labels, (torch.arange(60) % 3)[[i for i in range(60) if i not in at]])
    corrected = found.clean(correct=True)
    assert torch.equal(corrected.labels, torch.arange(60) % 3)
    assert torch.equal(corrected.images, data.images)
    assert torch.equal(data.labels, before)


def test_of_splits_the_training_part_is_examined_and_cleaned() -> None:
    data, _ = pictures()
    splits = Splits(train=data, test=data.subset(range(9)), name="squares")
    found = label_errors.find(splits, train=looking, verbose=False)
    cleaned = found.clean(splits)
    assert (len(cleaned.train), len(cleaned.test)) == (54, 9)


def test_the_cleaned_list_is_a_table_that_opens(tmp_path: Path) -> None:
    data, at = folder(tmp_path)
    found = label_errors.find(data, train=trained_on_files, verbose=False)
    listed = found.cleaned_list(tmp_path / "out" / "cleaned.csv")
    with listed.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 54
    assert {row["file"] for row in rows}.isdisjoint({str(data.paths[i]) for i in at})
    kept = {str(path) for path in found.clean().paths}
    for where in (listed, found.cleaned_list(tmp_path / "cleaned.csv")):  # beside the pictures, and above them
        opened = lamina.data.open(where)
        assert {str(path) for path in opened.train.paths} == kept
        assert opened.classes == tuple(sorted(NAMES))
    assert not Path(where.read_text().splitlines()[1]).is_absolute()
    corrected = found.cleaned_list(tmp_path / "out" / "corrected.csv", correct=True)
    opened = lamina.data.formats.table.open_table(corrected, pictures=tmp_path / "squares")
    truth = {path.name: NAMES[int(path.stem) % 3] for path in data.paths}
    assert {p.name: opened.classes[k] for p, k in zip(opened.train.paths, opened.train.labels, strict=True)} == truth


def test_other_data_than_was_examined_is_refused() -> None:
    data, _ = pictures()
    found = label_errors.find(data, train=looking, verbose=False)
    for other in (
        data.subset(range(30)),
        ImageDataset(data.images, 2 - data.labels, NAMES),
        Splits(train=data.subset(range(30)), test=None),
    ):
        with pytest.raises(DataError, match="that were examined"):
            found.clean(other)
    with pytest.raises(DataError, match="data="):
        label_errors.from_probs(found.probs, found.labels).gallery("nowhere.html")


def test_unreadable_files_are_left_out_and_named(tmp_path: Path) -> None:
    data, at = folder(tmp_path)
    spoilt = next(i for i in range(len(data)) if i not in at)
    Path(data.paths.name(spoilt)).write_bytes(b"no picture")

    class Careful(OfFiles):
        def __init__(self, part: FolderDataset) -> None:
            super().__init__(
                part.subset([i for i in range(len(part)) if part.paths.name(i) != data.paths.name(spoilt)])
            )

    with pytest.warns(UserWarning, match=rf"1 of 15 pictures.*\n.*{Path(data.paths.name(spoilt)).name}"):
        found = label_errors.find(data, train=lambda part, seed: Careful(part), verbose=False)
    assert len(found.labels) == 59
    assert spoilt not in found.positions
    assert sorted(found.indices.tolist()) == at
    assert len(found.clean()) == 54


def test_folds_that_are_done_are_kept_and_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, at = pictures()
    trained = []

    def stopped(part: ImageDataset, *, seed: int) -> Looking:
        trained.append(seed)
        if len(trained) == 3:
            raise Interrupted("Stopped by Ctrl-C in epoch 1 of 5.")
        return Looking(part)

    with pytest.raises(
        Interrupted, match=r"(?s)epoch 1 of 5.*2 of 4 folds are done, and kept in .*the same call goes on"
    ):
        label_errors.find(data, train=stopped, run=tmp_path / "run")
    found = label_errors.find(data, train=stopped, run=tmp_path / "run")
    assert len(trained) == 5  # the third fold twice
    assert len(set(trained)) == 4
    assert sorted(found.indices.tolist()) == at
    assert "Fold 2 of 4: kept in" in capsys.readouterr().out
    whole = label_errors.find(data, train=looking, verbose=False)
    assert np.array_equal(found.probs, whole.probs)


def test_without_a_run_an_interrupt_says_what_would_keep_the_folds() -> None:
    def stopped(part: ImageDataset, *, seed: int) -> Looking:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="0 of 4 folds are done; run=FOLDER"):
        label_errors.find(pictures()[0], train=stopped, verbose=False)


def test_a_run_of_other_labels_or_settings_is_refused(tmp_path: Path) -> None:
    data, _ = pictures()
    label_errors.find(data, train=looking, run=tmp_path, settings={"epochs": 5}, verbose=False)
    with pytest.raises(LaminaError, match="epochs 5 instead of 6"):
        label_errors.find(data, train=looking, run=tmp_path, settings={"epochs": 6}, verbose=False)
    data.labels = 2 - data.labels
    with pytest.raises(LaminaError, match="labels"):
        label_errors.find(data, train=looking, run=tmp_path, settings={"epochs": 5}, verbose=False)


def test_a_damaged_fold_is_trained_again(tmp_path: Path) -> None:
    data, at = pictures()
    label_errors.find(data, train=looking, run=tmp_path, verbose=False)
    (tmp_path / "fold-2-of-4.npz").write_bytes(b"PK half of it")
    with pytest.warns(UserWarning, match="fold-2-of-4.npz is damaged"):
        found = label_errors.find(data, train=looking, run=tmp_path, verbose=False)
    assert sorted(found.indices.tolist()) == at


@pytest.mark.parametrize("labels", [np.zeros((4, 3), int), torch.zeros(4, 3, dtype=torch.int64)])
def test_several_labels_a_picture_are_refused(labels: Any) -> None:
    with pytest.raises(DataError, match="several labels"):
        label_errors.from_probs(np.full((4, 3), 1 / 3), labels)
    several = ImageDataset(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, 3, dtype=torch.int64), NAMES)
    with pytest.raises(DataError, match="several labels"):
        label_errors.find(several, train=looking)


@pytest.mark.parametrize(
    ("probs", "labels", "said"),
    [
        ([[2.0, -1.0], [0.5, 0.5]], [0, 1], "no probabilities; row 0"),
        ([[0.4, 0.4], [0.5, 0.5]], [0, 1], "row 0 sums to 0.8"),
        ([[0.5, 0.5], [np.nan, 0.5]], [0, 1], "not finite"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 2], "name no class"),
        ([[0.5, 0.5], [0.5, 0.5]], [0.0, 1.0], "float64 numbers"),
        ([[0.5, 0.5], [0.5, 0.5]], [0], "probs has shape"),
        ([[0.5, 0.5]], None, "without labels"),
    ],
)
def test_what_are_no_probabilities_and_labels_is_refused(probs: Any, labels: Any, said: str) -> None:
    with pytest.raises(LaminaError, match=said):
        label_errors.from_probs(np.array(probs), None if labels is None else np.array(labels))


def test_settings_without_sense_are_refused_before_training() -> None:
    data, _ = pictures()

    def never(part: ImageDataset, *, seed: int) -> Looking:
        raise AssertionError

    with pytest.raises(DataError, match="1 folds"):
        label_errors.find(data, train=never, folds=1)
    with pytest.raises(UnknownNameError, match="noise_rate"):
        label_errors.find(data, train=never, prune="noise")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="A str came"):
        label_errors.find("photos/", train=never)


def test_the_callers_own_draws_go_on_as_if_nothing_was_drawn() -> None:
    data, _ = pictures()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    label_errors.find(data, train=lambda part, seed: (torch.rand(9), Looking(part))[1], verbose=False)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("data", ["photos/", pictures()[0]])
def test_a_search_without_a_way_to_train_names_the_one_that_has_it(data: Any) -> None:
    with pytest.raises(LaminaError, match=r"without train.*lamina\.find_label_errors\(data\)"):
        label_errors.find(data)
