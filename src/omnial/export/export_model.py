"""`omnial export`: a model folder in, an export folder out, compared with PyTorch."""

import logging
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.decode import as_unit
from omnial.errors import UserError
from omnial.evaluation.sample import Sample, in_windows, stack
from omnial.export.build import HINTS, build, check_precision, float_nodes, write_onnx
from omnial.export.gate import (
    ExportImages,
    Reference,
    allowed_elsewhere,
    compare,
    from_data,
    made_up,
    spread,
)
from omnial.export.normality_graph import write_normality
from omnial.files import file_digest, locked, replace_together, scratch_in, writing
from omnial.inference.engines import OnnxBackend, OpenVinoBackend, needs_package
from omnial.inference.verify import COUNT, Samples, make_inputs, run_samples, write_samples
from omnial.model_folder.config_file import CONFIG_FILE, extra_arrays
from omnial.model_folder.export_folder import (
    ARRAYS_FILE,
    EXPORT_FILE,
    EXPORT_VERSION,
    MODEL_FILES,
    NORMALITY_FILE,
    SAMPLES_FILE,
    Candidate,
    ExportRecord,
    Format,
    Gate,
    Precision,
    check_free_for_export,
    exported_files,
)
from omnial.model_folder.weights_file import load_model
from omnial.models.prediction import Backend
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent

Choice: TypeAlias = Precision | Literal["auto"]

COMPARED_IMAGES = 100
"""Images of a data set that an export is compared on, by default. [O]"""

_ROUNDS = 9
_PACKAGES = ("omnial", "torch", "onnx", "onnxruntime", "openvino", "nncf")
_logger = logging.getLogger(__name__)


class _Built(NamedTuple):
    """A network in one precision, compared with PyTorch."""

    precision: Precision
    path: Path
    engine: Backend
    gate: Gate


def export_model(
    model_dir: Path,
    out: Path,
    *,
    format_: Format,
    precision: Choice = "auto",
    data: Sequence[Path] = (),
    compared_images: int = COMPARED_IMAGES,
    reconstruction: bool = False,
    with_pictures: bool = False,
    reading: Reading = AS_TRAINED,
    progress: Progress = silent,
) -> ExportRecord:
    """Export a trained model to a folder; one that is there is replaced.

    For `auto`, all precisions that this machine gains from are built, timed and compared, and the
    fastest that passes the gate is taken. Without `data`, the export is compared on made-up
    pictures, and there is no INT8.

    The record's `gate.passed` says whether the export is good; one that is not is written all the
    same, and says so whenever it is opened.
    """
    with needs_package("ONNX", ".[export]"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    if precision != "auto":
        check_precision(format_, precision)
    if not data and (precision == "int8" or with_pictures):
        what = "INT8 is calibrated on normal images" if precision == "int8" else "no pictures"
        raise UserError(f"{what}: name a data set with --data.")
    check_free_for_export(out)
    model = load_model(model_dir, "cpu")
    progress("inspecting with PyTorch", 0, 1)
    images = from_data(data, model, compared_images, reading) if data else ExportImages((), ())
    if data and precision == "int8" and not images.calibration:
        raise UserError("INT8 is calibrated on normal training images, and the data has none.")
    pytorch = TorchBackend(model)
    compared = images.compared or made_up(model.settings.data)
    reference = Reference.of(
        "data" if data else "synthetic", compared, pytorch, model.settings, model.normality
    )
    progress("inspecting with PyTorch", 1, 1)
    with locked(out), writing("The export", out, SafetensorError), scratch_in(out) as work:
        progress("writing the graph", 0, 1)
        source = work / "source.onnx"
        write_onnx(model, source, reconstruction=reconstruction)
        progress("writing the graph", 1, 1)
        built = []
        for wanted in _wanted(format_, precision, bool(images.calibration)):
            progress(f"building and comparing {wanted}", 0, 1)
            folder = work / wanted
            folder.mkdir()
            in_float = float_nodes(source, model.network) if wanted == "int8" else ()
            path = build(
                *(source, format_, wanted, folder),
                images=images.calibration,
                in_float=in_float,
                pretrained=model.settings.model.normality == "own+pretrained",
            )
            engine: Backend = (
                OnnxBackend(path, "cpu")
                if format_ == "onnx"
                else OpenVinoBackend(path, "cpu", hint=HINTS[wanted])
            )
            gate = compare(engine, reference, wanted, model.calibration)
            built.append(_Built(wanted, path, engine, gate))
            progress(f"building and comparing {wanted}", 1, 1)
        first, *_ = in_windows(compared[0], model.settings.data)
        candidates = _timed(built, first) if len(built) > 1 else ()
        times = {one.precision: one.milliseconds for one in candidates}
        # The fastest that passed; where none did, the first, which is the most exact.
        passed = [item for item in built if item.gate.passed] or built[:1]
        chosen = min(passed, key=lambda item: times.get(item.precision, 0.0))
        samples = _samples(model, pytorch, images.compared if with_pictures else ())
        record = _complete(chosen, format_, model_dir, model, samples, candidates)
        put_in_place(work / chosen.precision, out, record)
    return record


def _wanted(format_: Format, precision: Choice, calibrated: bool) -> list[Precision]:
    """The precisions to build; for `auto` those that can be faster on this machine."""
    if precision != "auto":
        return [precision]
    wanted: list[Precision] = ["fp32"]
    if format_ == "openvino":
        with needs_package("OpenVINO", ".[export]"):
            import openvino
        abilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        names: dict[Precision, str] = {"bf16": "BF16", "fp16": "FP16"}
        wanted += [name for name, ability in names.items() if ability in abilities]
    if calibrated:
        return [*wanted, "int8"]
    _logger.info("INT8 was not tried: it needs normal training images, see --data")
    return wanted


def _timed(built: Sequence[_Built], sample: Sample) -> tuple[Candidate, ...]:
    """Median times of one image, the engines taking turns."""
    images, valid = as_unit(sample.image)[np.newaxis], sample.valid[np.newaxis]
    times: dict[Precision, list[float]] = {item.precision: [] for item in built}
    for round_ in range(_ROUNDS + 1):
        for item in built:
            start = time.perf_counter()
            item.engine.run(images, valid)
            if round_ > 0:
                times[item.precision].append(1000.0 * (time.perf_counter() - start))
    return tuple(
        Candidate(
            precision=item.precision,
            milliseconds=round(statistics.median(times[item.precision]), 3),
            passed=item.gate.passed,
            reasons=item.gate.reasons,
        )
        for item in built
    )


def _samples(model: TrainedModel, reference: Backend, pictures: Sequence[Sample]) -> Samples:
    images: NDArray[np.uint8]
    if pictures:
        parts = [in_windows(sample, model.settings.data) for sample in spread(pictures, COUNT)]
        unit, valid = stack([windows[len(windows) // 2] for windows in parts])
        images = np.rint(255.0 * unit).astype(np.uint8)
    else:
        images, valid = make_inputs(model.settings.data)
    return Samples(images, valid, reference.run(as_unit(images), valid))


def _complete(
    chosen: _Built,
    format_: Format,
    model_dir: Path,
    model: TrainedModel,
    samples: Samples,
    candidates: tuple[Candidate, ...],
) -> ExportRecord:
    """Complete the chosen precision's folder; `export.json` is its last file."""
    folder = chosen.path.parent
    shutil.copyfile(model_dir / CONFIG_FILE, folder / CONFIG_FILE)
    save_file(extra_arrays(model.recogniser, model.rois, model.normality), folder / ARRAYS_FILE)
    write_samples(folder / SAMPLES_FILE, samples)
    for name in (ARRAYS_FILE, SAMPLES_FILE):
        # The library lets the owner alone read its files; the user's own rule holds here.
        shutil.copymode(chosen.path, folder / name)
    on_samples = run_samples(chosen.engine, samples)
    versions = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    names = exported_files(format_, model.settings)
    if NORMALITY_FILE in names:
        write_normality(model, folder / NORMALITY_FILE)
    record = ExportRecord(
        export_version=EXPORT_VERSION,
        format=format_,
        precision=chosen.precision,
        hint=HINTS[chosen.precision],
        executed={name: str(value) for name, value in chosen.engine.facts().items()},
        gate=chosen.gate,
        samples=on_samples,
        samples_tolerance=allowed_elsewhere(chosen.precision, on_samples),
        candidates=candidates,
        versions=versions,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        files={name: file_digest(folder / name) for name in names},
    )
    (folder / EXPORT_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def put_in_place(source: Path, out: Path, record: ExportRecord) -> None:
    """Move the files over an older export.

    `export.json` comes first: it has the digests of the others, so that a folder in which a kill
    left some of the old ones is refused.
    """
    replace_together(source, out, (EXPORT_FILE, CONFIG_FILE, *record.files))
    for name in {NORMALITY_FILE, *chain(*MODEL_FILES.values())} - set(record.files):
        (out / name).unlink(missing_ok=True)
