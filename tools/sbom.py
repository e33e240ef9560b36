"""Write a software bill of materials of what omnial runs with here: CycloneDX, as JSON.

    python -m tools.sbom dist/omnial.cdx.json

CycloneDX's own tool describes the whole environment; what is there for development alone is left
out, by the requirements of omnial and its extras `export` and `serve`.
"""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from tools.installed import ROOT, RUNTIME, by_group


def reduced(bill: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A bill with the named packages alone, and the dependencies between them.

    Args:
        bill: A CycloneDX document.
        names: Canonical names of packages.
    """
    kept = [one for one in bill["components"] if canonicalize_name(one["name"]) in names]
    root = bill["metadata"]["component"]["bom-ref"]
    references = {root, *(one["bom-ref"] for one in kept)}
    edges = [
        {
            "ref": edge["ref"],
            "dependsOn": [ref for ref in edge.get("dependsOn", []) if ref in references],
        }
        for edge in bill["dependencies"]
        if edge["ref"] in references
    ]
    return {**bill, "components": kept, "dependencies": edges}


def environment() -> dict[str, Any]:
    """The bill of everything that is installed here."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
    ended = subprocess.run(
        [*command, *options, "--spec-version", "1.6", "--no-validate"],
        stdout=subprocess.PIPE,
        check=True,
    )
    bill: dict[str, Any] = json.loads(ended.stdout)
    return bill


def main(target: Path) -> None:
    """Write the bill, and check it against CycloneDX's schema."""
    groups = by_group()
    names = {name for group in RUNTIME for name in groups[group]}
    bill = reduced(environment(), names)
    text = json.dumps(bill, indent=1) + "\n"
    if (error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise SystemExit(f"the bill does not follow CycloneDX's schema: {error}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")
    print(f"{target}: {len(bill['components'])} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
