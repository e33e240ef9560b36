"""Without Ray: how a worker answers, and when it refuses to try again."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from omnial.batch.archive import Assignment, Job, PartResult, begin, model_digest
from omnial.batch.on_ray import ATTEMPTS, _RayWorker
from omnial.errors import RunError, UserError


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
    (tmp_path / "out/predictions").mkdir(parents=True)
    begin(tmp_path / "out", job)
    return Assignment(job, model, tmp_path / "out", "cpu")


def inspect(assignment: Assignment) -> PartResult:
    """The first part, as it arrives from the worker's process."""
    (answer,) = pickle.loads(pickle.dumps(_RayWorker(assignment)({"item": [0]})["answer"]))
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, PartResult)
    return answer


def test_answer_holds_the_counts_of_the_part(assignment: Assignment) -> None:
    result = inspect(assignment)
    assert result.images == 4
    assert [path.name for path in (assignment.out / "predictions").iterdir()] == [
        "part-000000.parquet"
    ]


def test_worker_with_another_version_or_model_says_so(assignment: Assignment) -> None:
    for change in ({"version": "0.0.1"}, {"model": "0" * 64}):
        other = replace(assignment, job=assignment.job.model_copy(update=change))
        with pytest.raises(RunError, match=r"not 0\.0\.1|another model"):
            inspect(other)
    assert not list((assignment.out / "predictions").iterdir())


def test_mistake_of_the_user_comes_back_as_one(assignment: Assignment) -> None:
    with pytest.raises(UserError, match="nowhere") as raised:
        inspect(replace(assignment, device="nowhere"))
    assert "Traceback" in raised.value.__notes__[0]


def test_result_that_cannot_be_written_comes_back_with_its_reason(assignment: Assignment) -> None:
    pictured = assignment.job.model_copy(update={"pictures": True})
    (assignment.out / "maps").write_bytes(b"a file where a folder should be")
    with pytest.raises(RunError, match="could not be written"):
        inspect(replace(assignment, job=pictured))
    assert not list((assignment.out / "predictions").iterdir())


def test_part_that_kills_its_workers_is_given_up(assignment: Assignment) -> None:
    file = assignment.out / "predictions/part-000000.parquet"
    # Workers that die leave their marks behind.
    for index in range(ATTEMPTS):
        (file.parent / f".{file.name}.{index}.begun").touch()
    with pytest.raises(RunError, match=rf"died {ATTEMPTS} times.*part-000000"):
        inspect(assignment)
    next(file.parent.glob(".*.begun")).unlink()
    assert inspect(assignment).images == 4
    assert [path.name for path in file.parent.iterdir()] == [file.name]
