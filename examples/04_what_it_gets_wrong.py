"""What a network gets wrong: how often, which for which, and the pictures themselves, on one page."""

import tempfile
from pathlib import Path

import torch

from lamina import Classifier, data, explain

torch.manual_seed(0)  # the initial values: the same mistakes each time
digits = data.load("mnist")
test = digits.test.limit(1000)
classifier = Classifier("lenet5")
classifier.fit(digits.train.limit(4000), epochs=3, verbose=0)

probs = explain.class_probs(classifier, test)
counts = explain.confusion_matrix(probs, test.labels)
scores = explain.class_scores(counts, classes=test.classes)
print(scores)
for pair in explain.most_confused(counts, limit=3):
    print(f"{pair.truth} was taken for {pair.predicted} {pair.count} times")
surest = explain.find_mistakes(probs, test.labels, limit=1)[0]
print(f"the surest mistake: a {surest.truth} taken for a {surest.predicted} with {100 * surest.confidence:.0f} %")

with tempfile.TemporaryDirectory() as folder:
    page = explain.report(classifier, test, path=Path(folder, "report.html"))
    print(f"{page.name}: {page.stat().st_size / 1e3:.0f} kB, to be opened in a browser")

assert scores.accuracy > 0.9
