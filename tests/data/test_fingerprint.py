"""One data set is told from another, quickly."""

import pytest
import torch

from lamina.data.fingerprint import fingerprint
from lamina.data.loader import ArrayBatches

X = torch.randint(0, 255, (500, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(500) % 10


def of(x=X, y=Y, **options):
    return fingerprint(ArrayBatches(x, y, **options))


def test_sizes_types_and_the_range_of_labels_are_told():
    told = of()
    assert told["samples"] == 500
    assert told["inputs"] == ["uint8 1x8x8"]
    assert told["targets"] == ["int64 scalar, 0 to 9"]
    assert of(X, Y.float())["targets"] == ["float32 scalar"]
    assert of() == told


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (lambda: of(X[:499], Y[:499]), "samples"),
        (lambda: of(X.float()), "inputs"),
        (lambda: of(255 - X), "content of inputs"),
        (lambda: of(X, Y.clamp(max=8)), "targets"),
        (lambda: of(X, Y.roll(1)), "content of targets"),
        (lambda: of(X, Y, weights=torch.rand(500)), "content of weights"),
    ],
)
def test_other_data_have_another_fingerprint(other, differs):
    assert other().get(differs) != of().get(differs)


def test_how_it_is_cut_into_batches_does_not_matter():
    assert of(batch_size=7, shuffle=True, seed=3) == of()


def test_what_tells_of_itself_is_asked_and_of_all_else_the_length_is_known():
    class Own:
        def fingerprint(self):
            return {"files": 3}

    assert fingerprint(Own()) == {"files": 3}
    assert fingerprint([1, 2]) == {"batches": 2}
    assert fingerprint(iter([1])) == {}
    assert fingerprint(None) == {}


def test_little_of_sixty_thousand_pictures_is_hashed(monkeypatch):
    batches = ArrayBatches(torch.zeros(60_000, 1, 28, 28, dtype=torch.uint8), torch.zeros(60_000, dtype=torch.int64))
    hashed = []

    class Counting:
        def update(self, data):
            hashed.append(len(data))

        def hexdigest(self):
            return "0" * 64

    monkeypatch.setattr("lamina.data.fingerprint.hashlib.sha256", Counting)
    fingerprint(batches)
    assert len(hashed) == 2
    assert sum(hashed) <= 2 << 20
