"""`omnial.train`: a training in one call, with settings or with the few words that most need."""

from collections.abc import Iterable

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.files import StrPath, as_path, as_paths
from omnial.training.fit import TrainSummary
from omnial.training.fit import train as fit


def train(
    data: StrPath | Iterable[StrPath],
    out: StrPath,
    settings: Settings | None = None,
    *,
    system: str | None = None,
    size: str | None = None,
    minutes: float | None = None,
    images: int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    init: StrPath | None = None,
    progress: bool = True,
) -> TrainSummary:
    """Train one model on the defect-free images of all classes, and write its folder.

    Where a launcher started several processes, all of them must call this: they share each batch,
    and the first one alone writes.

    Args:
        data: A data folder or several: each a class, or a folder of classes.
        out: The model folder. Training state goes to its `checkpoints`, logs to its `logs`.
        settings: Everything about the run, from `load_settings`, in place of the next six.
        system: What is computed; None is `omnial`.
        size: How large and how long; None is `lite`.
        minutes: Budget in minutes of training steps. At most one budget; none is 200,000 images.
        images: Budget in images, counting repeats.
        steps: Budget in steps.
        seed: Of every draw; None is 0.
        resume: Go on with the run that `out` holds, if it holds one; with another budget, by the
            schedule of that.
        init: A model folder whose weights to start from; its products need not be the same.
        progress: Show a progress bar, or lines where there is no terminal.

    Returns:
        A summary.

    Raises:
        UserError: Bad data, an impossible setting, a folder in use, settings that differ from
            those of the run that is resumed, weights that do not fit, or processes that cannot
            share the run.
        RunError: The loss or its gradient is no longer finite, the disk cannot be written, or
            another process has ended.
        KeyboardInterrupt: A signal stopped the run; `resume` goes on with it.
        TypeError: An argument is of another kind, or there are settings and words for them.

    Example:
        >>> import omnial
        >>> summary = omnial.train("parts", "model", size="lite", minutes=30)
    """
    data, out = as_paths(data, "data"), as_path(out, "out")
    budget = {"minutes": minutes, "images": images, "steps": steps, "seed": seed}
    given = [f"training.{name}={value}" for name, value in budget.items() if value is not None]
    if settings is None:
        settings = load_settings(system=system, size=size, overrides=given)
    elif given or system is not None or size is not None:
        raise TypeError("give settings, or system, size, budget and seed, not both")
    return fit(settings, data, out, resume=resume, init=init, progress=progress)
