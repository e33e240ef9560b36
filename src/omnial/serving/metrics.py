"""Figures for Prometheus, in a registry of the service's own."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """What the service counts; `inside` gives the number of slots that are taken, of `most`.

    No label holds anything that a request chose: routes are templates, products are the model's.
    """

    def __init__(self, facts: dict[str, str], inside: Callable[[], float], most: int) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        counter = partial(Counter, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        self.requests = counter("omnial_requests", "Requests answered.", ["route", "status"])
        self.request_seconds = histogram(
            "omnial_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
        )
        self.images = counter("omnial_images", "Images inspected.", ["product", "verdict"])
        self.bad_images = counter(
            "omnial_bad_images", "Images that could not be inspected.", ["error"]
        )
        self.batch_images = histogram("omnial_batch_images", "Images in a batch.", buckets=_SIZES)
        self.batch_seconds = histogram("omnial_batch_seconds", "Time of a batch.", buckets=_SECONDS)
        self.history_failures = counter(
            "omnial_history_failures", "Inspections that could not be kept."
        )
        Info("omnial", "What runs here.", registry=self._registry).info(facts)
        gauge = partial(Gauge, registry=self._registry)
        gauge("omnial_places", "Images that may be inside.").set(most)
        gauge("omnial_places_taken", "Images being received, waiting, or in work.").set_function(
            inside
        )

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
