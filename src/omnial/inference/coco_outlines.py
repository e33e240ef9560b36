"""Outlines in the layout of COCO's instance annotations, for tools that label and train."""

import json
from pathlib import Path
from typing import Any, Final

from omnial._version import __version__
from omnial.files import replacing
from omnial.inference.predictor import Result

COCO_FILE: Final = "coco.json"


class CocoOutlines:
    """What `coco.json` holds.

    Every outline is of the one category `defect`. Coordinates are COCO's: (0, 0) is the upper left
    corner of an image, not the centre of its first pixel.
    """

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, result: Result) -> None:
        """Add an image, a good one without outlines; one that cannot be read is left out."""
        if result.size is None:
            return
        height, width = result.size
        image = {"id": len(self._images) + 1, "file_name": result.row["path"]}
        more = {"product": result.row["class"], "score": result.row["score"]}
        self._images.append({**image, "width": width, "height": height, **more})
        outlines: Any = result.row["outlines"]
        for outline in outlines:
            points = [(round(x + 0.5, 2), round(y + 0.5, 2)) for x, y in outline["polygon"]]
            across, down = zip(*points, strict=True)
            box = (min(across), min(down), max(across) - min(across), max(down) - min(down))
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "segmentation": [[number for point in points for number in point]],
                    "area": outline["area"],
                    "bbox": [round(number, 2) for number in box],
                    "iscrowd": 0,
                    "score": outline["peak"],
                }
            )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        document = {
            "info": {"description": f"Outlines by omnial {__version__}"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": 1, "name": "defect"}],
        }
        with replacing(path) as part:
            part.write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
