"""A network from layers: 784 pixels to 10 digits, one minute of Keras's vocabulary."""

from lamina import data, layers, models

mnist = data.load("mnist")
train, test = mnist.train.limit(6000), mnist.test.limit(1000)

model = models.Sequential(
    [
        layers.Rescaling(1 / 255, input_shape=(1, 28, 28)),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
model.fit(train, batch_size=32, epochs=5)

figures = model.evaluate(test)
print(f"test accuracy {100 * figures['accuracy']:.1f} %")
assert figures["accuracy"] > 0.88
