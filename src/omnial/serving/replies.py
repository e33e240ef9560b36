"""What the service answers with, typed: the OpenAPI description is made of these."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Review: TypeAlias = Literal["right", "false_alarm", "missed"]
Verdict: TypeAlias = Literal["good", "anomalous"]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]


class Reply(BaseModel):
    """An answer; its fields are documented by their docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)


class OutlineReply(Reply):
    """A region that the model marked."""

    polygon: list[tuple[float, float]]
    """Corners x, y in source pixels, whole numbers at pixel centres; closed."""
    area: int
    """Source pixels."""
    peak: float
    """Largest score in the region."""


class InspectionReply(Reply):
    """The verdict on one image."""

    id: int | None
    """Number in the history; null where none is kept or it could not be written."""
    name: str | None
    """Name that the image was sent with."""
    sha256: str
    """Digest of the file that was sent."""
    class_name: Annotated[str | None, Field(alias="class")]
    """The product that was named or recognised; null for an unknown product."""
    score: Unit
    threshold: float
    """The calibrated one: anomalous is a score more than 1e-4 above it."""
    anomalous: bool
    outlines: list[OutlineReply]
    """Defects of an anomalous image, the largest first; empty for a good one."""
    suspects: list[OutlineReply] | None
    """With `suspects=true`: what would be outlined if the image were anomalous."""
    width: int
    """Of the image rotated upright, in pixels."""
    height: int
    map: str | None
    """With `map=true`: the score map as a grey PNG in base64, at most 320 pixels an edge, 255 is
    probability 1."""


class BadImageReply(Reply):
    """An image of a batch that could not be inspected."""

    name: str | None
    error: str
    """A short code that programs may rely on."""
    reason: str
    """A sentence for people."""


class BatchReply(Reply):
    """One result for each image of a batch, in order."""

    results: list[InspectionReply | BadImageReply]


class HealthReply(Reply):
    """Whether the service lives, or is ready."""

    status: Literal["ok"]


class ClassReply(Reply):
    """A product that the model knows."""

    name: str
    threshold: float
    """Image threshold in use."""
    own_threshold: bool
    """False: too few normal images, so that the one of all classes together is used."""
    normal_images: int
    """Normal images that the threshold rests on."""


class ModelReply(Reply):
    """The model card: what runs here, what it knows, and what its verdicts rest on."""

    omnial: str
    """Version of the software."""
    model: str
    """Start of the digest of the folder's `config.json`: changes with weights and calibration."""
    system: str
    size: str
    input: dict[str, int | str]
    """Height, width and geometry of the network input."""
    engine: dict[str, object]
    """What computes, where, and with which precision."""
    classes: list[ClassReply]
    unknown_threshold: float
    """Threshold where no class was found: the largest."""
    pixel_level: float
    """Score above which pixels are outlined."""
    false_alarm_rate: float
    """Share of normal images that the thresholds were set to call anomalous."""
    notes: list[str]
    """What to know about the thresholds."""
    training: dict[str, object]
    limits: dict[str, float]
    """Largest file in megabytes, largest image in megapixels, images in a batch, queue."""
    history: bool
    """Whether inspections are kept."""
    heat: list[tuple[float, str]]
    """Colours of the score map, as pairs of score and CSS colour."""


class HistoryItem(Reply):
    """An inspection that was kept."""

    id: int
    time: str
    """UTC, ISO 8601."""
    name: str | None
    sha256: str
    class_name: Annotated[str | None, Field(alias="class")]
    score: float
    threshold: float
    anomalous: bool
    width: int
    height: int
    outlines: list[OutlineReply]
    suspects: list[OutlineReply] | None
    review: Review | None
    """What a person said about the verdict."""
    reviewed: str | None
    """When, UTC."""
    model: str
    """The model of that day, as on the model card."""


class HistoryReply(Reply):
    """A page of the history, the latest first."""

    items: list[HistoryItem]
    next: int | None
    """Give it as `before` to get the next page; null: there is none."""


class ReviewRequest(BaseModel):
    """A person's word on a verdict; null takes it back."""

    model_config = ConfigDict(extra="forbid")

    review: Review | None
