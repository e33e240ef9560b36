"""Ask whether installed packages have known vulnerabilities: pip-audit, read strictly.

    python -m tools.audit

pip-audit ends well when its database knew none of the packages, as it is behind some mirrors. Here
only packages that were looked up count. Exit code 0: clean; 1: vulnerabilities; 2: the database
could not be asked.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_COMMAND = ("-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off")


def verdict(packages: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """An exit code, and lines that explain it.

    Args:
        packages: `dependencies` of pip-audit's JSON document.
    """
    asked = [one for one in packages if "skip_reason" not in one]
    if not asked:
        return 2, [
            "The vulnerability database could not be asked about any package here. Run "
            "`make audit` where it can be reached."
        ]
    found = [
        f"{one['name']} {one['version']}: {flaw['id']}, "
        f"mended in {', '.join(flaw['fix_versions']) or 'no release'}"
        for one in asked
        for flaw in one["vulns"]
    ]
    skipped = [f"not looked up: {one['skip_reason']}" for one in packages if one not in asked]
    summary = f"{len(asked)} packages looked up, {len(found)} known vulnerabilities"
    return int(bool(found)), [*found, *skipped, summary]


def main(arguments: Sequence[str]) -> int:
    """Run pip-audit, and say what came of it."""
    ended = subprocess.run(
        [sys.executable, *_COMMAND, "--format", "json", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        # Without a document it has not come as far as an answer.
        print(ended.stderr, file=sys.stderr)
        packages = []
    code, lines = verdict(packages)
    print("\n".join(lines), file=sys.stderr if code == 2 else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
