"""What a service may use and do: where it listens, its limits, its history."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from omnial.config.settings import PositiveFloat, PositiveInt, Section

MEGABYTE = 1_000_000


class ServiceSettings(Section):
    """Settings of `omnial serve`; every limit is there to bound memory, disk or waiting."""

    host: str = "127.0.0.1"
    """Address to listen on. Other machines reach the service only if it is not a loopback one."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    names: tuple[str, ...] = ()
    """Host names, besides `localhost`, `host` and any IP address, that a browser may use."""
    token: SecretStr | None = None
    """What requests must carry as a bearer token; None lets everybody in."""
    queue: PositiveInt = 64
    """Images that may wait or be in work at a time; one more is refused with 429."""
    max_megabytes: PositiveFloat = 20.0
    """Largest image file, in 10^6 bytes."""
    max_megapixels: PositiveFloat = 50.0
    """Images of more pixels are refused before they are decoded."""
    max_batch: PositiveInt = 16
    """Images in one request."""
    gather_milliseconds: Annotated[float, Field(ge=0.0, le=1000.0)] = 4.0
    """How long the first image of a batch waits for others that arrive at the same time."""
    timeout: PositiveFloat = 30.0
    """Seconds that a request may take to arrive, and again to be answered."""
    history: Path | None = None
    """SQLite file of the inspections; None keeps none."""
    history_files: bool = False
    """Keep the image files too, so that `omnial learn` can learn from reviews of them."""
    history_days: PositiveFloat = 90.0
    """Inspections are forgotten after that many days."""
    history_megabytes: Annotated[float, Field(ge=1.0)] = 1000.0
    """When the history takes more, in 10^6 bytes, the oldest inspections are forgotten."""

    @property
    def image_bytes(self) -> int:
        """Largest image file."""
        return round(self.max_megabytes * MEGABYTE)

    @property
    def largest_batch(self) -> int:
        """Images in one request: no more than the queue holds."""
        return min(self.max_batch, self.queue)

    @property
    def batch_bytes(self) -> int:
        """Largest request of several images: that of four of the largest."""
        return min(self.largest_batch, 4) * self.image_bytes

    def slots(self, length: int | None) -> int:
        """The places in the queue that a request of several images takes until it has arrived.

        So many of the largest images may have its length in bytes; None: it does not say.
        """
        most = min(self.largest_batch, 4)
        return most if length is None else min(most, max(1, -(-length // self.image_bytes)))
