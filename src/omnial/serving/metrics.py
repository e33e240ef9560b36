"""Figures for Prometheus, in a registry of the service's own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """What the service counts.

    No label holds anything that a request chose: routes are templates, products are the model's.
    """

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "omnial_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "omnial_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._images = Counter(
            "omnial_images", "Images inspected.", ["product", "verdict"], registry=registry
        )
        self._bad = Counter(
            "omnial_bad_images", "Images that could not be inspected.", ["error"], registry=registry
        )
        self._batch = Histogram(
            "omnial_batch_images", "Images in a batch.", buckets=_SIZES, registry=registry
        )
        self._batch_seconds = Histogram(
            "omnial_batch_seconds", "Time of a batch.", buckets=_SECONDS, registry=registry
        )
        self._unkept = Counter(
            "omnial_history_failures", "Inspections that could not be kept.", registry=registry
        )

    def describe(self, facts: dict[str, str], inside: Callable[[], float], most: int) -> None:
        """Tell what runs, and where to look for how full the house is."""
        Info("omnial", "What runs here.", registry=self._registry).info(facts)
        places = Gauge("omnial_places", "Images that may be inside.", registry=self._registry)
        places.set(most)
        taken = Gauge(
            "omnial_places_taken",
            "Images being received, waiting, or in work.",
            registry=self._registry,
        )
        taken.set_function(inside)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def image(self, product: str | None, anomalous: bool) -> None:
        """Count an inspected image."""
        verdict = "anomalous" if anomalous else "good"
        self._images.labels(product or "unknown product", verdict).inc()

    def bad_image(self, error: str) -> None:
        """Count an image that could not be inspected."""
        self._bad.labels(error).inc()

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch; one without a readable image is none."""
        if images:
            self._batch.observe(images)
            self._batch_seconds.observe(seconds)

    def unkept(self) -> None:
        """Count an inspection that the history could not take."""
        self._unkept.inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
