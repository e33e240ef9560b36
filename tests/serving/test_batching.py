"""Sharing a batch costs less and changes nothing."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnial.models.system import Output
from tests.serving.running_service import BAD, GOOD, RedFinder, Running, model_of, part, png

Serve = Callable[..., Running]


def pictures(count: int) -> list[bytes]:
    generator = np.random.default_rng(5)
    sizes = [(64, 64), (90, 75), (200, 170)]
    return [
        png(generator.integers(0, 256, (*sizes[index % 3], 3), np.uint8)) for index in range(count)
    ]


def reply(running: Running, content: bytes, **query: Any) -> dict[str, Any]:
    answer = running.http.post("/v1/inspect", content=content, params=query)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_concurrent_requests_share_batches_and_get_what_they_would_get_alone(
    serve: Serve,
) -> None:
    running = serve(gather_milliseconds=200)
    contents, products = pictures(12), ["moss", "sea", None]
    queries = [{"class": p} if (p := products[i % 3]) else {} for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        together = list(
            pool.map(
                lambda pair: reply(running, pair[0], **pair[1]), zip(contents, queries, strict=True)
            )
        )
    batches = running.network.batches.copy()
    alone = [
        reply(running, content, **query) for content, query in zip(contents, queries, strict=True)
    ]

    assert sum(batches) == 12
    assert len(batches) < 12
    for first, second in zip(together, alone, strict=True):
        assert first.pop("score") == pytest.approx(second.pop("score"), abs=1e-6)
        assert [o.pop("peak") for o in first["outlines"]] == pytest.approx(
            [o.pop("peak") for o in second["outlines"]], abs=1e-3
        )
        assert first == second


def test_no_waiting_where_none_is_wanted(serve: Serve) -> None:
    running = serve(gather_milliseconds=0)

    assert reply(running, BAD)["anomalous"]


def test_a_batch_has_at_most_its_size(serve: Serve) -> None:
    running = serve(batch_size=3, gather_milliseconds=300)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: reply(running, content), [GOOD] * 8))

    assert max(running.network.batches) <= 3


class Fussy(RedFinder):
    """Fails where an image is blue all over."""

    def forward(self, images: Tensor) -> Output:
        blue = (images[:, 2] == 1) & (images[:, 1] == 0)
        if torch.any(blue.flatten(1).all(1)):
            raise RuntimeError("the engine failed at /secret/path")
        return super().forward(images)


def test_an_image_that_breaks_the_engine_does_not_take_others_with_it(serve: Serve) -> None:
    running = serve(model=model_of(Fussy()), gather_milliseconds=300)
    poison = np.zeros((64, 64, 3), np.uint8)
    poison[..., 2] = 255
    contents = [GOOD, png(poison), BAD, b"no image"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda content: running.http.post("/v1/inspect", content=content), contents)
        )

    assert [answer.status_code for answer in answers] == [200, 500, 200, 422]
    assert [answer.json().get("anomalous") for answer in answers] == [False, None, True, None]
    # What went wrong inside is for the log.
    assert "secret" not in answers[1].text
    assert answers[1].headers["X-Content-Type-Options"] == "nosniff"
    assert running.service.admission.inside == 0
    assert reply(running, BAD)["anomalous"]


def test_stopping_answers_what_was_taken(serve: Serve) -> None:
    running = serve(gather_milliseconds=400)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(reply, running, content) for content in (GOOD, BAD, part())]
        while running.service.admission.inside < 3:
            time.sleep(0.01)
        running.server.should_exit = True
        verdicts = [future.result()["anomalous"] for future in futures]

    assert verdicts == [False, True, False]
