"""Counters and histograms for one thread, cheaper than the library's, which lock for each number."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


class Tally(Collector):
    """A counter that somebody else keeps, ``set`` before each scrape to what it stands at; or one that
    is counted at every call, since the library's takes a lock each time: 1 us instead of 0.2.
    """

    def __init__(self, name: str, help_: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._help, self._labels = name, help_, labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        registry.register(self)

    def set(self, value: float, *labels: str) -> None:
        """What it stands at."""
        self._values[labels] = value

    def add(self, labels: tuple[str, ...], number: float = 1.0) -> None:
        """Count one, or so many. In the loop's thread only."""
        self._values[labels] = self._values.get(labels, 0.0) + number

    def remove_by_labels(self, labels: Mapping[str, str]) -> None:
        """Tell no more of what has these labels."""
        wanted = [(self._labels.index(name), value) for name, value in labels.items()]
        self._values = {
            key: value
            for key, value in self._values.items()
            if any(key[place] != each for place, each in wanted)
        }

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return [family]

    def describe(self) -> Iterable[Metric]:
        """For the registry: which names are taken."""
        return [CounterMetricFamily(self._name, self._help, labels=self._labels)]


class Series:
    """One histogram. The library's takes a lock for each number: 0.9 us instead of 0.25."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, amount: float) -> None:
        """Count an amount in the bucket that it is in. In the loop's thread only."""
        self.counts[bisect_left(self.bounds, amount)] += 1
        self.total += amount

    def exemplify(self, amount: float, at: float, trace: str) -> None:
        """Name a call's trace beside the bucket that the amount is in; the newest stays (epoch seconds)."""
        self.exemplars[bisect_left(self.bounds, amount)] = Exemplar({"trace_id": trace}, amount, at)


class Spread(Collector):
    """A histogram: a ``Series`` for each set of labels."""

    def __init__(
        self,
        name: str,
        help_: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._help, self._labels, self._bounds = name, help_, labels, bounds
        self._series: dict[tuple[str, ...], Series] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *labels: str) -> Series:
        """The series of these, which begins here."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Series(self._bounds)
        return found

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        names = [*map(str, self._bounds), "+Inf"]
        for labels, series in self._series.items():
            upto = 0
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for place, (name, number) in enumerate(zip(names, series.counts, strict=True)):
                upto += number
                exemplar = series.exemplars.get(place)
                buckets.append((name, float(upto), exemplar) if exemplar else (name, float(upto)))
            family.add_metric(labels, buckets, series.total)
        return [family]

    def describe(self) -> Iterable[Metric]:
        """For the registry: which names are taken."""
        return [HistogramMetricFamily(self._name, self._help, labels=self._labels)]
