"""Models of a study's rows on the demo data, for the pictures that may be published."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from omnial.demo.production_line import generate
from omnial.studies.job import Job, plan_jobs
from omnial.studies.plan import Row
from omnial.studies.roots import StudyData
from omnial.studies.side_by_side import see_to_all

DEMO_DATA: Final = "demo-data"

_SEED: Final = 0
_SHARE: Final = 4  # these models get a quarter of a row's images


def train_on_demo(
    rows: Sequence[Row],
    work: Path,
    *,
    size: str,
    images: int,
    overrides: Sequence[str],
    at_once: int,
    tell: Callable[[str], None],
    progress: bool,
) -> list[Job]:
    """Train each row on the demo data, on a quarter of the images, as far as it is not done.

    Args:
        rows: Unified rows.
        work: Folder for data, models and results, none of which need last.
        size: Name of the size.
        images: Images of the study's runs.
        overrides: Settings of all rows.
        at_once: Trainings at the same time.
        tell: Called with a line about each run as it begins.
        progress: Show each training's progress.

    Returns:
        A job for each row, whose model lies in `model_folder(job, work)`.

    Raises:
        UserError: Impossible settings.
        RunError: A result cannot be written.
    """
    generate(work / DEMO_DATA, seed=_SEED)
    data = StudyData.of([work / DEMO_DATA])
    jobs = []
    for row in rows:
        (job,) = plan_jobs(
            row, data, size=size, images=max(1, images // _SHARE), overrides=overrides
        )
        jobs.append(job)
    results = work / "demo-results"
    see_to_all(
        *(jobs, results, work, at_once),
        begins=lambda job: tell(f"{job.row.label}, on the demo data for the pictures"),
        progress=progress,
    )
    return jobs
