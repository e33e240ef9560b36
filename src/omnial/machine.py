"""The machine: facts that a measurement depends on, and memory kept between steps."""

import ctypes
import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

_ISA = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd", "bf16")
_ROOT = Path(__file__).resolve().parents[2]
_TRIM_THRESHOLD = -1  # glibc's malloc.h: M_TRIM_THRESHOLD
_TOP_PAD = -2  # M_TOP_PAD
_MMAP_MAX = -4  # M_MMAP_MAX
_NEVER = 2**31 - 1
_GROWTH = 256 * 2**20


def describe() -> dict[str, Any]:
    """Processor, cores, instruction sets, memory, versions, commit and date: JSON values."""
    cpu, flags = _processor()
    return {
        "cpu": cpu,
        "cores": available_cores(),
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


def available_cores() -> int:
    """Cores that this process may run on, where the system can say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def keep_freed_memory() -> bool:
    """Tell glibc to hold on to freed memory instead of giving it back to the system.

    Its default maps each large tensor again, and the system zeroes every page of it: an eighth of a
    training step of size `lite`. The process keeps its peak until it ends, which is what a
    training or an evaluation needs again in its next step.

    Returns:
        Whether it could be done; False without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wishes = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROWTH))
    taken = [mallopt(wish, value) == 1 for wish, value in wishes]
    return all(taken)
