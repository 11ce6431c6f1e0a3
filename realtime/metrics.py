"""What one edge shows to Prometheus: a registry of its own, fed by HTTP and by what the edge counts anyway.

The HTTP interface observes and renders; gauges and counters of the socket side are read from `statistics()` of the edge
when asked, so the message path pays nothing for them. It promises label values from closed sets alone.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_HTTP_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0)
_ERROR_PREFIX: Final = "errors_"

_COUNTERS: Final = frozenset(
    {
        "deliveries",
        "deliveries_stray",
        "deliveries_repeated",
        "batches",
        "events_sent",
        "event_receivers",
        "tokens_expired",
        "resumes_asked",
        "resumes_recovered",
        "resumes_reset",
        "resumes_failed",
        "commands_sent",
        "commands_moved",
        "commands_broken",
        "commands_no_link",
        "commands_overloaded",
        "connections_recovered",
        "connections_not_recovered",
        "sessions_revoked",
        "sessions_unchecked",
        "requests_forwarded",
        "requests_forward_failed",
        "requests_forward_refused",
        "websockets_spliced_ever",
        "arrivals_refused",
        "times_shed",
    }
)


class EdgeMetrics:
    """`statistics` gives the edge's numbers, `links` whether each host's link is connected."""

    def __init__(self, statistics: Callable[[], Mapping[str, float]], links: Callable[[], Mapping[str, bool]]) -> None:
        self.registry = CollectorRegistry()
        self._http = Histogram(
            "http_request_duration_seconds",
            "Time from a request to its answer.",
            ("method", "route", "status_code"),
            buckets=_HTTP_BUCKETS_S,
            registry=self.registry,
        )
        self._recommendations = Counter(
            "event_recommendations_total",
            "Events recommended.",
            ("recommendation_type",),
            registry=self.registry,
        )
        people = Gauge(
            "active_users_total", "Different people with a live socket on this edge.", registry=self.registry
        )
        people.set_function(lambda: statistics().get("people", 0.0))
        self.registry.register(_EdgeCollector(statistics, links))

    def observe_http(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request answered; `route` is a template."""
        self._http.labels(method, route, str(status)).observe(seconds)

    def count_recommendations(self, kind: str, count: int) -> None:
        """`count` events were recommended under the type `kind`."""
        self._recommendations.labels(kind).inc(count)

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class _EdgeCollector(Collector):
    """Turns the edge's statistics into metric families named `flow_edge_…`."""

    def __init__(self, statistics: Callable[[], Mapping[str, float]], links: Callable[[], Mapping[str, bool]]) -> None:
        self._statistics = statistics
        self._links = links

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        errors = CounterMetricFamily("flow_edge_errors", "Requests refused, by error code.", labels=("code",))
        for name, value in self._statistics().items():
            if name.startswith(_ERROR_PREFIX):
                errors.add_metric((name.removeprefix(_ERROR_PREFIX),), value)
            elif name in _COUNTERS:
                yield CounterMetricFamily(f"flow_edge_{name}", name.replace("_", " "), value=value)
            else:
                yield GaugeMetricFamily(f"flow_edge_{name}", name.replace("_", " "), value=value)
        yield errors
        links = GaugeMetricFamily("flow_edge_link_connected", "1 while the host's link is connected.", labels=("host",))
        for host, is_connected in self._links().items():
            links.add_metric((host,), float(is_connected))
        yield links
