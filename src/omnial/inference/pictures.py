"""The pictures of an inspection: its score map and its overlay, as files."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from omnial.data.own_pictures import mark_own
from omnial.files import replacing
from omnial.inference.inspection import Inspection
from omnial.inference.overlay import overlay

MAPS, OVERLAYS = "maps", "overlays"

_LONGEST_JPEG = 65_500


@dataclass(frozen=True)
class Pictures:
    """Where pictures go: `maps/GROUP/NAME.png` and `overlays/GROUP/NAME.jpg` in a folder."""

    out: Path
    group: str = ""
    """A folder below `maps` and `overlays`, so that none of them holds too many files."""
    rivals: bool = False
    """Another process may write the same pictures at the same time."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the pictures lie."""
        return tuple(self.out / kind / self.group for kind in (MAPS, OVERLAYS))

    def make_folders(self) -> None:
        """Make the folders, and mark them as folders of results.

        Raises:
            OSError: They cannot be made.
        """
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for kind in (MAPS, OVERLAYS):
            mark_own(self.out / kind)

    def write(self, name: str, inspection: Inspection) -> str:
        """Write an image's map, 16 bit, 65535 = probability 1, and its overlay.

        Returns:
            The map's path below the folder, with `/`.

        Raises:
            OSError: A file cannot be written.
        """
        map_path = Path(MAPS, self.group, f"{name}.png")
        levels = np.rint(inspection.score_map * np.float32(65535)).astype(np.uint16)
        # The disk may take its time with these: there may be thousands.
        with replacing(self.out / map_path, flush=False, rivals=self.rivals) as part:
            Image.fromarray(levels).save(part, "PNG", compress_level=3)
        polygons = [outline.polygon for outline in inspection.outlines]
        picture = Image.fromarray(overlay(inspection.image, inspection.score_map, polygons))
        suffix, kind = ("jpg", "JPEG") if max(picture.size) <= _LONGEST_JPEG else ("png", "PNG")
        file = self.out / OVERLAYS / self.group / f"{name}.{suffix}"
        with replacing(file, flush=False, rivals=self.rivals) as part:
            picture.save(part, kind, quality=90)
        return map_path.as_posix()

    def remove(self, names: Iterable[str], keep: Container[str] = ()) -> None:
        """Remove the maps and overlays of images, where they are there.

        Args:
            names: As given to `write`.
            keep: Paths below the folder, with `/`, that stay.

        Raises:
            OSError: A file cannot be removed.
        """
        maps, overlays = self.folders
        for name in names:
            files = (
                maps / f"{name}.png",
                *(overlays / f"{name}.{kind}" for kind in ("jpg", "png")),
            )
            for file in files:
                if file.relative_to(self.out).as_posix() not in keep:
                    file.unlink(missing_ok=True)
