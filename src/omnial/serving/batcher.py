"""The queue: how many images may be inside, and one thread that inspects them in batches.

The first image of a batch waits a few milliseconds for others. Files are decoded on the way in and
pictures encoded on the way out, a few at a time: memory holds the pixels of one batch.
"""

import logging
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from numpy.typing import NDArray

from omnial.data.decode import read_rgb
from omnial.data.image_file import ImageError
from omnial.data.prefetch import prefetch
from omnial.inference.inspector import Inspector, ScoredImage
from omnial.serving.findings import Finding, describe
from omnial.serving.metrics import Metrics
from omnial.serving.replies import RefusedError
from omnial.serving.service_settings import ServiceSettings
from omnial.serving.upload import Upload

_NAME = Path("image")
"""Stands for every upload: what a request calls its file never becomes a path."""
_logger = logging.getLogger(__name__)
_MEMORY = 0.1
"""Weight of the latest batch in the average time of an image."""


class Admission:
    """Slots for the images that are being received, wait or are in work: at most `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside = 0
        """Slots that are taken."""
        self._image_seconds = 0.0
        self._lock = threading.Lock()

    def take(self, count: int = 1) -> None:
        """Take slots; a RefusedError (429) that says when to come again if as many are not left.

        A negative number gives some back.
        """
        with self._lock:
            if self.inside + count <= self.most:
                self.inside += count
                return
            wait = max(1, math.ceil(self.inside * self._image_seconds))
        reason = f"All {self.most} slots are taken; try again in {wait} s."
        raise RefusedError(429, "busy", reason, {"Retry-After": str(wait)})

    def give(self, count: int = 1) -> None:
        """Give slots back."""
        with self._lock:
            self.inside -= count

    def took(self, images: int, since: float) -> None:
        """Learn how long images take, from when (`time.monotonic`) their batch began."""
        seconds = (time.monotonic() - since) / max(1, images)
        with self._lock:
            self._image_seconds += _MEMORY * (seconds - self._image_seconds)


@dataclass(eq=False)
class Job:
    """An image to be inspected; it holds a slot of the admission until it is dealt with."""

    upload: Upload
    class_name: str | None
    suspects: bool = False
    future: "Future[Finding]" = field(default_factory=Future)
    """Gets the finding, or the `ImageError` of a file that cannot be used."""


class Batcher:
    """Inspects jobs in a thread of its own, and gives their slots back."""

    def __init__(
        self,
        inspector: Inspector,
        admission: Admission,
        metrics: Metrics,
        settings: ServiceSettings,
    ) -> None:
        self._inspector = inspector
        self._admission = admission
        self._metrics = metrics
        self._gather_seconds = settings.gather_milliseconds / 1000
        limit = {"max_megapixels": settings.max_megapixels}
        self._reading = inspector.settings.data.model_copy(update=limit)
        self._pictures = settings.history is not None
        self._files = settings.history_files
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="inspection", daemon=True)
        self._busy_since: float | None = None

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a job into the queue."""
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what is in the queue, and end."""
        self._queue.put(None)
        self._thread.join()

    def alive(self, longest: float) -> bool:
        """Whether the thread runs and has not been at one batch for longer, in seconds."""
        since = self._busy_since
        return self._thread.is_alive() and (since is None or time.monotonic() - since <= longest)

    def _work(self) -> None:
        while (jobs := self._gather()) is not None:
            self._busy_since = time.monotonic()
            groups: defaultdict[str | None, list[Job]] = defaultdict(list)
            for job in jobs:
                # A request that gave up is not worth the work.
                if job.future.set_running_or_notify_cancel():
                    groups[job.class_name].append(job)
                else:
                    self._admission.give()
            for group in groups.values():
                self._run(group)
            self._admission.took(len(jobs), self._busy_since)
            self._busy_since = None

    def _gather(self) -> list[Job] | None:
        """The jobs of one batch, or None at the end."""
        first = self._queue.get()
        if first is None:
            return None
        jobs = [first]
        until = time.monotonic() + self._gather_seconds
        while len(jobs) < self._inspector.batch_size:
            try:
                job = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                break
            if job is None:
                self._queue.put(None)
                break
            jobs.append(job)
        return jobs

    def _run(self, jobs: Sequence[Job]) -> None:
        """Inspect jobs of one class; whatever happens, each gets an answer."""
        try:
            self._inspect(jobs)
        except Exception as error:
            left = [job for job in jobs if not job.future.done()]
            if len(jobs) > 1:
                # One image must not take its neighbours with it.
                for job in left:
                    self._run([job])
                return
            _logger.exception("an inspection failed")
            for job in left:
                self._settle(job, error)

    def _settle(self, job: Job, result: Finding | Exception) -> None:
        # The slot first: whoever gets an answer may come back at once.
        self._admission.give()
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)

    def _inspect(self, jobs: Sequence[Job]) -> None:
        start, decoded = time.perf_counter(), deque[Job]()
        scored = self._inspector.score(self._images(jobs, decoded), jobs[0].class_name)
        pairs = ((decoded.popleft(), image) for image in scored)
        count = 0
        for job, finding in prefetch(self._describe, pairs, self._inspector.workers):
            count += 1
            self._settle(job, finding)
        if count:
            self._metrics.batch_images.observe(count)
            self._metrics.batch_seconds.observe(time.perf_counter() - start)

    def _images(self, jobs: Sequence[Job], decoded: deque[Job]) -> Iterator[NDArray[Any]]:
        """Decode the jobs' files; the jobs of those that can be read go into `decoded`."""
        images = prefetch(self._decode, jobs, self._inspector.workers)
        for job, image in zip(jobs, images, strict=True):
            if isinstance(image, ImageError):
                self._settle(job, image)
            else:
                decoded.append(job)
                yield image

    def _decode(self, job: Job) -> NDArray[Any] | ImageError:
        try:
            return read_rgb(_NAME, self._reading, content=job.upload.content)
        except ImageError as error:
            return error

    def _describe(
        self, pair: tuple[Job, ScoredImage | ImageError]
    ) -> tuple[Job, Finding | ImageError]:
        job, scored = pair
        inspection = self._inspector.finish(scored)
        if isinstance(inspection, ImageError):
            return job, inspection
        finding = describe(
            *(inspection, job.upload, self._inspector.calibration.pixel),
            self._inspector.settings.data,
            suspects=job.suspects,
            picture=self._pictures,
        )
        return job, finding._replace(file=job.upload.content) if self._files else finding
