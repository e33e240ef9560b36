"""What the routes stand on: from files to replies, through the queue and into the history."""

import asyncio
import base64

from omnial.data.image_file import ImageError, TooManyPixelsError
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.serving.admission import Admission
from omnial.serving.batcher import Batcher, Job
from omnial.serving.card import model_card
from omnial.serving.findings import Finding
from omnial.serving.history import Entry, History
from omnial.serving.metrics import Metrics
from omnial.serving.problems import RefusedError
from omnial.serving.recorder import Recorder
from omnial.serving.replies import InspectionReply
from omnial.serving.settings import ServiceSettings
from omnial.serving.upload import Upload

_STUCK = 4
"""Time-outs that a batch may take before the service calls itself ill."""


class Service:
    """A model, its queue and its history.

    Args:
        inspector: The model, warmed up.
        model: Its name, see `omnial.serving.card.model_name`.
        settings: Limits and the place of the history.

    Raises:
        UserError: The history cannot be used.
    """

    def __init__(self, inspector: Inspector, model: str, settings: ServiceSettings) -> None:
        self.settings = settings
        self.card = model_card(inspector, model, settings)
        self.metrics = Metrics()
        self.admission = Admission(settings.queue)
        self.recorder = _recorder(settings)
        self._inspector = inspector
        self._batcher = Batcher(
            inspector,
            self.admission,
            self.metrics,
            gather=settings.gather_milliseconds / 1000,
            max_megapixels=settings.max_megapixels,
            pictures=self.recorder is not None,
        )
        facts = {"version": self.card.omnial, "model": model, "engine": inspector.backend.name}
        self.metrics.describe(facts, lambda: self.admission.inside, settings.queue)

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
        """Refuse a class that the model does not know.

        Raises:
            RefusedError: 422.
        """
        try:
            self._inspector.check_class(name)
        except UserError as error:
            raise RefusedError(422, "unknown_class", str(error)) from error

    async def inspect(
        self, upload: Upload, class_name: str | None, *, with_map: bool, suspects: bool
    ) -> InspectionReply:
        """Inspect an image that has its place (`Admission.take`), which it gives back.

        Raises:
            RefusedError: The image cannot be used, or it took too long.
        """
        job = Job(upload.content, class_name, suspects)
        self._batcher.submit(job)
        try:
            async with asyncio.timeout(self.settings.timeout):
                finding = await asyncio.wrap_future(job.future)
        except TimeoutError as error:
            raise RefusedError(
                504, "timeout", f"No result within {self.settings.timeout:g} s."
            ) from error
        except ImageError as error:
            raise self._unusable(error) from error
        self.metrics.image(finding.class_name, finding.anomalous)
        number = await self._keep(upload, finding)
        return InspectionReply(
            id=number,
            name=upload.name,
            sha256=upload.sha256,
            class_name=finding.class_name,
            score=finding.score,
            threshold=finding.threshold,
            anomalous=finding.anomalous,
            outlines=finding.outlines,
            suspects=finding.suspects,
            width=finding.width,
            height=finding.height,
            map=base64.b64encode(finding.map_png).decode() if with_map else None,
        )

    def _unusable(self, error: ImageError) -> RefusedError:
        if isinstance(error, TooManyPixelsError):
            self.metrics.bad_image("too_many_pixels")
            most = self.card.limits["megapixels"]
            return RefusedError(
                413, "too_many_pixels", f"An image may have {most:g} megapixels, it has more."
            )
        self.metrics.bad_image("bad_image")
        return RefusedError(422, "bad_image", f"The image cannot be used: {error.reason}.")

    async def _keep(self, upload: Upload, finding: Finding) -> int | None:
        if self.recorder is None:
            return None
        suspects = finding.suspects
        entry = Entry(
            name=upload.name,
            sha256=upload.sha256,
            class_name=finding.class_name,
            score=finding.score,
            threshold=finding.threshold,
            anomalous=finding.anomalous,
            width=finding.width,
            height=finding.height,
            outlines=[outline.model_dump() for outline in finding.outlines],
            suspects=None if suspects is None else [s.model_dump() for s in suspects],
            model=self.card.model,
            map_png=finding.map_png,
            picture_jpeg=finding.picture_jpeg,
        )
        number = await self.recorder.keep(entry)
        if number is None:
            self.metrics.unkept()
        return number


def _recorder(settings: ServiceSettings) -> Recorder | None:
    if settings.history is None:
        return None
    return Recorder(
        History(
            settings.history,
            days=settings.history_days,
            megabytes=settings.history_megabytes,
        )
    )
