"""From a model folder and test images to figures and a report: `omnial evaluate`."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch

from omnial.config.settings import AS_TRAINED, DataSettings, Reading
from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.data.records import Catalogue
from omnial.distributed import collectives
from omnial.distributed.world import World, read_world
from omnial.errors import UserError
from omnial.evaluation.evaluate import (
    METRICS_FILE,
    TABLE_FILE,
    describe_model,
    evaluate_detector,
    evaluate_model,
    write_metrics,
)
from omnial.evaluation.result import EvaluationResult
from omnial.files import StrPath, as_path, as_paths, locked, replace_together, scratch_in, writing
from omnial.inference.detector import EngineDetector
from omnial.inference.inspector import Inspector
from omnial.model_folder.export_folder import is_export
from omnial.model_folder.weights_file import load_model
from omnial.reporting.evaluation_report import REPORT_FILE, write_report


def evaluate(
    model: StrPath,
    roots: StrPath | Iterable[StrPath],
    out: StrPath,
    *,
    batch_size: int = 16,
    gallery_per_class: int = 6,
    skip_bad_files: bool = False,
    device: str = "auto",
    reading: Reading = AS_TRAINED,
    on_checked: Callable[[int, int], None] | None = None,
    on_evaluated: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Evaluate a model on test images, and write metrics.json, metrics.csv and index.html.

    The three are put in place together: on a full disk, an earlier report stays as it was.

    Args:
        model: A model folder or an export folder; an export that does not reconstruct has
            neither PSNR and SSIM nor a gallery.
        roots: A data folder or several, see `omnial.data.layouts.discover`.
        out: Folder for the results.
        batch_size: Images a batch.
        gallery_per_class: Most pictures shown of each class.
        skip_bad_files: Leave unreadable files out, and list them, instead of stopping.
        device: A PyTorch device name, or `auto`. Where a launcher started several processes,
            which then share the images, it is `auto`, a GPU for each, or `cpu`.
        reading: How pictures are read, where that differs from the training.
        on_checked: Called with the number of files checked and of all.
        on_evaluated: Called with the number of images evaluated and of all.

    Returns:
        The result; its `bad_files` names what was left out.

    Raises:
        UserError: The model folder or the data is bad, or `out` cannot be written to or is in use.
        RunError: The results cannot be written.
        TypeError: An argument is of another kind.
    """
    model, out = as_path(model, "model"), as_path(out, "out")
    roots = as_paths(roots, "roots")
    world = read_world()
    target = _device(device, world)
    with (
        collectives.joined(world, gpu=target.startswith("cuda")),
        collectives.first_holds(lambda: locked(out)),
    ):
        result = _evaluate(
            model,
            roots,
            "skip" if skip_bad_files else "fail",
            batch_size,
            gallery_per_class,
            target,
            reading,
            on_checked,
            on_evaluated,
        )
        collectives.first(lambda: _write(result, out))
    return result


def _device(name: str, world: World) -> str:
    """The device of this process: each has its own GPU, where there are any."""
    if world.size == 1 or name == "cpu":
        return name
    if name != "auto":
        raise UserError(
            f"--device {name}: {world.size} processes cannot share it; give auto or cpu"
        )
    if not torch.cuda.is_available():
        return "cpu"
    if torch.cuda.device_count() < world.local_size:
        raise UserError(
            f"this machine has {torch.cuda.device_count()} GPUs for {world.local_size} processes: "
            "start one for each GPU, or give --device cpu"
        )
    return f"cuda:{world.local_rank}"


def _write(result: EvaluationResult, out: Path) -> None:
    with writing("The report", out), scratch_in(out) as scratch:
        write_metrics(result, scratch)
        write_report(result, scratch)
        replace_together(scratch, out, (METRICS_FILE, TABLE_FILE, REPORT_FILE))


def _evaluate(
    model: Path,
    roots: Sequence[Path],
    on_bad_file: Literal["fail", "skip"],
    batch_size: int,
    gallery_per_class: int,
    device: str,
    reading: Reading,
    on_checked: Callable[[int, int], None] | None,
    on_evaluated: Callable[[int, int], None] | None,
) -> EvaluationResult:
    """Load the model, check the files, and evaluate."""

    def catalogue_for(settings: DataSettings) -> Catalogue:
        strict = settings.model_copy(update={"on_bad_file": on_bad_file})
        return collectives.first(
            lambda: check_files(discover(roots, need="test"), strict, progress=on_checked)
        )

    if is_export(model):
        # Beside other processes, the engine keeps to this one's share of the cores.
        threads = torch.get_num_threads() if collectives.together() else None
        inspector = collectives.everyone(
            lambda: Inspector(model, device=device, threads=threads, reading=reading)
        )
        settings = inspector.settings
        return evaluate_detector(
            EngineDetector(inspector.backend, settings),
            catalogue_for(settings.data),
            settings.data,
            batch_size=batch_size,
            gallery_per_class=gallery_per_class,
            calibration=inspector.calibration,
            rois=inspector.rois,
            description={
                **describe_model(
                    settings, inspector.classes, inspector.calibration, inspector.training
                ),
                "engine": inspector.backend.facts(),
            },
            on_progress=on_evaluated,
        )
    trained = collectives.everyone(lambda: load_model(model, device, reading=reading))
    return evaluate_model(
        trained,
        catalogue_for(trained.settings.data),
        batch_size=batch_size,
        gallery_per_class=gallery_per_class,
        on_progress=on_evaluated,
    )
