"""How much of a score map makes an image's score: highest pixels, or a window; without PyTorch."""

ONE_IN = 500
"""One in so many pixels counts as highest: 0.2 %, 132 of 256x256. [O]"""
WINDOW_AT_256 = 21
"""Edge of the mean filter in pixels where the shorter side of the map has 256. [O, DRAEM]"""


def highest_count(pixels: int) -> int:
    """Number of highest pixels among so many: 0.2 %, rounded up."""
    return -(-pixels // ONE_IN)


def window_size(height: int, width: int) -> int:
    """Edge of the mean filter for a map of height x width: odd, at least 1.

    The odd number nearest to 21 * min(height, width) / 256.
    """
    return 2 * (WINDOW_AT_256 * min(height, width) // 512) + 1
