"""Facts about the machine and the sources that a measurement depends on."""

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

_ISA = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd", "bf16")
_ROOT = Path(__file__).resolve().parents[2]


def describe() -> dict[str, Any]:
    """Processor, cores, instruction sets, memory, versions, commit and date: JSON values."""
    cpu, flags = _processor()
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "isa": [name for name in _ISA if name in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _processor() -> tuple[str, set[str]]:
    """Model name and instruction sets, as Linux reports them."""
    facts = {"model name": platform.processor() or platform.machine(), "flags": "", "Features": ""}
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    return facts["model name"], set(facts["flags"].split()) | set(facts["Features"].split())


def _commit() -> str:
    """The short commit, with a plus where the sources differ from it.

    An installed package may lie inside some other checkout, so a checkout of its own is asked for.
    """
    if not (_ROOT / ".git").exists():
        return "unknown"
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "src", "benchmarks") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
