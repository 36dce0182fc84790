"""Metrics for Prometheus, read from the figures of all workers when somebody asks. Needs ``ml-logger[prometheus]``.

Names follow the conventions: base units, and ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..version import __version__
from ..wire import RESULTS
from .figures import Figures

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "ml_logger_receiver_"
CONTENT_TYPE = "text/plain; version=0.0.4"

_TOTALS = {
    "received_bytes": "Bytes of request bodies, as they came in.",
    "failed_logins": "Requests without a valid token.",
    "disk_waits": "Calls that waited for the disk: fsync, fdatasync, syncfs.",
    "house_failures": "Times that work between the requests (settling, emptying) failed by an error nobody foresaw.",
}
_STATES = {
    "connections": "Open connections.",
    "unsettled_bytes": "Bytes of the redo log that are not yet durable in their files.",
}


@dataclass(frozen=True, slots=True)
class Now:
    """What is no worker's own: agents heard of, and the free bytes of the data directory's disk (None: it does not say)."""

    agents: int
    free_bytes: int | None
    workers: int


def render(figures: Figures, now: Now) -> bytes:
    """Return all metrics as Prometheus text; raises `ImportError` without the extra."""
    from prometheus_client import CollectorRegistry, generate_latest  # an optional extra

    registry = CollectorRegistry()
    registry.register(_Collector(figures, now))
    return generate_latest(registry)


class _Collector:
    """What prometheus-client asks for the metrics of the moment."""

    def __init__(self, figures: Figures, now: Now) -> None:
        self._figures, self._now = figures, now

    def collect(self) -> Iterator[Metric]:
        """Yield one family a name."""
        yield from self._totals()
        yield self._batches()
        yield from self._states()

    def _totals(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily  # an optional extra

        figures = self._figures
        requests = CounterMetricFamily(PREFIX + "requests", "Requests by call and status.", labels=["call", "status"])
        for call, status, number in figures.requests():
            requests.add_metric([call, status], number)
        yield requests
        items = CounterMetricFamily(PREFIX + "items", "Items of batches by what became of them.", labels=["result"])
        for result in RESULTS:
            items.add_metric([result], figures.total("item", result))
        yield items
        for name, text in _TOTALS.items():
            yield CounterMetricFamily(PREFIX + name, text, value=figures.total(name))

    def _batches(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily  # an optional extra

        buckets = [("+Inf" if bound == "inf" else bound, number) for bound, number in self._figures.batches()]
        text = "Seconds from a batch that has come whole, and got its turn, to its answer."
        return HistogramMetricFamily(
            PREFIX + "batch_seconds", text, buckets=buckets, sum_value=self._figures.total("batch_s")
        )

    def _states(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily  # an optional extra

        for name, text in _STATES.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=self._figures.total(name))
        yield GaugeMetricFamily(PREFIX + "agents", "Agents that were heard of.", value=self._now.agents)
        yield GaugeMetricFamily(PREFIX + "workers", "Processes that serve.", value=self._now.workers)
        if self._now.free_bytes is not None:
            text = "Bytes that may still be written to the disk of the data directory."
            yield GaugeMetricFamily(PREFIX + "disk_free_bytes", text, value=self._now.free_bytes)
        info = GaugeMetricFamily(PREFIX + "build_info", "Always 1; the version is the label.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
