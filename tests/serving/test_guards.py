"""Who may ask, from where, and what every answer carries."""

from collections.abc import Callable, Iterator

import pytest

from omnial.serving.app import PAGE_FILES
from tests.serving.running_service import GOOD, RedFinder, Running, model_of, running

Serve = Callable[..., Running]
TOKEN = "a-token-of-some-length"
PATHS = (
    *("/v1/model", "/metrics", "/v1/history", "/v1/history.csv", "/v1/history/1"),
    *("/v1/history/1/picture", "/v1/history/1/map"),
)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    history = tmp_path_factory.mktemp("locked") / "h.sqlite"
    with running(model_of(RedFinder()), token=TOKEN, history=history) as service:
        yield service


@pytest.mark.parametrize(
    "header", [None, f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}", "é"]
)
def test_nobody_gets_in_without_the_token(locked: Running, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode()}
    answers = [locked.http.get(path, headers=headers) for path in PATHS]
    answers.append(locked.http.post("/v1/inspect", content=GOOD, headers=headers))
    answers.append(locked.http.post("/v1/inspect/batch", content=b"", headers=headers))
    answers.append(locked.http.put("/v1/history/1/review", json={}, headers=headers))

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert locked.network.batches == []


def test_the_token_opens_everything(locked: Running) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}

    assert locked.http.post("/v1/inspect", content=GOOD, headers=headers).status_code == 200
    assert {locked.http.get(path, headers=headers).status_code for path in PATHS} == {200}
    locked.network.batches.clear()


def test_health_and_the_page_need_no_token(locked: Running) -> None:
    assert {locked.http.get(path).status_code for path in ("/healthz", "/readyz", "/")} == {200}


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[", "x y"])
def test_a_foreign_host_is_refused(plain: Running, host: str) -> None:
    # What DNS rebinding looks like.
    assert plain.http.get("/v1/history", headers={"Host": host}).status_code in (400, 421)


@pytest.mark.parametrize(
    "host", ["localhost:1", "127.0.0.1", "[::1]:8000", "192.168.7.1", "LOCALHOST"]
)
def test_own_hosts(plain: Running, host: str) -> None:
    assert plain.http.get("/v1/history", headers={"Host": host}).status_code == 200


def test_a_host_that_was_named(serve: Serve) -> None:
    running = serve(names=("Line-7.example",))

    assert running.http.get("/v1/model", headers={"Host": "line-7.example:80"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_sites_page_cannot_send(plain: Running, origin: str) -> None:
    headers = {"Origin": origin}
    sent = plain.http.post("/v1/inspect", content=GOOD, headers=headers)
    put = plain.http.put("/v1/history/1/review", json={"review": None}, headers=headers)

    assert (sent.status_code, put.status_code) == (403, 403)


def test_the_own_page_can_send(plain: Running) -> None:
    headers = {"Origin": plain.url}

    assert plain.http.post("/v1/inspect", content=GOOD, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nothing", "/metrics", "/main.js"])
def test_every_answer_has_the_security_headers(plain: Running, path: str) -> None:
    headers = plain.http.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", PAGE_FILES)
def test_the_page_is_whole_and_names_nothing_elsewhere(plain: Running, path: str) -> None:
    answer = plain.http.get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].split(";")[0] in {
        *("text/html", "text/css", "text/javascript", "image/svg+xml"),
    }
    for address in ("https://", "//cdn", "http://"):
        assert address not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "innerHTML" not in answer.text
    assert " style=" not in answer.text
    assert "onclick" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/../settings.py", "/%2e%2e/settings.py", "/page/index.html", "//etc/passwd"],
)
def test_no_other_file_is_served(plain: Running, path: str) -> None:
    assert plain.http.get(path).status_code == 404


@pytest.mark.parametrize("origin", ["http://[", "http://[x]y", "//]", "\u00e9"])
def test_an_origin_that_is_no_address_is_foreign(plain: Running, origin: str) -> None:
    headers = {b"Origin": origin.encode()}
    answer = plain.http.post("/v1/inspect", content=GOOD, headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (403, "foreign_origin")
