"""Metrics for Prometheus, at ``http://HOST:PORT/metrics``, if the config names a port. Needs ``ml-logger[prometheus]``.

They are read from what the loop last said (`StatusFile.latest`) when somebody asks; nothing is counted a second time. The label
is the spool. Names follow the conventions: base units, ``_total`` for what only grows, ``_timestamp_seconds`` for times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..version import __version__
from .amounts import plain_text
from .config import PrometheusSettings
from .progress import Progress
from .status_file import StatusFile

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "ml_logger_agent_"


@dataclass(frozen=True, slots=True)
class _Gauge:
    name: str
    help: str
    value: Callable[[Progress], float | None]


_GAUGES = (
    _Gauge("backlog_files", "Files with something that is not acknowledged.", lambda p: p.backlog_files),
    _Gauge("backlog_bytes", "Bytes that are not acknowledged.", lambda p: p.backlog_bytes),
    _Gauge("oldest_unshipped_seconds", "Age of the oldest unacknowledged byte.", lambda p: p.oldest_unshipped_s or 0.0),
    _Gauge("set_aside_files", "Files that can't be shipped as they are.", lambda p: len(p.aside)),
    _Gauge("runs_alive", "Run directories with a living writer or a recent change.", lambda p: len(p.runs_alive)),
    _Gauge("failing", "1 while the last try failed, else 0.", lambda p: 0 if p.last_error is None else 1),
    _Gauge("last_ack_timestamp_seconds", "When the receiver last acknowledged something.", lambda p: p.last_ack_at),
)
_COUNTERS = (
    _Gauge("shipped_bytes", "Bytes acknowledged since the agent started.", lambda p: p.shipped_bytes),
    _Gauge("shipped_files", "Files acknowledged whole since the agent started.", lambda p: p.shipped_files),
    _Gauge("errors", "Tries that failed since the agent started.", lambda p: p.errors),
)


class _Collector:
    """What prometheus-client asks for the metrics of the moment."""

    def __init__(self, spools: Sequence[tuple[Path, StatusFile]]) -> None:
        self._spools = tuple((plain_text(str(spool)), status) for spool, status in spools)

    def collect(self) -> Iterator[Metric]:
        """Yield one family a name, with a sample a spool."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # an optional extra

        latest = [(spool, status.latest(), status.started_at) for spool, status in self._spools]
        for made, family in ((_GAUGES, GaugeMetricFamily), (_COUNTERS, CounterMetricFamily)):
            for gauge in made:
                metric = family(PREFIX + gauge.name, gauge.help, labels=["spool"])
                for spool, progress, _ in latest:
                    value = gauge.value(progress)
                    if value is not None:
                        metric.add_metric([spool], value)
                yield metric
        yield GaugeMetricFamily(PREFIX + "start_timestamp_seconds", "When the agent started.", value=latest[0][2])
        info = GaugeMetricFamily(PREFIX + "build_info", "Always 1; the version is the label.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info


@contextmanager
def offering_metrics(settings: PrometheusSettings, spools: Sequence[tuple[Path, StatusFile]]) -> Iterator[str | None]:
    """Offer metrics inside the block, if `settings` name a port (0: any free one); yield the URL, or None.

    Raises `ConfigError` if prometheus-client is not installed or the address can't be bound.
    """
    if settings.port is None:
        yield None
        return
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server  # an optional extra
    except ImportError:
        raise ConfigError(
            "key 'prometheus.port' needs prometheus-client", hint="pip install 'ml-logger[prometheus]'"
        ) from None
    registry = CollectorRegistry()
    registry.register(_Collector(spools))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(settings.port, settings.host, registry)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"metrics can't be offered on {settings.host} port {settings.port}: {getattr(error, 'strerror', None) or error}",
            hint="set 'prometheus.host' to an address of this machine and 'prometheus.port' to a free port",
        ) from None
    server.handle_error = _say_nothing  # type: ignore[method-assign]  # it prints a trace for a client that hangs up
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        with contextlib.suppress(OSError):
            server.shutdown()
            server.server_close()
        thread.join(5)


def _say_nothing(request: object, client_address: object) -> None:  # noqa: ARG001 - the names are socketserver's
    return
