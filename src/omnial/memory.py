"""Keep freed memory mapped: a training step on a CPU asks for the same large tensors each time."""

import ctypes
import platform

_TRIM_THRESHOLD = -1  # glibc's malloc.h: M_TRIM_THRESHOLD
_TOP_PAD = -2  # M_TOP_PAD
_MMAP_MAX = -4  # M_MMAP_MAX
_NEVER = 2**31 - 1
_GROWTH = 256 * 2**20


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
