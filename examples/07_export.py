"""Out of the library: an ONNX file that takes raw pictures, checked when it is written, run here by ONNX Runtime alone."""

import tempfile
from pathlib import Path

import onnxruntime

from lamina import Classifier, Preprocess, data

digits = data.load("mnist")
classifier = Classifier("fastconvnet")
classifier.fit(digits.train.limit(4000), epochs=2, verbose=0)

with tempfile.TemporaryDirectory() as folder:
    told = classifier.export(Path(folder, "digits.onnx"), data=digits.test.limit(128))
    print(told)  # largest difference, classes that agree, images/s beside torch

    session = onnxruntime.InferenceSession(told.path)  # from here on nothing of the library is needed
    images = digits.test.images[:500].numpy()  # uint8: casting and normalising are inside the file
    (probs,) = session.run(None, {"images": images})

    prepared = Preprocess.from_onnx(told.path)  # how pictures of other sizes are brought to that shape
    print(f"pictures of {prepared.size[0]} x {prepared.size[1]} px, {prepared.channels} channel")

accuracy = (probs.argmax(1) == digits.test.labels[:500].numpy()).mean()
print(f"ONNX Runtime: {100 * accuracy:.1f} % right")
assert told.largest_difference < 1e-3
assert accuracy > 0.9
