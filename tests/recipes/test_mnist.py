"""With all digits the recipes reach their number."""

import pytest

from lamina import data, recipes


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("mnist_fast", 0.994), ("mnist_deepconvnet", 0.993)])
def test_reaches_its_number_on_held_out_training_digits(name, accuracy):
    """On 10,000 digits of the training set, a sixth fewer to learn from: the test set is not read for a test."""
    train, held = data.load("mnist").train.split(1 / 6, seed=0)
    assert recipes.get(name).fit(train, verbose=0).evaluate(held)["accuracy"] >= accuracy
