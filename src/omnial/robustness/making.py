"""Make an adversarial set from a model and defect-free images; a run that was cut short goes on.

Samples are attacked in fixed groups, and a group's files are written together. A run that goes on
skips the groups whose files are all there and does the others again, so that on the same machine it
ends in the same bytes as one that was never interrupted.
"""

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from omnial._version import __version__
from omnial.attacks.pgd import Schedule
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.cache import open_cache
from omnial.data.checks import check_files
from omnial.data.dataset import ImageDataset, load_dataset
from omnial.data.layouts import discover
from omnial.data.records import BadFile, Catalogue, ProductClass
from omnial.errors import UserError
from omnial.files import file_digest, locked, unused
from omnial.model_folder.config_file import WEIGHTS_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.trained_model import TrainedModel
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.attacking import attack_levels
from omnial.robustness.checks import Trace
from omnial.robustness.grid import difference
from omnial.robustness.levels import LEVELS
from omnial.robustness.manifest import (
    MANIFEST_FILE,
    PLAN_FILE,
    SCHEMA_VERSION,
    Entry,
    Identity,
    Manifest,
    differences,
    read_manifest,
    read_plan,
    write_manifest,
    write_plan,
)
from omnial.robustness.sample_file import (
    SUFFIX,
    BadSampleError,
    StoredSample,
    read_sample,
    write_sample,
)
from omnial.robustness.samples import Clean, draw_clean

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SetPlan:
    """How large a set is, and how it is attacked.

    Attributes:
        samples: Samples a class. [O] 50
        anomalous_share: Share of them with a defect. [S] 0.8
        seed: Of samples and attacks.
        steps: Steps of the attack. [P] 5
        alpha: Length of a step as a share of the radius; None is 2.5 / steps. [O]
        batch_size: Samples that are attacked at once; changes speed, memory and rounding, which
            turns signs of gradients near zero: other perturbations, an attack as strong.
    """

    samples: int = 50
    anomalous_share: float = 0.8
    seed: int = 0
    steps: int = 5
    alpha: float | None = None
    batch_size: int = 10

    @property
    def schedule(self) -> Schedule:
        """How the attack moves."""
        return Schedule(self.steps, self.alpha)


@dataclass(frozen=True)
class MadeSet:
    """A set that is there, and what was left out of its data."""

    data: AdversarialSet
    bad_files: tuple[BadFile, ...]


def make_set(
    model: Path,
    roots: Sequence[Path],
    out: Path,
    plan: SetPlan,
    *,
    skip_bad_files: bool = False,
    reading: Reading = AS_TRAINED,
    device: str = "auto",
    on_checked: Progress | None = None,
    on_attacked: Progress | None = None,
) -> MadeSet:
    """Make an adversarial set, or go on with one.

    Args:
        model: Folder of the attacked model: for the paper's protocol, a `surrogate`.
        roots: Data folders with defect-free training images.
        out: Folder of the set: new, empty, or with a set of the same making.
        plan: How large, and how attacked.
        skip_bad_files: Leave unreadable files out instead of stopping.
        reading: How the data is read, where that differs from the training.
        device: A PyTorch device name, or `auto`.
        on_checked: Called with the number of files checked and of all.
        on_attacked: Called with the number of samples done and of all.

    Returns:
        The set, verified.

    Raises:
        UserError: The model or the data is bad, the folder holds something else or is in use, or
            a class is not the model's.
        RunError: A sample cannot be written, or is not on disk what it should be.
    """
    with locked(out):
        return _make_set(
            *(model, roots, out, plan, skip_bad_files, reading, device, on_checked, on_attacked)
        )


def _make_set(
    model: Path,
    roots: Sequence[Path],
    out: Path,
    plan: SetPlan,
    skip_bad_files: bool,
    reading: Reading,
    device: str,
    on_checked: Progress | None,
    on_attacked: Progress | None,
) -> MadeSet:
    """Make a set in a folder that no other run uses."""
    started = time.perf_counter()
    trained = load_model(model, device, reading=reading)
    bad = "skip" if skip_bad_files else "fail"
    settings = trained.settings.data.model_copy(update={"on_bad_file": bad})
    cache = open_cache(settings)
    found = discover(roots, need="train")
    untested = Catalogue(tuple(replace(product, test=()) for product in found.classes))
    catalogue = check_files(untested, settings, progress=on_checked, cache=cache)
    identity = _identity(trained, file_digest(model / WEIGHTS_FILE), catalogue, plan)
    if _settled(out, identity):
        return MadeSet(AdversarialSet(out), catalogue.bad_files)
    records = [record for product in catalogue.classes for record in product.train]
    store = load_dataset(records, catalogue, settings, cache)
    labels = [record.class_name for record in records]
    entries: list[Entry] = []
    total = plan.samples * len(catalogue.classes)
    for product in catalogue.classes:
        for numbers in _groups(plan):
            entries += _group(trained, store, labels, product, numbers, identity, plan, out)
            if on_attacked is not None:
                on_attacked(len(entries), total)
    made = {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.perf_counter() - started, 1),
        "device": str(next(trained.network.parameters()).device),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "batch_size": plan.batch_size,
    }
    write_manifest(out, Manifest(identity, tuple(entries), made))
    return MadeSet(AdversarialSet(out), catalogue.bad_files)


def _groups(plan: SetPlan) -> list[range]:
    """The numbers of the samples that are attacked together."""
    size, count = plan.batch_size, plan.samples
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _group(
    model: TrainedModel,
    store: ImageDataset,
    labels: Sequence[str],
    product: ProductClass,
    numbers: Sequence[int],
    identity: Identity,
    plan: SetPlan,
    out: Path,
) -> list[Entry]:
    """Draw, attack and write samples, or find them written."""
    files = [f"samples/{product.name}/{number:04d}{SUFFIX}" for number in numbers]
    clean = draw_clean(
        *(store, labels, product, numbers, model.settings.synthesis.model_copy(update=_RECIPE)),
        *(plan.anomalous_share, plan.seed),
    )
    digests = _finished(out, files, clean, identity)
    if digests is None:
        steps, traces = {}, {}
        for level, images, trace in attack_levels(model, clean, LEVELS, plan.schedule, plan.seed):
            attacked = images.cpu().numpy()
            steps[level.name] = difference(attacked, clean.anomalous, level.grey_levels)
            traces[level.name] = trace
        digests = [
            write_sample(
                out / file,
                StoredSample(
                    *(clean.normal[row], clean.anomalous[row]),
                    *(clean.mask[row], clean.panel[row], clean.valid[row]),
                    {name: values[row] for name, values in steps.items()},
                    {name: _row(trace, row) for name, trace in traces.items()},
                ),
                LEVELS,
            )
            for row, file in enumerate(files)
        ]
    return [
        Entry(product.name, number, file, found, source, int(mask.sum()))
        for number, file, found, source, mask in zip(
            numbers, files, digests, clean.sources, clean.mask, strict=True
        )
    ]


_RECIPE = {"panels": True}
"""The surrogate learns without panels, but every set has them: half of a sample stays as it was."""


def _finished(
    out: Path, files: Sequence[str], clean: Clean, identity: Identity
) -> list[str] | None:
    """Digests of a group's files if all are there, whole, and of these samples."""
    digests = []
    height, width = identity.size
    for row, file in enumerate(files):
        try:
            sample = read_sample(out / file, LEVELS, identity.steps, (height, width))
            if not (sample.anomalous == clean.anomalous[row]).all():
                return None
            digests.append(file_digest(out / file))
        except (OSError, BadSampleError):
            return None
    return digests


def _row(trace: Trace, row: int) -> Trace:
    one = slice(row, row + 1)
    return Trace(
        trace.unattacked[one], trace.random[one], trace.values[:, one], trace.gradient[one]
    )


def _identity(model: TrainedModel, weights: str, catalogue: Catalogue, plan: SetPlan) -> Identity:
    settings = model.settings
    foreign = [name for name in catalogue.names if name not in model.classes]
    if foreign:
        raise UserError(
            f"the model has not learned {', '.join(foreign)}, so an attack on it would say nothing "
            f"about them. It knows {', '.join(model.classes)}; give --data of these alone."
        )
    recipe = settings.synthesis.model_copy(update=_RECIPE)
    return Identity(
        schema_version=SCHEMA_VERSION,
        version=__version__,
        surrogate={"system": settings.system, "size": settings.size, "weights_sha256": weights},
        seed=plan.seed,
        samples=plan.samples,
        anomalous_share=plan.anomalous_share,
        steps=plan.steps,
        alpha=plan.schedule.step_length(1.0),
        levels=[asdict(level) for level in LEVELS],
        size=[settings.data.height, settings.data.width],
        geometry=settings.data.geometry,
        recipe=recipe.model_dump(mode="json"),
        objective=settings.objective.model_dump(mode="json"),
        data={
            product.name: _data_digest(product, settings.data.significant_bits)
            for product in catalogue.classes
        },
    )


def _data_digest(product: ProductClass, bits: int) -> str:
    """SHA-256 over the training images of a class, in order: how they are read, names, contents."""
    whole = hashlib.sha256(b"" if bits == 16 else f"{bits}\0".encode())
    for record in product.train:
        line = f"{record.path.name}\0{file_digest(record.path)}\0"
        # A file's name may hold bytes that are no text.
        whole.update(line.encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _settled(out: Path, identity: Identity) -> bool:
    """Prepare a folder for a set; True where the very same set is finished in it.

    Raises:
        UserError: The folder holds another set, or something else.
    """
    finished = (out / MANIFEST_FILE).is_file()
    stored = read_manifest(out).identity if finished else read_plan(out)
    if stored is None:
        if not unused(out, PLAN_FILE):
            raise UserError(
                f"{out}: the folder is not empty and holds no set. Choose another --out."
            )
        write_plan(out, identity)
        return False
    differ = differences(stored, identity)
    if differ:
        raise UserError(
            f"{out}: holds a set of another making ({', '.join(differ)} differ). Repeat what it "
            "was made with, or choose another --out."
        )
    return finished
