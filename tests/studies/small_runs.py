"""Two small products, and settings that train a tiny network on them in seconds."""

from pathlib import Path

from omnial.demo.production_line import CLASS_NAMES, generate

CLASSES = CLASS_NAMES[:2]
SMALL = (
    *("data.height=64", "data.width=64", "training.batch_size=2"),
    *("model.reconstruction.widths=[4,6,8]", "model.localization.widths=[4,6,8]"),
)


def make_products(folder: Path) -> Path:
    """Draw the products into a new folder."""
    generate(folder, seed=2, classes=CLASSES, size=64, train=6, test_good=2, per_kind=1)
    return folder
