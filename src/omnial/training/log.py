"""What a run shows while it trains: TensorBoard, CSV, a progress bar or lines, early pictures."""

import logging
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
from lightning_fabric.loggers.csv_logs import CSVLogger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from torch import nn

from omnial.models.scoring import score_map
from omnial.synthesis.recipe import SynthesizedBatch

_logger = logging.getLogger(__name__)

LOG_STEPS = 10
"""Steps from one row of the logs to the next: reading a loss waits for the device."""
_LINE_SECONDS = 30.0
_PICTURE_STEPS = (1, 50)  # pictures before step 100; then each time the step has doubled
_PICTURE_SAMPLES = 4


def clock(seconds: float) -> str:
    """A time as `0:07:40`."""
    return str(timedelta(seconds=round(seconds)))


class RunLog:
    """The logs of the first process; those of the others stay empty.

    A run resumed at step `begin` writes next to, not over, what it continues. With `progress` it
    shows a progress bar, or lines where there is no terminal.
    """

    def __init__(
        self, out: Path, begin: int, batch_size: int, *, first: bool, progress: bool
    ) -> None:
        self._batch_size, self._first = batch_size, first
        self._time, self._step = time.monotonic(), begin
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._lines = first and progress and not terminal
        self._bar: Progress | None = None
        if not first:
            return
        folder, version = out / "logs", f"from_step_{begin}"
        shutil.rmtree(folder / "csv" / version, ignore_errors=True)
        self._csv = CSVLogger(folder, name="csv", version=version)
        self._tensorboard = TensorBoardLogger(folder, name="tensorboard", version=version)
        if progress and terminal:
            columns = (TextColumn("training"), BarColumn(), TaskProgressColumn())
            values = TextColumn("{task.fields[values]}")
            console = Console(stderr=True)
            self._bar = Progress(*columns, TimeElapsedColumn(), values, console=console)
            self._task = self._bar.add_task("training", total=None, values="")
            self._bar.start()

    def write(
        self, step: int, values: Mapping[str, float], total: int | None, left: float | None
    ) -> None:
        """Log the values of the last of `step` steps, and show how far the run is.

        `total` steps and `left` seconds are None where that is not known yet.
        """
        if not self._first:
            return
        seconds = time.monotonic() - self._time
        speed = (step - self._step) * self._batch_size / max(seconds, 1e-9)
        for logger in (self._csv, self._tensorboard):
            # Steps count from 0 there.
            logger.log_metrics({**values, "images/s": speed}, step - 1)
        text = f"{speed:.1f} images/s, loss {values['loss']:.3f}"
        if left is not None:
            text = f"{clock(left)} left, {text}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, total=total, values=text)
        if seconds >= _LINE_SECONDS:
            self._time, self._step = time.monotonic(), step
            if self._lines:
                of = "?" if total is None else f"{total} ({100 * step // total} %)"
                _logger.info("step %d of %s, %s", step, of, text)

    def picture(self, step: int, network: nn.Module, sample: SynthesizedBatch) -> None:
        """Draw what the last step trained on, with reconstructions and score maps, early on.

        The network, the exponential moving average, is set to eval mode: looking changes no state.
        """
        doubled = step >= 100 and step & (step - 1) == 0
        if not self._first or not (step in _PICTURE_STEPS or doubled):
            return
        anomalous = sample.anomalous[:_PICTURE_SAMPLES]
        with torch.no_grad():
            output = network.eval()(anomalous)
        columns = (
            sample.normal[:_PICTURE_SAMPLES],
            anomalous,
            output.reconstruction.clamp(0.0, 1.0),
            sample.mask[:_PICTURE_SAMPLES].expand(-1, 3, -1, -1),
            score_map(output.logits)[:, None].expand(-1, 3, -1, -1),
        )
        picture = torch.cat([torch.cat(list(column), 1) for column in columns], 2)
        self._tensorboard.experiment.add_image("samples", picture.cpu(), step)

    def close(self) -> None:
        """Put everything on disk, and take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        if self._first:
            self._csv.finalize("")
            self._tensorboard.finalize("")
