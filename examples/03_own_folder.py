"""Your own pictures: a folder for each class, looked through for faults, learnt, kept in one file, asked again."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import lamina
from lamina import data


def draw(kind, random):
    """A bright circle or square somewhere on a dark, noisy picture."""
    picture = Image.fromarray(random.integers(0, 90, (48, 48, 3), dtype=np.uint8))
    left, top = random.integers(4, 20, 2).tolist()
    side = int(random.integers(16, 24))
    shape = ImageDraw.Draw(picture)
    paint = shape.ellipse if kind == "circle" else shape.rectangle
    paint((left, top, left + side, top + side), fill=tuple(random.integers(150, 255, 3).tolist()))
    return picture


with tempfile.TemporaryDirectory() as folder:
    random = np.random.default_rng(0)
    for kind in ("circle", "square"):
        Path(folder, "shapes", kind).mkdir(parents=True)
        for number in range(120):
            draw(kind, random).save(Path(folder, "shapes", kind, f"{number}.png"))
    Path(folder, "shapes", "circle", "broken.png").write_bytes(b"no picture")

    report = data.check(Path(folder, "shapes"))
    print(report)  # one error: broken.png
    Path(report.errors[0].where).unlink()

    classifier = lamina.Classifier("fastconvnet", preprocess=lamina.Preprocess(size=(48, 48)))
    classifier.fit(Path(folder, "shapes"), epochs=8, verbose=0)
    classifier.save(Path(folder, "shapes.safetensors"))

    again = lamina.load(Path(folder, "shapes.safetensors"))
    held_out = again.evaluate(Path(folder, "shapes"))["accuracy"]  # on the tenth that it was not trained on
    print(again.card())
    print(again.predict(draw("circle", random)), f"- held out: {100 * held_out:.1f} % right")
    assert held_out > 0.8
