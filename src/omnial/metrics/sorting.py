"""Sort scores where they lie: on the host's cores, or by way of a GPU.

Nothing else of the pixel figures is worth a GPU: sorting takes six sevenths of their time on one
core, and the ranks that remain are looked up in a tenth of a second for 50 million pixels. On the
host NumPy sorts, in place and with vector instructions: PyTorch's sort takes three times as long
there, and 15 bytes and more a value beside. Its sort on a GPU is the fast one.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

RUN = 1 << 24
"""Most values that are sorted as one. Cores share the runs, and a GPU needs memory for one."""


def runs(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Views of (n,) values, at most `RUN` each; none is empty."""
    return [values[start : start + RUN] for start in range(0, values.size, RUN)]


def sort_each(parts: Iterable[NDArray[np.float32]], device: torch.device | None = None) -> None:
    """Sort every part in place, ascending.

    Args:
        parts: (n,) float32 each, no value NaN.
        device: Where to sort; None sorts on the host, on as many cores as PyTorch may use.
    """
    if device is not None:
        for part in parts:
            moved = torch.from_numpy(part).to(device)
            part[:] = moved.sort().values.cpu().numpy()
        return
    # NumPy leaves the interpreter free while it sorts.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(np.ndarray.sort, parts))
