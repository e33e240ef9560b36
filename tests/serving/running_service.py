"""Services on free ports of the loopback address, with a network that finds red."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from omnial.inference.inspector import Inspector
from omnial.models.system import Output
from omnial.models.trained_model import TrainedModel
from omnial.serving.app import server_config
from omnial.serving.service import Service
from omnial.serving.service_settings import ServiceSettings
from tests import small_model

SIZE = small_model.EDGE
CLASSES = ("moss", "sea")


class RedFinder(small_model.RedFinder):
    """Waits at a gate, which is open until a test shuts it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def forward(self, images: Tensor) -> Output:
        self.gate.wait(30)
        return super().forward(images)


def model_of(network: nn.Module, size: int = SIZE, threshold: float = 0.2) -> TrainedModel:
    data = {"height": size, "width": size}
    return small_model.red_model(network, data=data, threshold=threshold, training={"steps": 3})


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
    server = uvicorn.Server(server_config(service))
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
