"""Where the time goes: layer by layer, and which settings of a training pay on this machine."""

import time

from lamina import Classifier, data, explain

digits = data.load("mnist")
train, test = digits.train.limit(3000), digits.test.limit(500)

seconds = {}
for batch_size in (8, 128):
    classifier = Classifier("fastconvnet")
    classifier.compile("adamw", schedule="one_cycle")
    began = time.perf_counter()
    classifier.fit(train, batch_size=batch_size, epochs=2, verbose=0, validation_split=0.0)
    seconds[batch_size] = time.perf_counter() - began
    print(f"batches of {batch_size:3d}: {2 * len(train) / seconds[batch_size]:,.0f} images/s")

print(explain.profile(classifier, repeats=3))  # time per layer, and the share of convolutions
accuracy = classifier.evaluate(test)["accuracy"]
print(f"accuracy {100 * accuracy:.1f} %")
assert accuracy > 0.9
