"""What needs no Ray: how a worker answers, and when it refuses to try again."""

from dataclasses import replace
from pathlib import Path

import pytest

from omnial.batch.job import Job, model_digest
from omnial.batch.listing import write_listing
from omnial.batch.ray_engine import ATTEMPTS, _RayWorker
from omnial.batch.ray_engine import _Answer as Answer
from omnial.batch.worker import Assignment
from omnial.errors import RunError, UserError

ROWS = {"number": [0], "offset": [0]}


@pytest.fixture
def assignment(model: Path, archive: Path, tmp_path: Path) -> Assignment:
    job = Job(
        model=model_digest(model),
        base=tmp_path,
        paths=(str(archive),),
        class_name=None,
        tile=None,
        batch_size=4,
        part_images=4,
        pictures=False,
    )
    write_listing(tmp_path / "out", [archive], 4)
    (tmp_path / "out/predictions").mkdir()
    return Assignment(job, model, tmp_path / "out", "cpu")


def answer_of(assignment: Assignment) -> Answer:
    (text,) = _RayWorker(assignment)(ROWS)["answer"]
    return Answer.model_validate_json(text)


def test_answer_holds_the_counts_of_the_part(assignment: Assignment) -> None:
    result = answer_of(assignment).unwrap()
    assert (result.number, result.images) == (0, 4)
    assert [path.name for path in (assignment.out / "predictions").iterdir()] == [
        "part-000000.parquet"
    ]


def test_worker_with_another_version_or_model_says_so(assignment: Assignment) -> None:
    for change in ({"version": "0.0.1"}, {"model": "0" * 64}):
        other = replace(assignment, job=assignment.job.model_copy(update=change))
        with pytest.raises(RunError, match=r"not 0\.0\.1|another model"):
            answer_of(other).unwrap()
    assert not list((assignment.out / "predictions").iterdir())


def test_mistake_of_the_user_comes_back_as_one(assignment: Assignment) -> None:
    with pytest.raises(UserError, match="nowhere") as raised:
        answer_of(replace(assignment, device="nowhere")).unwrap()
    assert "Traceback" in raised.value.__notes__[0]


def test_result_that_cannot_be_written_comes_back_with_its_reason(assignment: Assignment) -> None:
    pictured = assignment.job.model_copy(update={"pictures": True})
    (assignment.out / "maps").write_bytes(b"a file where a folder should be")
    with pytest.raises(RunError, match="could not be written"):
        answer_of(replace(assignment, job=pictured)).unwrap()
    assert not list((assignment.out / "predictions").iterdir())


def test_part_that_kills_its_workers_is_given_up(assignment: Assignment) -> None:
    file = assignment.out / "predictions/part-000000.parquet"
    # Workers that die leave their marks behind.
    for index in range(ATTEMPTS):
        (file.parent / f".{file.name}.{index}.begun").touch()
    with pytest.raises(RunError, match=rf"died {ATTEMPTS} times.*part-000000"):
        answer_of(assignment).unwrap()
    next(file.parent.glob(".*.begun")).unlink()
    assert answer_of(assignment).unwrap().images == 4
    assert [path.name for path in file.parent.iterdir()] == [file.name]
