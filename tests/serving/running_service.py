"""Services on free ports of the loopback address, with a network that finds red."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import httpx
import numpy as np
import torch
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from omnial.config.settings import Settings
from omnial.inference.inspector import Inspector
from omnial.models.system import Output
from omnial.models.thresholds import Calibration
from omnial.models.trained_model import TrainedModel
from omnial.serving.app import build_app
from omnial.serving.service import Service
from omnial.serving.service_settings import ServiceSettings
from tests.small_model import green_or_blue

SIZE = 64
CLASSES = ("moss", "sea")


class RedFinder(nn.Module):
    """Red is anomalous."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(10.0))
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Output:
        self.gate.wait(30)
        self.batches.append(len(images))
        logit = self.gain * (images[:, :1] - 0.5)
        return Output(images, images[:, :1], torch.cat([-logit, logit], 1))


def model_of(network: nn.Module, size: int = SIZE, threshold: float = 0.2) -> TrainedModel:
    return TrainedModel(
        settings=Settings.model_validate({"data": {"height": size, "width": size}}),
        classes=CLASSES,
        network=network,
        calibration=Calibration(
            per_class={"moss": threshold, "sea": None},
            pooled=threshold + 0.1,
            pixel=0.5,
            false_alarm_rate=0.1,
            counts={"moss": 20, "sea": 2},
            scores={"moss": (0.1,) * 20, "sea": (0.1,) * 2},
        ),
        recogniser=green_or_blue(CLASSES),
        rois={},
        training={"steps": 3},
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def part(
    defect: tuple[slice, slice] | None = None, *, height: int = SIZE, width: int = SIZE
) -> bytes:
    """A PNG file of a green part, with a red defect."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 1] = 255
    if defect is not None:
        pixels[(*defect, 0)] = 255
    return png(pixels)


GOOD = part()
BAD = part((slice(10, 30), slice(20, 60)))


class Running(NamedTuple):
    http: httpx.Client
    url: str
    service: Service
    network: Any
    server: uvicorn.Server


@contextmanager
def running(model: TrainedModel, batch_size: int = 8, **settings: Any) -> Iterator[Running]:
    """A service in a thread of this process, stopped at the end."""
    inspector = Inspector.of(model, batch_size=batch_size)
    service = Service(inspector, "abc123", ServiceSettings(**{"port": 0, **settings}))
    server = uvicorn.Server(
        uvicorn.Config(build_app(service), log_config=None, lifespan="on", access_log=False)
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=url, timeout=30) as http:
                yield Running(http, url, service, model.network, server)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
