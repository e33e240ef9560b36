"""One image or several in, verdicts out: the same as the library's."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from omnial.inference.inspector import Inspector
from omnial.inference.overlay import heat_stops
from tests.serving.running_service import (
    BAD,
    CLASSES,
    GOOD,
    RedFinder,
    Running,
    model_of,
    part,
    png,
)


def inspect(plain: Running, content: bytes, **query: Any) -> dict[str, Any]:
    answer = plain.http.post("/v1/inspect", content=content, params=query)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


@pytest.mark.parametrize("size", [(64, 64), (200, 90), (31, 77)])
def test_a_reply_says_what_the_library_says(plain: Running, tmp_path: Path, size: Any) -> None:
    height, width = size
    defect = (slice(height // 4, height // 2), slice(width // 4, width // 2))
    content = part(defect, height=height, width=width)
    (tmp_path / "1.png").write_bytes(content)
    expected = Inspector.of(model_of(RedFinder())).inspect(tmp_path / "1.png")

    reply = inspect(plain, content, map="true")

    assert reply["class"] == expected.class_name == "moss"
    assert reply["score"] == pytest.approx(expected.score, abs=1e-6)
    assert (reply["threshold"], reply["anomalous"]) == (expected.threshold, expected.anomalous)
    assert (reply["height"], reply["width"]) == size
    assert reply["sha256"] == hashlib.sha256(content).hexdigest()
    (found,), (outline,) = reply["outlines"], expected.outlines
    np.testing.assert_allclose(found["polygon"], outline.polygon, atol=0.006)
    assert found["area"] == outline.area
    with Image.open(BytesIO(base64.b64decode(reply["map"]))) as image:
        np.testing.assert_allclose(np.asarray(image) / 255, expected.score_map, atol=0.51 / 255)


def test_a_large_map_travels_small(plain: Running) -> None:
    reply = inspect(plain, part((slice(0, 600), slice(0, 600)), height=600, width=1200), map="true")

    with Image.open(BytesIO(base64.b64decode(reply["map"]))) as image:
        assert image.size == (320, 160)
        pixels = np.asarray(image)
    assert pixels[:, :150].min() > 250
    assert pixels[:, 170:].max() < 5


def test_form_and_body_give_the_same(plain: Running) -> None:
    body = plain.http.post("/v1/inspect", content=BAD, params={"class": "sea", "name": "a.png"})
    form = plain.http.post("/v1/inspect", files={"image": ("a.png", BAD)}, data={"class": "sea"})

    first, second = body.json(), form.json()
    assert first.pop("id") != second.pop("id")
    assert first == second
    assert first["class"] == "sea"
    assert first["threshold"] == pytest.approx(0.3)


def test_good_images_have_suspects_only_where_asked_for(plain: Running) -> None:
    faint = np.zeros((64, 64, 3), np.uint8)
    faint[..., 1] = 255
    faint[10:30, 20:60, 0] = 80
    content = png(faint)

    plainly, asked = inspect(plain, content), inspect(plain, content, suspects="true")

    assert (plainly["anomalous"], plainly["outlines"], plainly["suspects"]) == (False, [], None)
    assert asked["outlines"] == []
    (suspect,) = asked["suspects"]
    assert suspect["area"] == 800


def test_suspects_of_an_anomalous_image_are_its_outlines(plain: Running) -> None:
    reply = inspect(plain, BAD, suspects="true")

    assert reply["suspects"] == reply["outlines"] != []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\parts\\1.png", "1.png"),
        ("a\u202e\x00b\n.png", "ab.png"),
        ("<img src=x>.png", "<img src=x>.png"),
        ("x" * 500, "x" * 200),
        ("/", None),
    ],
)
def test_a_name_is_for_people_and_never_a_path(plain: Running, sent: str, kept: str) -> None:
    assert inspect(plain, GOOD, name=sent)["name"] == kept


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"hello", "not a PNG"),
        (GOOD[:60], "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 200, "damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG"),
    ],
)
def test_a_bad_image_is_refused_with_its_reason(plain: Running, content: bytes, word: str) -> None:
    answer = plain.http.post("/v1/inspect", content=content)

    assert answer.status_code == 422
    assert word in answer.json()["reason"]
    # The reason says nothing about this machine.
    assert "/" not in answer.json()["reason"].replace("<svg", "")
    assert plain.service.admission.inside == 0


@pytest.mark.parametrize("name", ["teapot", "../moss", "MOSS", "moss\x00"])
@pytest.mark.parametrize("path", ["/v1/inspect", "/v1/inspect/batch"])
def test_an_unknown_class_is_refused(plain: Running, path: str, name: str) -> None:
    field = "images" if path.endswith("batch") else "image"
    answer = plain.http.post(path, params={"class": name}, files={field: ("a.png", GOOD)})

    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_class")
    assert all(known in answer.json()["reason"] for known in CLASSES)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("v1/inspect?klass=moss", "klass"),
        ("v1/inspect?class_name=moss", "class_name"),
        ("v1/inspect/batch?name=a.png", "name"),
        ("v1/history?product=moss", "product"),
        ("v1/history.csv?limit=3", "limit"),
        ("v1/history/1?map=true", "map"),
        ("v1/model?x=", "x"),
    ],
)
def test_an_unknown_field_of_a_query_is_refused(plain: Running, path: str, field: str) -> None:
    files = {"images" if "batch" in path else "image": ("a.png", GOOD)}
    sent = {"files": files} if "inspect" in path else {}
    answer = plain.http.request("POST" if sent else "GET", path, **sent)

    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_field")
    assert f"'{field}'" in answer.json()["reason"]
    assert plain.service.admission.inside == 0


def test_first_requests_at_once_find_the_description_whole(
    serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    built, whole = set[int](), FastAPI.openapi

    def slow(app: FastAPI) -> dict[str, Any]:
        built.add(threading.get_ident())
        time.sleep(0.05)
        return whole(app)

    monkeypatch.setattr(FastAPI, "openapi", slow)
    service = serve()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: service.http.get("v1/model"), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len(built) == 1


@pytest.mark.parametrize(
    ("path", "files", "data", "field"),
    [
        ("/v1/inspect", {"img": ("a.png", GOOD)}, {}, "img"),
        ("/v1/inspect", {"images": ("a.png", GOOD)}, {}, "images"),
        ("/v1/inspect/batch", {"image": ("a.png", GOOD)}, {}, "image"),
        ("/v1/inspect", {"image": ("a.png", GOOD)}, {"klass": "moss"}, "klass"),
        ("/v1/inspect", {"image": ("a.png", GOOD)}, {"map": "true"}, "map"),
    ],
)
def test_an_unknown_field_of_a_form_is_refused(
    plain: Running, path: str, files: Any, data: dict[str, str], field: str
) -> None:
    answer = plain.http.post(path, files=files, data=data)

    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_field")
    assert f"'{field}'" in answer.json()["reason"]
    assert plain.service.admission.inside == 0


def test_docs_lead_to_the_description(plain: Running) -> None:
    answer = plain.http.get("/docs", follow_redirects=True)

    assert answer.url.path == "/openapi.json"
    assert "/v1/inspect" in answer.json()["paths"]


@pytest.mark.parametrize("data", [{}, {"image": "text"}])
def test_a_form_without_a_file(plain: Running, data: dict[str, str]) -> None:
    answer = plain.http.post(
        "/v1/inspect", data=data, files=None if data else {}, headers={} if data else None
    )
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    empty = plain.http.post("/v1/inspect", content=b"--x--\r\n", headers=boundary)

    assert empty.status_code == 422
    assert answer.status_code == 422
    assert plain.service.admission.inside == 0


def test_a_broken_form(plain: Running) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = plain.http.post("/v1/inspect", content=b"nonsense", headers=headers)

    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error", "reason"}
    assert plain.service.admission.inside == 0


@pytest.mark.parametrize("charset", ["undefined", "idna", "punycode", "unicode_escape", "none"])
@pytest.mark.parametrize("path", ["/v1/inspect", "/v1/inspect/batch"])
def test_a_form_of_a_strange_charset(plain: Running, path: str, charset: str) -> None:
    """Python has codecs that no text is in; none of them is the service's failure."""
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    field = b"images" if path.endswith("batch") else b"image"
    name = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="\xff..png"\r\n\r\n' % field
    answer = plain.http.post(path, content=name + GOOD + b"\r\n--x--\r\n", headers=headers)

    assert answer.status_code in (200, 400, 422)
    assert plain.service.admission.inside == 0


def test_a_batch_keeps_its_order_and_goes_on_past_bad_images(plain: Running) -> None:
    files = [("bad.png", BAD), ("text.png", b"text"), ("empty.png", b""), ("good.png", GOOD)]
    answer = plain.http.post("/v1/inspect/batch", files=[("images", file) for file in files])

    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [result["name"] for result in results] == [name for name, _ in files]
    assert [result.get("anomalous") for result in results] == [True, None, None, False]
    assert [result.get("error") for result in results] == [None, "bad_image", "no_image", None]


def test_a_batch_is_a_form(plain: Running) -> None:
    assert plain.http.post("/v1/inspect/batch", content=GOOD).status_code == 415


def test_every_refusal_has_the_same_shape(plain: Running) -> None:
    answers = [
        plain.http.get("/nothing"),
        plain.http.delete("/v1/model"),
        plain.http.get("/v1/history", params={"limit": "many"}),
        plain.http.put("/v1/history/1/review", json={"review": "perhaps"}),
        plain.http.get("/v1/history/999999"),
    ]

    assert [answer.status_code for answer in answers] == [404, 405, 422, 422, 404]
    assert all(set(answer.json()) == {"error", "reason"} for answer in answers)


def test_the_model_card(plain: Running) -> None:
    card = plain.http.get("/v1/model").json()

    assert [product["name"] for product in card["classes"]] == list(CLASSES)
    assert [product["threshold"] for product in card["classes"]] == [0.2, pytest.approx(0.3)]
    assert [product["own_threshold"] for product in card["classes"]] == [True, False]
    assert card["notes"]
    assert card["input"] == {"height": 64, "width": 64, "geometry": "auto"}
    assert [(score, bytes.fromhex(colour[1:])) for score, colour in card["heat"]] == [
        (score, bytes(colour)) for score, colour in heat_stops()
    ]


def test_metrics_count_what_was_inspected(plain: Running) -> None:
    def value(line: str) -> float:
        text = plain.http.get("/metrics").text
        return next(
            (float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row.startswith(line)), 0.0
        )

    series = 'omnial_images_total{product="moss",verdict="anomalous"}'
    route = 'omnial_requests_total{route="/v1/inspect",status="200"}'
    before = value(series), value(route)
    inspect(plain, BAD, name="omnial_fake 1\n")
    plain.http.get("/made/up/path")

    assert (value(series), value(route)) == (before[0] + 1, before[1] + 1)
    assert "made" not in plain.http.get("/metrics").text


def test_the_description_is_typed_and_offline(plain: Running) -> None:
    schema = plain.http.get("/openapi.json").json()

    post = schema["paths"]["/v1/inspect"]["post"]
    assert {"200", "401", "413", "422", "429", "504"} <= set(post["responses"])
    reply = post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    fields = schema["components"]["schemas"][reply.rsplit("/", 1)[1]]["properties"]
    assert {"class", "score", "threshold", "anomalous", "outlines"} <= set(fields)
    assert "multipart/form-data" in post["requestBody"]["content"]
    # FastAPI's own pages would load scripts from elsewhere.
    assert plain.http.get("/redoc").status_code == 404
    assert "/v1/history/{number}/review" in schema["paths"]
    assert json.dumps(schema)
