"""The service: a model, its queue and its history, from files to replies."""

import asyncio
import base64
from pathlib import Path
from typing import Final

from omnial._version import __version__
from omnial.data.image_file import ImageError, TooManyPixelsError
from omnial.errors import UserError
from omnial.files import file_digest
from omnial.inference.inspector import Inspector
from omnial.inference.overlay import heat_stops
from omnial.model_folder.config_file import CONFIG_FILE
from omnial.serving.batcher import Admission, Batcher, Job
from omnial.serving.history import History, Recorder
from omnial.serving.metrics import Metrics
from omnial.serving.replies import (
    ClassReply,
    InspectionReply,
    InspectQuery,
    ModelReply,
    RefusedError,
)
from omnial.serving.service_settings import ServiceSettings
from omnial.serving.upload import Upload

_DIGITS: Final = 12
_STUCK: Final = 4
"""Time-outs that a batch may take before the service calls itself ill."""


class Service:
    """A model that is warmed up, its queue and its history; a UserError if that cannot be used."""

    def __init__(self, inspector: Inspector, model: str, settings: ServiceSettings) -> None:
        self.settings = settings
        self.card = model_card(inspector, model, settings)
        self.admission = Admission(settings.queue)
        facts = {"version": self.card.omnial, "model": model, "engine": inspector.backend.name}
        self.metrics = Metrics(facts, lambda: self.admission.inside, settings.queue)
        self.recorder: Recorder | None = None
        if settings.history is not None:
            days, megabytes = settings.history_days, settings.history_megabytes
            self.recorder = Recorder(History(settings.history, days=days, megabytes=megabytes))
        self._inspector = inspector
        self._batcher = Batcher(inspector, self.admission, self.metrics, settings)

    def start(self) -> None:
        """Begin to take jobs."""
        self._batcher.start()

    async def stop(self) -> None:
        """Finish what was taken, and close the history."""
        await asyncio.to_thread(self._batcher.stop)
        if self.recorder is not None:
            await self.recorder.close()

    def alive(self) -> bool:
        """Whether inspections go on."""
        return self._batcher.alive(_STUCK * self.settings.timeout)

    def check_class(self, name: str | None) -> None:
        """Refuse a class that the model does not know, with a RefusedError."""
        try:
            self._inspector.check_class(name)
        except UserError as error:
            raise RefusedError(422, "unknown_class", str(error)) from error

    async def inspect(
        self, upload: Upload, class_name: str | None, asked: InspectQuery
    ) -> InspectionReply:
        """Inspect an image that has its slot (`Admission.take`), which it gives back.

        A RefusedError says that the image cannot be used, or that it took too long.
        """
        job = Job(upload, class_name, asked.suspects)
        self._batcher.submit(job)
        try:
            async with asyncio.timeout(self.settings.timeout):
                finding = await asyncio.wrap_future(job.future)
        except TimeoutError as error:
            reason = f"No result within {self.settings.timeout:g} s."
            raise RefusedError(504, "timeout", reason) from error
        except ImageError as error:
            refusal = self._unusable(error)
            self.metrics.bad_images.labels(refusal.problem.error).inc()
            raise refusal from error
        reply = finding.reply
        verdict = "anomalous" if reply.anomalous else "good"
        self.metrics.images.labels(reply.class_name or "unknown product", verdict).inc()
        if self.recorder is not None:
            try:
                reply.id = await self.recorder.call(History.add, finding, self.card.model)
            except RefusedError:
                # A full disk must not stop the line: the verdict is given all the same.
                self.metrics.history_failures.inc()
        if asked.map:
            reply.map = base64.b64encode(finding.map_png).decode()
        return reply

    def _unusable(self, error: ImageError) -> RefusedError:
        if isinstance(error, TooManyPixelsError):
            reason = (
                f"An image may have {self.settings.max_megapixels:g} megapixels, it has more; the "
                "service sets that with --max-megapixels."
            )
            return RefusedError(413, "too_many_pixels", reason)
        return RefusedError(422, "bad_image", f"The image cannot be used: {error.reason}.")


def model_name(folder: Path) -> str:
    """A short name of a model: the start of its configuration's digest.

    The configuration holds the digest of the weights and the thresholds.
    """
    return file_digest(folder / CONFIG_FILE)[:_DIGITS]


def model_card(inspector: Inspector, name: str, settings: ServiceSettings) -> ModelReply:
    """Make the model card: what runs here, and what its verdicts rest on."""
    data, calibration = inspector.settings.data, inspector.calibration
    return ModelReply(
        omnial=__version__,
        model=name,
        system=inspector.settings.system,
        size=inspector.settings.size,
        input={"height": data.height, "width": data.width, "geometry": data.geometry},
        engine={"name": inspector.backend.name, **inspector.backend.facts()},
        classes=[
            ClassReply(
                name=product,
                threshold=calibration.threshold_for(product),
                own_threshold=calibration.per_class[product] is not None,
                normal_images=calibration.counts[product],
            )
            for product in inspector.classes
        ],
        unknown_threshold=calibration.threshold_for(None),
        pixel_level=calibration.pixel,
        false_alarm_rate=calibration.false_alarm_rate,
        notes=list(calibration.notes()),
        training=dict(inspector.training),
        limits={
            "megabytes": settings.max_megabytes,
            "megapixels": settings.max_megapixels,
            "batch": settings.largest_batch,
            "queue": settings.queue,
        },
        history=settings.history is not None,
        heat=[(score, "#{:02x}{:02x}{:02x}".format(*colour)) for score, colour in heat_stops()],
    )
