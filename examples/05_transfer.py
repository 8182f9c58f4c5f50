"""Transfer: what a network has learnt from many pictures helps with a few of another kind."""

import tempfile
from pathlib import Path

import torch

from lamina import Classifier, data
from lamina.data import ImageDataset

torch.manual_seed(0)  # the initial values of both
digits = data.load("mnist")


def turned(part, count):
    """Digits on their side: another task, made of the same strokes."""
    some = part.limit(count)
    return ImageDataset(
        some.images.rot90(1, (2, 3)).contiguous(), some.labels, [f"turned {digit}" for digit in range(10)]
    )


few, test = turned(digits.train, 100), turned(digits.test, 1000)  # ten pictures of each to learn from

scratch = Classifier("fastconvnet")
scratch.fit(few, epochs=30, batch_size=16, verbose=0, validation_split=0.0)

with tempfile.TemporaryDirectory() as folder:
    known = Classifier("fastconvnet")
    known.fit(digits.train.limit(6000), epochs=3, verbose=0)  # upright ones, of which there are many
    file = known.save(Path(folder, "upright.safetensors"))
    transferred = Classifier("fastconvnet", pretrained=file)  # its class layer will give way to one for the new classes
    transferred.fine_tune(few, epochs=20, freeze_epochs=20, rate=1.0, batch_size=16, verbose=0, validation_split=0.0)

from_nothing, from_upright = scratch.evaluate(test)["accuracy"], transferred.evaluate(test)["accuracy"]
print(
    f"100 pictures: from nothing {100 * from_nothing:.1f} %, with what upright digits taught {100 * from_upright:.1f} %"
)
assert from_upright > 0.75
assert from_upright > from_nothing
