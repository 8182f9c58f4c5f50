"""What the server tells Prometheus at /metrics; with several workers the sum over all of them."""

from __future__ import annotations

import os
from typing import Any

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # the folder in which the workers of one server keep their numbers together
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Figures:
    """Counters and histograms of one server. All methods may be called from any thread."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self._registry = CollectorRegistry()
        told: dict[str, Any] = {"registry": self._registry}
        if SHARED not in os.environ:  # which of several processes is asked would be left to chance
            ProcessCollector(registry=self._registry)
        requests = Counter("lamina_requests", "Requests, by path and status.", ["path", "code"], **told)
        self._requests: dict[tuple[str, int], Any] = {}
        self._labelled = requests.labels
        self.rejected = Counter(
            "lamina_rejected", "Requests and pictures refused, by the code of the error.", ["reason"], **told
        )
        self.answered = Counter("lamina_pictures", "Pictures answered.", **told)
        self.abandoned = Counter("lamina_abandoned", "Pictures dropped before compute: their client had gone.", **told)
        self.batches = Histogram("lamina_batch_pictures", "Pictures in a batch.", buckets=_SIZES, **told)
        self.queue = Gauge(
            "lamina_queue_pictures", "Pictures accepted and not yet answered.", multiprocess_mode="livesum", **told
        )
        stages = Histogram("lamina_stage_seconds", "Time of each stage.", ["stage"], buckets=_SECONDS, **told)
        self.decode, self.wait, self.compute = (stages.labels(name) for name in ("decode", "wait", "compute"))
        self.latency = Histogram(
            "lamina_predict_seconds", "From a request's first line to its answer.", buckets=_SECONDS, **told
        )

    def count(self, path: str, code: int) -> None:
        """Notes a request that was answered."""
        counter = self._requests.get((path, code))
        if counter is None:
            counter = self._requests[path, code] = self._labelled(path, str(code))
        counter.inc()

    def text(self) -> tuple[bytes, str]:
        """The page that Prometheus reads, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST
