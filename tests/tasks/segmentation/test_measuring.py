"""Measuring in the pictures' own pixels: the figures are those of all probabilities at once, in less memory."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import lamina
from lamina.metrics import MeanIoU, PixelAccuracy
from lamina.tasks.segmentation import decode

CLASSES, SIZE = 8, (150, 200)


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that was made."""

    most = 0

    def __torch_dispatch__(self, function, types, given=(), told=None):
        made = function(*given, **(told or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, torch.Tensor) and not each._is_view():
                self.most = max(self.most, each.numel() * each.element_size())
        return made


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = lamina.Segmenter(nn.Conv2d(3, CLASSES, 1), preprocess=lamina.Preprocess(size=(16, 24), resize="pad"))
    made.compile(device="cpu")
    x = torch.randint(0, 256, (4, 3, 16, 24), dtype=torch.uint8)
    made.fit(x, torch.arange(CLASSES).repeat(4 * 48).reshape(4, 16, 24), validation_split=0.0, verbose=0)
    return made


@pytest.fixture
def large():
    draw = np.random.default_rng(0)
    x = [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in (SIZE, (31, 77))]
    y = [draw.integers(0, CLASSES, each.shape[:2]).astype(np.uint8) for each in x]
    y[0][:9] = 255
    return x, y


def test_the_figures_are_those_of_all_probabilities(model, large):
    x, y = large
    metrics = {"mean_iou": MeanIoU(), "pixel_accuracy": PixelAccuracy()}
    for picture, truth in zip(x, y, strict=True):
        image, _ = model.preprocess.host_sized(picture)
        probs = decode.in_picture(torch.from_numpy(model.answer(image[None])[0]), model.preprocess, truth.shape)
        for metric in metrics.values():
            metric.update(probs[None], torch.from_numpy(truth)[None].long())
    figures = model.evaluate(x, y)
    assert {name: figures[name] for name in metrics} == {name: float(each.compute()) for name, each in metrics.items()}


def test_other_metrics_see_the_probabilities(model, large):
    x, y = large
    seen = []

    def surest(outputs, targets):
        seen.append((outputs.shape, targets.dtype, float(outputs.sum(1).mean())))
        return outputs.max(1).values.mean()

    model.compile(metrics=["mean_iou", surest], device="cpu")
    try:
        assert 0 < model.evaluate(x, y)["surest"] < 1
    finally:
        model.compile(device="cpu")
    assert [shape for shape, _, _ in seen] == [(1, CLASSES, *SIZE), (1, CLASSES, 31, 77)]
    assert all(kind == torch.int64 and total == pytest.approx(1, abs=1e-4) for _, kind, total in seen)


def test_the_probabilities_of_a_large_picture_are_never_there_at_once(model, large, monkeypatch):
    x, y = [each[:1] for each in large]
    expected = model.evaluate(x, y)
    monkeypatch.setattr(decode, "_AT_ONCE", 1 << 15)
    monkeypatch.setattr("lamina.tasks.segmentation.measuring.ThreadPoolExecutor", Here)
    with Largest() as seen:
        figures = model.evaluate(x, y)
    assert figures == pytest.approx(expected, abs=1e-3)
    assert 0 < seen.most < 4 * CLASSES * SIZE[0] * SIZE[1] / 4


class Here:
    """Runs in this thread, where what is allocated is seen."""

    def __init__(self, workers):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, function, values):
        return map(function, values)
