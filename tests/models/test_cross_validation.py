"""Cross-validation in Python: who is trained on what, what is told of it, and what is refused."""

import numpy as np
import pytest
import torch

import lamina
from lamina import layers, models, optimizers
from lamina.core.errors import LaminaError
from lamina.data import ImageDataset, Preprocess
from lamina.models.cross_validation import CrossValidation, cross_validate

IMAGES = torch.randint(0, 256, (60, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.tensor([0] * 40 + [1] * 20)
IMAGES[LABELS == 1] //= 4  # dark, so that there is something to learn
DATA = ImageDataset(IMAGES, LABELS, ("light", "dark"))


def made(train, validation):
    torch.manual_seed(0)
    net = models.Sequential([layers.Flatten(input_shape=(1, 4, 4)), layers.Dense(2)])
    classifier = lamina.Classifier(net, preprocess=Preprocess(channels=1, size=(4, 4)))
    classifier.compile(optimizers.AdamW(learning_rate=0.2), device="cpu", precision="float32")
    classifier.fit(train, validation_data=validation, batch_size=8, epochs=6, verbose=0)
    return classifier


def test_each_model_is_measured_on_what_it_was_not_trained_on():
    seen = []

    def watched(train, validation):
        seen.append((train, validation))
        return made(train, validation)

    result = cross_validate(watched, DATA, folds=4)
    assert sum(len(validation) for _, validation in seen) == 60
    assert [len(train) for train, _ in seen] == [45] * 4
    for (_, validation), figures, model in zip(seen, result.figures, result.models, strict=True):
        assert figures == model.evaluate(validation)
    accuracies = [row["accuracy"] for row in result.figures]
    assert result.mean["accuracy"] == pytest.approx(np.mean(accuracies))
    assert result.std["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert result.mean["accuracy"] > 0.8


def test_the_models_remember_their_fold_in_their_files_and_are_an_ensemble_for_others(tmp_path):
    splits = lamina.data.Splits(DATA, None)
    result = cross_validate(made, DATA, folds=3)
    for index, (model, (_, validation)) in enumerate(zip(result.models, DATA.folds(3), strict=True)):
        loaded = lamina.load(model.save(tmp_path / f"{index}.safetensors"))
        name, part = loaded.measured(splits)
        assert name == "validation"
        assert torch.equal(part.images, validation.images)
    ensemble = lamina.Ensemble(result.models)
    with pytest.raises(LaminaError, match="the members held out different ones"):
        ensemble.evaluate(splits)  # each of its pictures has trained two of the three
    with pytest.raises(LaminaError, match="held out none of its training pictures, or different"):
        ensemble.learn_weights(splits)
    assert ensemble.evaluate(DATA.images, LABELS)["accuracy"] > 0.8


def test_a_cut_of_a_rest_is_no_rest_of_a_fold():
    train, _ = next(iter(DATA.folds(3)))
    assert train.cut == {"folds": 3, "seed": 0, "of": 60, "fold": 0}
    assert train.subset([0, 1]).cut == {}
    assert next(iter(DATA.folds(3, groups=np.arange(60) // 2)))[0].cut == {}  # whose groups nobody remembers


def test_the_table_tells_folds_mean_and_deviation():
    told = str(CrossValidation([{"loss": 0.5, "accuracy": 0.9}, {"loss": 0.3, "accuracy": 1.0}]))
    assert told.splitlines() == [
        "          loss  accuracy",
        "fold 1  0.5000   90.00 %",
        "fold 2  0.3000  100.00 %",
        "mean    0.4000   95.00 %",
        "std     0.1414    7.07 %",
    ]


def test_what_is_no_data_set_or_no_model_is_refused():
    with pytest.raises(LaminaError, match="given a ndarray"):
        cross_validate(made, IMAGES.numpy())
    with pytest.raises(LaminaError, match="make gave nothing"):
        cross_validate(lambda train, validation: None, DATA)
    assert lamina.cross_validate is cross_validate
