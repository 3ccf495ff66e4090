"""The vocabulary of the collector's metrics: names and meanings. Counted as plain integers, read when scraped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Enum

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Counted(Enum):
    """Counters: name (``_total`` is added), help, label names."""

    accepted = ("headwater_collector_accepted", "Hits answered for after they were durable.", ("endpoint",))
    rejected = ("headwater_collector_rejected", "Hits or requests refused.", ("endpoint", "reason"))
    commits = ("headwater_spool_commits", "Groups of hits made durable with one fsync.", ())
    committed = ("headwater_spool_committed_hits", "Hits made durable.", ())
    commit_seconds = ("headwater_spool_commit_seconds", "Seconds spent writing and fsyncing.", ())
    produced = ("headwater_producer_hits", "Hits sent to Kafka, repeated ones included.", ())
    acked = ("headwater_producer_acked_hits", "Hits acknowledged by Kafka, repeated ones included.", ())
    resent = ("headwater_producer_resent_hits", "Hits sent that had or may have been sent before.", ())
    envelopes = ("headwater_producer_envelopes", "Kafka records sent.", ())
    failures = ("headwater_producer_failures", "Times the connection to Kafka was given up.", ())
    broker_changes = ("headwater_producer_broker_changes", "Times another cluster id was met.", ())
    released = ("headwater_spool_released_segments", "Segments deleted because they are safe elsewhere.", ())
    damaged = ("headwater_spool_damaged_bytes", "Bytes whose checksum failed; kept in *.damaged files.", ())
    fence_failures = ("headwater_spool_fence_failures", "Times the worker's fences could not be read.", ())


class Gauged(Enum):
    """Gauges: name, help."""

    spool_bytes = ("headwater_spool_bytes", "Bytes of hits kept in the spool.")
    spool_oldest = ("headwater_spool_oldest_seconds", "Age of the oldest segment in the spool.")
    spool_limit = ("headwater_spool_limit_bytes", "Size at which the collector refuses hits.")
    unsent_bytes = ("headwater_spool_unsent_bytes", "Bytes in the spool that Kafka has not acknowledged.")
    body_bytes = ("headwater_collector_body_bytes", "Bytes of request bodies that are held.")
    connected = ("headwater_producer_connected", "1 while Kafka takes hits.")


class CollectorMetrics(Collector):
    """Counters and gauges of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self.accepted: defaultdict[str, int] = defaultdict(int)
        """``Counted.accepted`` by endpoint: counted on the hot path, so without a lookup by enum."""
        self._counts: defaultdict[tuple[Counted, tuple[str, ...]], float] = defaultdict(int)
        self._gauges: dict[Gauged, Callable[[], float]] = {}

    def count(self, metric: Counted, *labels: str, by: float = 1) -> None:
        """Add to a counter; ``labels`` in the order of its label names, never visitor ids or URLs."""
        self._counts[metric, labels] += by

    def value(self, metric: Counted, *labels: str) -> float:
        """What a counter stands at."""
        if metric is Counted.accepted:
            return self.accepted[labels[0]]
        return self._counts.get((metric, labels), 0)

    def committed(self, hits: int, seconds: float) -> None:
        """One group became durable."""
        self.count(Counted.commits)
        self.count(Counted.committed, by=hits)
        self.count(Counted.commit_seconds, by=seconds)

    def gauge(self, metric: Gauged, read: Callable[[], float]) -> None:
        """Read ``metric`` from ``read`` at each scrape."""
        self._gauges[metric] = read

    def collect(self) -> Iterable[Metric]:
        """For prometheus-client."""
        for metric in Counted:
            name, text, labels = metric.value
            family = CounterMetricFamily(name, text, labels=labels)
            if not labels:
                family.add_metric((), self.value(metric))
            if metric is Counted.accepted:
                for endpoint, hits in sorted(self.accepted.items()):
                    family.add_metric((endpoint,), hits)
            for (counted, values), count in sorted(self._counts.items(), key=lambda item: item[0][1]):
                if counted is metric and labels:
                    family.add_metric(values, count)
            yield family
        for gauge, read in self._gauges.items():
            yield GaugeMetricFamily(*gauge.value, value=read())

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)
