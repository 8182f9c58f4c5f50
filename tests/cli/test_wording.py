"""Python's arguments, said as options."""

import pytest

from lamina.cli.wording import as_typed


@pytest.mark.parametrize(
    ("python", "typed"),
    [
        (
            "Go on with it by resume=True, or choose another folder.",
            "Go on with it by --resume, or choose another folder.",
        ),
        (
            "Pass batch_size=32, with update={'accumulate': 4} in compile for updates of the same size.",
            "Pass --batch-size 32, with --accumulate 4 for updates of the same size.",
        ),
        ("Use smaller batches, or precision='bfloat16'.", "Use smaller batches, or --precision bfloat16."),
        ("batch_size was 8, and 16 came", "--batch-size was 8, and 16 came"),
        ("Use one of these, or pass the optimizer as an object.", "Use one of these."),
        ("Call summary(input_shape=(1, 28, 28)).", "Add --input-shape 3,32,32: channels, height, width."),
        (
            "Use model.evaluate(data), with the metrics of your choice by compile.",
            "Its figures: lamina evaluate MODEL.",
        ),
        (
            "Train longer (epochs=...), or begin with weights that have learnt (model=Classifier(NAME, pretrained=True)).",
            "Train longer (--epochs N), or try another network (--model NAME).",
        ),
        ("photos/batch 3.png cannot be read.", "photos/batch 3.png cannot be read."),
    ],
)
def test_arguments_are_said_as_options(python, typed):
    assert as_typed(python) == typed
