import subprocess
import sys

import pytest

from omnial.machine import keep_freed_memory

_PROGRAM = """
import resource, sys
import torch
from omnial.machine import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def step():
    first = torch.ones(12_000_000)
    second = first * 2
    del first
    return second + 1

for _ in range(10):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Pages that the system had to hand out anew for ten steps, in a process of its own."""
    run = [sys.executable, "-c", _PROGRAM, mode]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone can be told")
def test_freed_memory_is_used_again() -> None:
    if not keep_freed_memory():
        pytest.skip("another C library")
    assert faults("kept") < faults("default") / 10
