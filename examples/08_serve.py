"""Behind HTTP: a server of its own process, asked as any program would ask it; a person finds a page at the same address."""

import io
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image

from lamina import Classifier, data

digits = data.load("mnist")
classifier = Classifier("fastconvnet")
classifier.fit(digits.train.limit(4000), epochs=2, verbose=0)


def ask(address, picture):
    """The server's answer to one picture."""
    content = io.BytesIO()
    Image.fromarray(picture[0].numpy()).save(content, "PNG")
    request = urllib.request.Request(f"{address}/predict", content.getvalue(), {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["results"][0]


def wait_for(address, server):
    """Returns when the server is ready."""
    for _ in range(600):
        assert server.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError(address)


with tempfile.TemporaryDirectory() as folder:
    file = classifier.save(Path(folder, "digits.safetensors"))
    address = "http://127.0.0.1:8765"
    command = [sys.executable, "-m", "lamina", "serve", str(file), "--port", "8765", "--engine", "torch"]
    server = subprocess.Popen(command)
    try:
        wait_for(address, server)
        right = 0
        for image, label in zip(digits.test.images[:20], digits.test.labels[:20].tolist(), strict=True):
            answer = ask(address, image)
            right += answer["label"] == str(label)
        print(f"the last one: {answer['label']} with {100 * answer['probability']:.1f} %; {right} of 20 right")
    finally:
        server.terminate()  # it finishes what it has accepted
        server.wait(30)

assert right >= 17
