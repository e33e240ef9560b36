"""Copy a metrics.json into docs/results, without the folders of a machine.

python tools/keep_metrics.py report/metrics.json docs/results/demo/muon.json
"""

import json
from pathlib import Path

import typer

from omnial.files import replacing


def main(source: Path, target: Path) -> None:
    """Write the copy."""
    metrics = json.loads(source.read_text("utf-8"))
    for facts in metrics["data"]["classes"].values():
        facts.pop("root")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        part.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
