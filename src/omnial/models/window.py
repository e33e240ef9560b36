"""The window that a score map is averaged over before its maximum becomes the image's score."""

WINDOW_AT_256 = 21
"""Edge of the mean filter in pixels where the shorter side of the map has 256. [O, DRAEM]"""


def window_size(height: int, width: int) -> int:
    """Edge of the mean filter for a map of height x width: odd, at least 1.

    The odd number nearest to 21 * min(height, width) / 256.
    """
    return 2 * (WINDOW_AT_256 * min(height, width) // 512) + 1
