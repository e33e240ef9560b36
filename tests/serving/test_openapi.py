"""Requests that the service's own description allows, and others, get a described answer.

In this process, without a socket.
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode
from starlette.types import Receive, Scope, Send

from omnial.inference.inspector import Inspector
from omnial.serving.app import build_app
from omnial.serving.service import Service
from omnial.serving.service_settings import ServiceSettings
from tests.serving.running_service import BAD, GOOD, RedFinder, model_of

_HOST = "testserver"
EXAMPLES = int(os.environ.get("OMNIAL_EXAMPLES", "10"))
"""Requests of each operation, of each kind; `make fuzz` sends more."""
LENIENT = [checks.positive_data_acceptance, checks.negative_data_rejection]
"""Not tried: only the model knows its classes, and a time may be given as a number."""
OPERATIONS = (
    "POST /v1/inspect",
    "POST /v1/inspect/batch",
    "GET /v1/model",
    "GET /metrics",
    "GET /v1/history",
    "GET /v1/history.csv",
    "GET /v1/history/{number}",
    "GET /v1/history/{number}/picture",
    "GET /v1/history/{number}/map",
    "PUT /v1/history/{number}/review",
    "GET /healthz",
    "GET /readyz",
)
WITHOUT_INPUT = {"GET /v1/model", "GET /metrics", "GET /healthz", "GET /readyz"}


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The service's description, bound to a running service with two inspections in its history."""
    history = tmp_path_factory.mktemp("history") / "history.sqlite"
    limits = ServiceSettings(history=history, names=(_HOST,), gather_milliseconds=0.0)
    service = Service(Inspector.of(model_of(RedFinder())), "abc123", limits)
    application = build_app(service)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # The service is started and stopped here, in one loop; the clients have others.
        if scope["type"] != "lifespan":
            await application(scope, receive, send)

    async def fill() -> None:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{_HOST}") as http:
            for content in (GOOD, BAD):
                assert (await http.post("/v1/inspect", content=content)).status_code == 200

    service.start()
    asyncio.run(fill())
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    assert service.admission.inside == 0
    assert service.alive()
    asyncio.run(service.stop())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_described_gets_a_described_answer(description: Any, operation: str) -> None:
    _try(description, operation, GenerationMode.POSITIVE)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in WITHOUT_INPUT])
def test_what_is_not_described_gets_a_described_answer(description: Any, operation: str) -> None:
    _try(description, operation, GenerationMode.NEGATIVE)


def test_every_operation_is_tried(description: Any) -> None:
    found = {operation.ok().label for operation in description.get_all_operations()}
    assert found == set(OPERATIONS)


def _try(description: Any, operation: str, mode: GenerationMode) -> None:
    """Send requests, and hold the answers to all of schemathesis' checks."""
    method, path = operation.split()
    cases = description[path][method].as_strategy(generation_mode=mode)

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def answer(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=LENIENT)

    answer()
