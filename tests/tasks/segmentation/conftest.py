"""Small data is read in this process: what workers cost to start is measured elsewhere."""

import pytest

from lamina.data import workers


@pytest.fixture(autouse=True)
def without_workers(monkeypatch):
    monkeypatch.setattr(workers, "worker_count", lambda asked, processes: 0)
