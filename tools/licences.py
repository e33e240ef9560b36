"""Write docs/licences.md: every package that omnial brings with it, and its licence.

python -m tools.licences
"""

import re
from importlib.metadata import Distribution
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

from tools.installed import CORE, ROOT, by_group, named

PAGE: Final = ROOT / "docs" / "licences.md"
ALLOWED: Final = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC"),
        *("LLVM-exception", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"),
    }
)
"""Licences, by their SPDX names, that a package of the runtime set may have."""
ALLOWED_NAMES: Final = frozenset(
    {
        *("3-Clause BSD License", "Apache Software License", "BSD License"),
        *("ISC License (ISCL)", "MIT License", "Mozilla Public License 2.0 (MPL 2.0)"),
        "Python Software Foundation License",
    }
)
"""The same as classifiers and people name them, for packages without an SPDX expression."""
UNSTATED: Final = "not stated"

_ABOUT = {
    CORE: "omnial itself",
    "export": "`omnial[export]`",
    "parquet": "`omnial[parquet]`",
    "serve": "`omnial[serve]`",
    "dev": "`omnial[dev]`, for development alone",
}


def licence(package: Distribution) -> str:
    """The licence as an SPDX expression; else as classifiers, or a short text, name it."""
    metadata = package.metadata
    text = metadata.get("License") or ""
    for expression in (metadata.get("License-Expression"), text):
        try:
            return canonicalize_license_expression(expression or "")
        except InvalidLicenseExpression:
            continue
    classifiers = metadata.get_all("Classifier", [])
    names = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")]
    # Some packages put the licence's whole text there.
    return ", ".join(names) or (text if "\n" not in text else "") or UNSTATED


def is_cuda(name: str) -> bool:
    """Whether a package is a CUDA library that PyTorch's CUDA builds require."""
    return name.startswith(("cuda-", "nvidia-"))


def is_allowed(text: str) -> bool:
    """Whether every licence that a text names is an allowed one."""
    if all(name in ALLOWED_NAMES for name in text.split(", ")):
        return True
    parts = set(re.split(r"[\s()]+", text)) - {"", "AND", "OR", "WITH"}
    return parts <= ALLOWED


def page() -> str:
    """The page's text, without versions: those are the software bill of materials'."""
    direct = {canonicalize_name(one.name) for group in named().values() for one in group}
    lines = [
        "# Licences of the dependencies",
        "",
        "Written by `make licences` from the metadata of the packages installed by `make setup`",
        "with the CPU build of PyTorch: the SPDX expression where a package has one, else the",
        "name that it is classified under. Packages that `pyproject.toml` names are in bold; the",
        "others come with them, and differ a little between platforms. Versions are in the",
        "software bill of materials that `make sbom` writes.",
        "",
        "omnial distributes none of these packages: its wheel holds omnial alone. The first four",
        "tables hold permissive licences and, for a few packages used unchanged, MPL-2.0, which",
        "reaches no further than its own files; a test keeps it so. PyTorch's CUDA builds also",
        "install NVIDIA's libraries (`nvidia-*`, `cuda-*`), which are proprietary. The extras",
        "`ray` and `fuzz` are not installed by `make setup`: Ray and Atheris are under Apache-2.0.",
    ]
    for group, packages in by_group().items():
        lines += ["", f"## {_ABOUT[group]}", "", "| package | licence |", "|---|---|"]
        for name, package in packages.items():
            if not is_cuda(name):
                shown = f"**{name}**" if name in direct else name
                lines.append(f"| {shown} | {licence(package)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
