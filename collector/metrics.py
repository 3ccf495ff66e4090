"""The vocabulary of the collector's metrics: names and meanings. Counted as plain integers, read when scraped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Enum

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_OF_TOPIC = ("topic",)


class Counted(Enum):
    """Counters: name (``_total`` is added), help, label names. "Hits" in a name are records of any topic."""

    accepted = (
        "headwater_collector_accepted",
        "Hits, facts of spend and deliveries answered for after they were durable.",
        ("endpoint",),
    )
    rejected = (
        "headwater_collector_rejected",
        "Hits, facts of spend or requests refused.",
        ("endpoint", "reason"),
    )
    commits = ("headwater_spool_commits", "Groups of records made durable with one fsync.", _OF_TOPIC)
    committed = ("headwater_spool_committed_hits", "Records made durable.", _OF_TOPIC)
    commit_seconds = ("headwater_spool_commit_seconds", "Seconds spent writing and fsyncing.", _OF_TOPIC)
    produced = ("headwater_producer_hits", "Records sent to Kafka, repeated ones included.", _OF_TOPIC)
    acked = (
        "headwater_producer_acked_hits",
        "Records acknowledged by Kafka, repeated ones included.",
        _OF_TOPIC,
    )
    resent = (
        "headwater_producer_resent_hits",
        "Records sent that had or may have been sent before.",
        _OF_TOPIC,
    )
    envelopes = ("headwater_producer_envelopes", "Kafka values sent, each of one record or more.", _OF_TOPIC)
    failures = ("headwater_producer_failures", "Times the connection to Kafka was given up.", _OF_TOPIC)
    broker_changes = ("headwater_producer_broker_changes", "Times another cluster id was met.", _OF_TOPIC)
    released = (
        "headwater_spool_released_segments",
        "Segments deleted because they are safe elsewhere.",
        _OF_TOPIC,
    )
    damaged = (
        "headwater_spool_damaged_bytes",
        "Bytes whose checksum failed; kept in *.damaged files.",
        _OF_TOPIC,
    )
    fence_failures = (
        "headwater_spool_fence_failures",
        "Times the worker's fences could not be read.",
        _OF_TOPIC,
    )


class Gauged(Enum):
    """Gauges: name, help, label names."""

    spool_bytes = ("headwater_spool_bytes", "Bytes of records kept in the spool.", _OF_TOPIC)
    spool_oldest = ("headwater_spool_oldest_seconds", "Age of the oldest segment in the spool.", _OF_TOPIC)
    spool_limit = ("headwater_spool_limit_bytes", "Size at which the collector refuses records.", _OF_TOPIC)
    unsent_bytes = (
        "headwater_spool_unsent_bytes",
        "Bytes in the spool that Kafka has not acknowledged.",
        _OF_TOPIC,
    )
    body_bytes = ("headwater_collector_body_bytes", "Bytes of request bodies that are held.", ())
    connected = ("headwater_producer_connected", "1 while Kafka takes records.", _OF_TOPIC)


class CollectorMetrics(Collector):
    """Counters and gauges of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self.accepted: defaultdict[str, int] = defaultdict(int)
        """``Counted.accepted`` by endpoint: counted on the hot path, so without a lookup by enum."""
        self._counts: defaultdict[tuple[Counted, tuple[str, ...]], float] = defaultdict(int)
        self._gauges: defaultdict[Gauged, dict[tuple[str, ...], Callable[[], float]]] = defaultdict(dict)

    def of(self, topic: str) -> TopicMetrics:
        """The part of them that one topic's spool and producer count in; its counters stand at 0 from now on."""
        for metric in Counted:
            if metric.value[2] == _OF_TOPIC:
                self._counts.setdefault((metric, (topic,)), 0)
        return TopicMetrics(self, topic)

    def count(self, metric: Counted, *labels: str, by: float = 1) -> None:
        """Add to a counter; ``labels`` in the order of its label names, never visitor ids or URLs."""
        self._counts[metric, labels] += by

    def value(self, metric: Counted, *labels: str) -> float:
        """What a counter stands at; without ``labels`` over all of them."""
        if metric is Counted.accepted:
            return self.accepted[labels[0]]
        if not labels:
            return sum(count for (counted, _), count in self._counts.items() if counted is metric)
        return self._counts.get((metric, labels), 0)

    def gauge(self, metric: Gauged, read: Callable[[], float], *labels: str) -> None:
        """Read ``metric`` from ``read`` at each scrape."""
        self._gauges[metric][labels] = read

    def collect(self) -> Iterable[Metric]:
        """For prometheus-client."""
        for metric in Counted:
            name, text, labels = metric.value
            family = CounterMetricFamily(name, text, labels=labels)
            if metric is Counted.accepted:
                for endpoint, hits in sorted(self.accepted.items()):
                    family.add_metric((endpoint,), hits)
            for (counted, values), count in sorted(self._counts.items(), key=lambda item: item[0][1]):
                if counted is metric:
                    family.add_metric(values, count)
            yield family
        for gauge, reads in self._gauges.items():
            name, text, labels = gauge.value
            measured = GaugeMetricFamily(name, text, labels=labels)
            for values, read in sorted(reads.items(), key=lambda item: item[0]):
                measured.add_metric(values, read())
            yield measured

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)


class TopicMetrics:
    """Counters and gauges of one topic's spool and producer."""

    def __init__(self, metrics: CollectorMetrics, topic: str) -> None:
        self._metrics = metrics
        self._topic = topic

    def count(self, metric: Counted, by: float = 1) -> None:
        """Add to a counter."""
        self._metrics.count(metric, self._topic, by=by)

    def gauge(self, metric: Gauged, read: Callable[[], float]) -> None:
        """Read ``metric`` from ``read`` at each scrape."""
        self._metrics.gauge(metric, read, self._topic)

    def committed(self, records: int, seconds: float) -> None:
        """One group became durable."""
        self.count(Counted.commits)
        self.count(Counted.committed, by=records)
        self.count(Counted.commit_seconds, by=seconds)
