"""`/metrics`: what Prometheus collects. prometheus-client does the counting and writing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from haystack.api.preview import Previews
from haystack.runs.service import RunService

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""seconds"""


class Metrics:
    """Of one service.

    Parameters
    ----------
    service
        whose runs and disk are looked at when somebody asks.
    previews
        whose waiting ones are counted.
    """

    def __init__(self, service: RunService, previews: Previews) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "haystack_http_requests", "answers by method and status", ["method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "haystack_http_request_seconds",
            "from the headers to the beginning of the answer",
            registry=self._registry,
            buckets=BUCKETS,
        )
        waiting = Gauge("haystack_previews_waiting", "questions that wait or are being read", registry=self._registry)
        waiting.set_function(lambda: previews.waiting)
        self._registry.register(_Runs(service))

    def answered(self, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(method if method in {"GET", "POST", "HEAD"} else "other", status).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' format; asks the database."""
        return generate_latest(self._registry)


class _Runs(Collector):
    """Runs by status and the disk, looked at when asked."""

    def __init__(self, service: RunService) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Two families."""
        runs = GaugeMetricFamily("haystack_runs", "runs by status", labels=["status"])
        for status, n in sorted(self._service.store.count_by_status().items()):
            runs.add_metric([status], n)
        yield runs
        free = shutil.disk_usage(self._service.settings.work_dir).free
        yield GaugeMetricFamily("haystack_disk_free_bytes", "free where runs are kept", value=free)

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing at the start: no database is asked before somebody wants to know."""
        return []
