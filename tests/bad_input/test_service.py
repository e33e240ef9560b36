"""What the service answers to hostile files."""

import base64
import csv
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from tests.bad_input.corpus import CASES, content_of
from tests.bad_input.outcomes import Answer, Case, Read
from tests.serving.running_service import BAD, GOOD, RedFinder, Running, model_of, running

pytestmark = pytest.mark.filterwarnings("ignore")
SENT = [case for case in CASES if case.service is not None]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    history = tmp_path_factory.mktemp("history") / "history.sqlite"
    with running(model_of(RedFinder()), history=history) as service:
        yield service


@pytest.mark.parametrize("case", SENT, ids=lambda case: ascii(case.name))
def test_a_file_has_its_documented_answer(service: Running, corpus: Path, case: Case) -> None:
    assert case.service is not None
    content = content_of(corpus / case.name)
    name = quote(case.name, safe="", errors="surrogateescape")
    answer = service.http.post(f"/v1/inspect?map=true&name={name}", content=content)

    assert answer.status_code == case.service.status, answer.text
    reply = answer.json()
    assert reply.get("error") == case.service.error
    if answer.status_code == 200:
        assert reply["name"] == (case.service.name or case.name)
        assert 0.0 <= reply["score"] <= 1.0
        with Image.open(BytesIO(base64.b64decode(reply["map"]))) as score_map:
            assert max(score_map.size) <= 320
        if isinstance(case.loader, Read):
            assert (reply["height"], reply["width"]) == (case.loader.height, case.loader.width)
        # It can be found and shown again.
        for path in ("", "/picture", "/map"):
            assert service.http.get(f"/v1/history/{reply['id']}{path}").status_code == 200
    else:
        assert str(corpus) not in reply["reason"]
    assert service.service.admission.inside == 0


def test_a_batch_gives_sound_images_their_verdict(service: Running, corpus: Path) -> None:
    """Hostile files between sound ones, all in the same batches of the network."""
    refused = [case for case in SENT if case.service != Answer(200) and not case.service.name]
    for start in range(0, len(refused), 14):
        group = refused[start : start + 14]
        contents = [BAD, *(content_of(corpus / case.name) or b"" for case in group), GOOD]
        files = [("images", ("x.png", content)) for content in contents]
        answer = service.http.post("/v1/inspect/batch", files=files)
        results = answer.json()["results"]

        assert (results[0]["anomalous"], results[-1]["anomalous"]) == (True, False)
        for case, result in zip(group, results[1:-1], strict=True):
            assert case.service is not None
            assert result.get("error") == case.service.error
    assert service.http.get("/readyz").status_code == 200
    assert service.service.admission.inside == 0


def test_every_name_is_one_cell_of_the_table(service: Running) -> None:
    names = [case.name for case in SENT if case.service == Answer(200)][-12:]
    for name in names:
        asked = f"/v1/inspect?name={quote(name, safe='', errors='surrogateescape')}"
        assert service.http.post(asked, content=GOOD).status_code == 200
    table = service.http.get("/v1/history.csv")

    rows = list(csv.DictReader(StringIO(table.text)))
    assert len({tuple(row) for row in rows}) == 1
    shown = [row["name"] for row in rows[: len(names)]]
    assert [name.removeprefix("'") for name in shown] == names[::-1]
    assert not any(name.startswith(("=", "+", "-", "@")) for name in shown)
