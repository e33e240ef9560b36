"""Draw the README's picture from a finished demonstration.

Takes the first defective image of each product, whatever the model makes of it: its verdict, input,
reconstruction, score map and outlines.

    python tools/readme_picture.py runs/demo docs/images/demo.jpg
"""

from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from omnial.data.decode import as_unit, network_input
from omnial.data.layouts import discover
from omnial.inference.inspector import Inspector
from omnial.inference.overlay import draw_outlines, heat
from omnial.model_folder.weights_file import load_model
from omnial.models.torch_backend import predict_batch
from omnial.reporting.picture_grid import picture_grid

_EDGE = 150
_ROWS = ("input", "reconstruction", "score map", "outlines of what has the verdict defect")


def main(demo: Path, out: Path) -> None:
    """Write the picture."""
    model = load_model(demo / "model", "cpu")
    inspector = Inspector.of(model)
    headings: list[str] = []
    cells: list[list[NDArray[np.uint8]]] = [[] for _ in _ROWS]
    for product in discover([demo / "data"], need="test").classes:
        record = next(one for one in product.test if one.anomalous)
        found = inspector.inspect(record.path)
        frame, _ = network_input(record.path, model.settings.data)
        restored = predict_batch(model.network, as_unit(frame)[None]).reconstruction
        assert restored is not None
        shown = np.round(255 * restored[0].transpose(1, 2, 0)).astype(np.uint8)
        outlined = draw_outlines(found.image, [one.polygon for one in found.outlines])
        headings.append(f"{product.name}: {'defect' if found.anomalous else 'good (missed)'}")
        for row, cell in zip(
            cells, (found.image, shown, heat(found.score_map), outlined), strict=True
        ):
            row.append(cell)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = list(zip(_ROWS, cells, strict=True))
    picture_grid(headings, rows, _EDGE).save(out, quality=88)


if __name__ == "__main__":
    typer.run(main)
