"""An adversarial set as it is read: verified as a whole, then served class by class."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omnial.files import file_digest
from omnial.robustness.checks import Check, Trace, check_traces, joined
from omnial.robustness.grid import add, from_grid
from omnial.robustness.levels import UNATTACKED, Level
from omnial.robustness.manifest import Entry, Manifest, read_manifest, refusal
from omnial.robustness.sample_file import BadSampleError, StoredSample, read_sample
from omnial.robustness.samples import Clean
from omnial.untrusted import UntrustedError, check_regular


@dataclass(frozen=True)
class Batch:
    """Samples of one class with their perturbations.

    Attributes:
        clean: The samples before the attack.
        steps: (n, 3, H, W) int16 a level, the perturbations on the grid.
    """

    clean: Clean
    steps: dict[str, NDArray[np.int16]]

    def images(self, level: str) -> NDArray[np.float32]:
        """Network input at a level, or before the attack: (n, 3, H, W) float32 in [0, 1]."""
        if level == UNATTACKED:
            return from_grid(self.clean.anomalous)
        return add(self.clean.anomalous, self.steps[level])


class AdversarialSet:
    """A finished set on disk.

    Args:
        folder: What `omnial attack` wrote.

    Raises:
        UserError: The folder holds no finished set, or a file of it was changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        for entry in self.manifest.samples:
            path = folder / entry.file
            try:
                check_regular(path)
                found = file_digest(path)
            except UntrustedError as error:
                raise refusal(path, str(error)) from error
            except OSError as error:
                raise refusal(path, f"it cannot be read ({error.strerror or error})") from error
            if found != entry.sha256:
                raise refusal(path, "it is not the file that the manifest names (another digest)")

    @property
    def levels(self) -> tuple[Level, ...]:
        """The set's levels, in the order of the tables."""
        return self.manifest.identity.all_levels

    @property
    def classes(self) -> tuple[str, ...]:
        """The set's classes, in order."""
        return tuple(dict.fromkeys(entry.class_name for entry in self.manifest.samples))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.manifest.identity.size
        return height, width

    def entries(self, class_name: str, most: int | None = None) -> list[Entry]:
        """The first samples of a class; all of them for None."""
        found = [entry for entry in self.manifest.samples if entry.class_name == class_name]
        return found[:most]

    def batches(self, class_name: str, size: int, most: int | None = None) -> Iterator[Batch]:
        """A class's samples in batches.

        Args:
            class_name: The class.
            size: Samples a batch.
            most: Only so many of the first samples.

        Raises:
            UserError: A file is not what the set should hold.
        """
        entries = self.entries(class_name, most)
        for start in range(0, len(entries), size):
            part = entries[start : start + size]
            samples = [self._read(entry) for entry in part]
            clean = Clean(
                class_name=class_name,
                numbers=tuple(entry.number for entry in part),
                sources=tuple(entry.source for entry in part),
                normal=np.stack([sample.normal for sample in samples]),
                anomalous=np.stack([sample.anomalous for sample in samples]),
                mask=np.stack([sample.mask for sample in samples]),
                panel=np.stack([sample.panel for sample in samples]),
                valid=np.stack([sample.valid for sample in samples]),
            )
            names = [level.name for level in self.levels]
            yield Batch(clean, {n: np.stack([s.steps[n] for s in samples]) for n in names})

    @cached_property
    def traces(self) -> dict[str, Trace]:
        """How the attack that made the set went, at each level."""
        found: dict[str, list[Trace]] = {level.name: [] for level in self.levels}
        for entry in self.manifest.samples:
            for name, trace in self._read(entry).traces.items():
                found[name].append(trace)
        return {name: joined(traces) for name, traces in found.items()}

    def checks(self) -> list[Check]:
        """The checks of the attack that made the set."""
        untargeted = sorted(
            (level for level in self.levels if not level.targeted), key=lambda x: x.grey_levels
        )
        return check_traces(self.traces, [level.name for level in untargeted])

    def _read(self, entry: Entry) -> StoredSample:
        path = self.folder / entry.file
        try:
            return read_sample(path, self.levels, self.manifest.identity.steps, self.size)
        except BadSampleError as error:
            raise refusal(path, str(error)) from error
