"""Who tells numbers, and how they become the text that Prometheus scrapes.

The one door to prometheus-client: a registry of its own for each scrape, nothing global.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import entry_points
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

from livespan.proto.home import Home
from livespan.proto.measured import Distribution, Family, FamilyKind, counter

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["MEASURES", "Metrics", "Scrape", "Source"]

MEASURES: Final = "livespan.measures"
Source: TypeAlias = Callable[[], Iterable[Family]]


class Scrape(NamedTuple):
    """One answer: the text, and the content type that says which format it has."""

    text: bytes
    content_type: str


class Metrics:
    """The sources of one collector. Thread-safe."""

    def __init__(self) -> None:
        self._sources: list[tuple[str, Source]] = []
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()

    def add(self, name: str, source: Source) -> None:
        """Ask `source` at each scrape, from any thread; its name is told where it fails."""
        with self._lock:
            self._sources.append((name, source))

    def add_measures(self, home: Home) -> None:
        """Ask the components that offer numbers of a home (entry points of the group `livespan.measures`)."""
        for point in sorted(entry_points(group=MEASURES), key=lambda point: point.name):
            try:
                measure = cast("Callable[[Home], Iterable[Family]]", point.load())
            except ImportError:
                self._failures[point.name] += 1  # a component that is not whole here has no numbers
                continue
            self.add(point.name, partial(measure, home))

    def families(self) -> Iterator[Family]:
        """Yield what the sources tell now; one that fails is counted, and the others are told."""
        with self._lock:
            sources = list(self._sources)
        for name, source in sources:
            try:
                told = list(source())
            except Exception:  # noqa: BLE001  # a component's border: its bug must not blind the operator
                with self._lock:
                    self._failures[name] += 1
                continue
            yield from told
        with self._lock:
            failures = {name: float(self._failures[name]) for name, _ in sources} | dict(self._failures)
        yield counter("livespan_metric_source_failures", "Times that a source failed.", failures, "source")

    def scrape(self, accept: str = "") -> Scrape:
        """Return the numbers as text.

        Args:
            accept: the Accept header of who asks: OpenMetrics where he knows it, else Prometheus's own format.
        """
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Told([_metric(family) for family in self.families()]))
        encoder, content_type = choose_encoder(accept)
        return Scrape(encoder(registry), content_type)


class _Told:
    """What the library calls a collector."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metric(family: Family) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = [family.label] if family.label else []
    metric: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    match family.kind:
        case FamilyKind.COUNTER:
            metric = CounterMetricFamily(family.name, family.help, labels=labels)
        case FamilyKind.GAUGE:
            metric = GaugeMetricFamily(family.name, family.help, labels=labels)
        case FamilyKind.HISTOGRAM:
            metric = HistogramMetricFamily(family.name, family.help, labels=labels)
    for key, value in family.samples.items():
        label_values = [key] if family.label else []
        if isinstance(metric, HistogramMetricFamily):
            assert isinstance(value, Distribution)
            metric.add_metric(label_values, _buckets(value), sum_value=value.total)
        else:
            assert not isinstance(value, Distribution)
            metric.add_metric(label_values, float(value))
    return metric


def _buckets(value: Distribution) -> list[tuple[str, float]]:
    bounds = [*[str(bound) for bound in value.bounds], "+Inf"]
    return [(bound, float(count)) for bound, count in zip(bounds, accumulate(value.counts), strict=True)]
