"""Draw the README's picture from a finished demonstration.

Takes the first defective image of each class, whatever the model makes of it: rows of input,
reconstruction, score map and outline.

    python tools/readme_picture.py runs/demo docs/images/demo.jpg
"""

from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from omnial.data.decode import as_unit, network_input
from omnial.data.layouts import discover
from omnial.inference.outlines import outlines
from omnial.inference.overlay import heat, overlay
from omnial.model_folder.weights_file import load_model
from omnial.models.torch_backend import predict_batch
from omnial.models.trained_model import TrainedModel

_EDGE, _GAP = 150, 4


def column(model: TrainedModel, path: Path) -> list[NDArray[np.uint8]]:
    """Input, reconstruction, score map and outline of one image, each (H, W, 3) uint8."""
    pixels, _ = network_input(path, model.settings.data)
    unit = as_unit(pixels)
    prediction = predict_batch(model.network, unit[None])
    image = np.round(255 * unit.transpose(1, 2, 0)).astype(np.uint8)
    restored = np.round(255 * prediction.reconstruction[0].transpose(1, 2, 0)).astype(np.uint8)
    scores = prediction.score_maps[0]
    polygons = [found.polygon for found in outlines(scores, model.calibration.pixel)]
    return [image, restored, heat(scores), overlay(image, scores, polygons)]


def main(demo: Path, out: Path) -> None:
    """Write the picture."""
    model = load_model(demo / "model", "cpu")
    catalogue = discover([demo / "data"], need="test")
    firsts = [next(r for r in product.test if r.anomalous) for product in catalogue.classes]
    columns = [column(model, record.path) for record in firsts]
    step = _EDGE + _GAP
    sheet = Image.new("RGB", (step * len(columns) - _GAP, step * len(columns[0]) - _GAP), "white")
    for x, pictures in enumerate(columns):
        for y, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((_EDGE, _EDGE), Image.Resampling.LANCZOS)
            sheet.paste(small, (step * x, step * y))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=88)


if __name__ == "__main__":
    typer.run(main)
