"""What `omnial learn` changes, on the demonstration's products after a change of the line.

New good parts are drawn, and photographed through a scratched window: what a line calls a false
alarm. Those that are anomalous among the first half are reviewed as false alarms and learnt. Then
false alarms are counted on the second half, and the model is evaluated on the demonstration's test
images, where nothing should change.

    omnial demo --out runs/demo
    python -m benchmarks.learn_reviews --demo runs/demo
"""

import tempfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from omnial.demo.production_line import generate
from omnial.inference.inspector import Inspector
from omnial.reporting.evaluation_report import evaluate
from omnial.serving.findings import Finding
from omnial.serving.history import History
from omnial.serving.learn_reviews import learn_reviews
from omnial.serving.replies import InspectionReply

PARTS = 40
"""New good parts of each product: half are reviewed, half are counted."""
SEED = 4711


def main(
    demo: Annotated[Path, typer.Option(help="What `omnial demo --out` wrote.")],
) -> None:
    """Draw, review, learn and count, and print a row for each product."""
    with tempfile.TemporaryDirectory() as scratch:
        before, after, history = (
            demo / "model",
            Path(scratch) / "learnt",
            Path(scratch) / "h.sqlite",
        )
        generate(Path(scratch) / "new", seed=SEED, train=PARTS, test_good=1, per_kind=1)
        old = Inspector(before)
        parts = {name: _new_parts(Path(scratch) / "new", name) for name in old.classes}
        _review(old, {name: own[: PARTS // 2] for name, own in parts.items()}, history)
        learn_reviews(before, history, after)
        new = Inspector(after)
        table = Table("product", "false alarms", "after", "found, false alarms, AUROC", "after")
        for name, own in parts.items():
            held = own[PARTS // 2 :]
            alarms = [str(sum(_alarms(one, held, name))) for one in (old, new)]
            test = [_on_test(model, demo / "data" / name, scratch) for model in (before, after)]
            table.add_row(name, *alarms, *test)
        Console(width=120).print(table)


def _new_parts(root: Path, name: str) -> list[NDArray[np.uint8]]:
    """Good parts behind a window with the same two scratches."""
    pictures = []
    for path in sorted((root / name / "train" / "good").iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB")).copy()
        rows = np.arange(40, 200)
        for column, slope in ((60, 0.4), (150, -0.3)):
            columns = (column + slope * (rows - 40)).astype(int)
            pixels[rows[:, None], columns[:, None] + np.arange(3)] //= 2
            pixels[rows[:, None], columns[:, None] + np.arange(3)] += 110
        pictures.append(pixels)
    return pictures


def _alarms(inspector: Inspector, pictures: list[NDArray[np.uint8]], name: str) -> list[bool]:
    return [bool(found.anomalous) for found in inspector.inspect(pictures, name)]


def _review(inspector: Inspector, parts: dict[str, list[NDArray[np.uint8]]], history: Path) -> None:
    """Write what a service would have kept of these parts and what people said of its alarms."""
    kept = History(history, days=1e6, megabytes=1000)
    for name, pictures in parts.items():
        for pixels, found in zip(pictures, inspector.inspect(pictures, name), strict=True):
            if not found.anomalous:
                continue
            content = BytesIO()
            Image.fromarray(pixels).save(content, "PNG")
            height, width = pixels.shape[:2]
            verdict = {"score": found.score, "threshold": found.threshold, "anomalous": True}
            size = {"width": width, "height": height, "map": None}
            reply = InspectionReply(
                **{"id": None, "name": f"{name}.png", "class_name": name, **verdict, **size},
                sha256=sha256(content.getvalue()).hexdigest(),
                outlines=[],
                suspects=None,
            )
            number = kept.add(Finding(reply, b"map", b"small", content.getvalue()), "model")
            kept.review(number, "false_alarm")
    kept.close()


def _on_test(model: Path, data: Path, scratch: str) -> str:
    """Defective images found, false alarms and image AUROC on the test images of a product."""
    result = evaluate(model, data, Path(scratch) / "report")
    verdicts, auroc = result.verdicts, result.classes[0].figures["image_auroc"] or 0.0
    found = f"{verdicts.found} of {verdicts.defective}"
    return f"{found}, {verdicts.false_alarms} of {verdicts.good}, {100 * auroc:.1f}"


if __name__ == "__main__":
    typer.run(main)
