"""A picture is a tensor, a network is a function of it, and learning is a step down its slope: by hand, then by layers."""

import torch

from lamina import data, layers, models

digits = data.load("mnist").train.limit(3000)
zeros_and_ones = digits.subset(digits.labels < 2)
x = zeros_and_ones.images.flatten(1) / 255  # (N, 784): every pixel a number from 0 to 1
y = zeros_and_ones.labels.float()  # (N): 0 or 1

# By hand: one neuron, a weight for each pixel, and thirty steps against the gradient of the cross-entropy.
weights, bias = torch.zeros(784, requires_grad=True), torch.zeros(1, requires_grad=True)
for _ in range(30):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ weights + bias, y)
    loss.backward()
    with torch.no_grad():
        for value in (weights, bias):
            value -= 0.5 * value.grad
            value.grad = None
by_hand = ((x @ weights + bias > 0) == y.bool()).float().mean().item()

# The same neuron as a layer; compile says how it learns, fit does it.
model = models.Sequential([layers.Dense(1, activation="sigmoid", kernel_initializer="zeros", input_shape=(784,))])
model.compile("sgd", "binary_crossentropy", ["accuracy"])
model.fit(x, y[:, None], batch_size=len(x), epochs=30, verbose=0)
by_layers = model.evaluate(x, y[:, None])["accuracy"]

print(f"by hand {100 * by_hand:.1f} %, by layers {100 * by_layers:.1f} %")
assert by_hand > 0.98
assert by_layers > 0.9
