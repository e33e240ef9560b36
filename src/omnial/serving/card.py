"""The model card: what runs here, and what its verdicts rest on."""

import hashlib
from pathlib import Path

from omnial._version import __version__
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.inference.overlay import heat_stops
from omnial.model_folder.config_file import CONFIG_FILE
from omnial.serving.replies import ClassReply, ModelReply
from omnial.serving.settings import ServiceSettings
from omnial.untrusted import MOST_JSON_BYTES, UntrustedError, read_bytes

_DIGITS = 12


def model_name(folder: Path) -> str:
    """A short name of a model as it is calibrated: the start of its configuration's digest.

    The configuration holds the digest of the weights and the thresholds, so either changes it.

    Raises:
        UserError: The folder has no configuration.
    """
    try:
        content = read_bytes(folder / CONFIG_FILE, MOST_JSON_BYTES)
    except (OSError, UntrustedError) as error:
        raise UserError(f"{folder / CONFIG_FILE} cannot be read: {error}") from error
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def model_card(inspector: Inspector, name: str, settings: ServiceSettings) -> ModelReply:
    """Describe what runs.

    Args:
        inspector: The model.
        name: What `model_name` calls it.
        settings: The service's.
    """
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
            "batch": settings.max_batch,
            "queue": settings.queue,
        },
        history=settings.history is not None,
        heat=[(score, "#{:02x}{:02x}{:02x}".format(*colour)) for score, colour in heat_stops()],
    )
