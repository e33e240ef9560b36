"""From a model folder and test images to figures and a report: `omnial evaluate`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.evaluation.evaluate import evaluate_model, write_metrics
from omnial.evaluation.result import EvaluationResult
from omnial.models.folder import load_model
from omnial.reporting.report import write_report


def evaluate(
    model: Path,
    roots: Sequence[Path],
    out: Path,
    *,
    batch_size: int = 16,
    gallery_per_class: int = 6,
    skip_bad_files: bool = False,
    device: str = "auto",
    on_checked: Callable[[int, int], None] | None = None,
    on_evaluated: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Evaluate a model on test images, and write metrics.json, metrics.csv and index.html.

    Args:
        model: A model folder.
        roots: Data folders, see `omnial.data.layouts.discover`.
        out: Folder for the results.
        batch_size: Images a batch.
        gallery_per_class: Most pictures shown of each class.
        skip_bad_files: Leave unreadable files out, and list them, instead of stopping.
        device: A PyTorch device name, or `auto`.
        on_checked: Called with the number of files checked and of all.
        on_evaluated: Called with the number of images evaluated and of all.

    Returns:
        The result; its `bad_files` names what was left out.

    Raises:
        UserError: The model folder or the data is bad.
        RunError: The results cannot be written.
    """
    trained = load_model(model, device)
    on_bad_file = "skip" if skip_bad_files else "fail"
    settings = trained.settings.data.model_copy(update={"on_bad_file": on_bad_file})
    catalogue = check_files(discover(roots, need="test"), settings, progress=on_checked)
    result = evaluate_model(
        trained,
        catalogue,
        batch_size=batch_size,
        gallery_per_class=gallery_per_class,
        on_progress=on_evaluated,
    )
    write_metrics(result, out)
    write_report(result, out)
    return result
